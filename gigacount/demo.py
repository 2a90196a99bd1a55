"""`make demo`: draw a gigapixel scene whose truth is known, count it with the shipped weights, show both."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from gigacount.count import Counter
from gigacount.options import CountOptions
from gigacount.output.folder import ResultFolder, result_folder
from gigacount.output.writers import write_result
from gigacount.synthesize import SceneOptions, draw_scene, write_scene, write_truth

SCENE = SceneOptions(people=4000, seed=2023)


def main(folder: Path, scene_options: SceneOptions = SCENE) -> float:
    """Draw, count, print; returns the estimate's relative error. The scene and the results stay in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    image = folder / "scene.tif"
    scene = draw_scene(scene_options)
    truth = len(scene.truth.points_xy)
    width, height = scene.size_wh
    if not image.exists():
        tell(f"drawing {truth:,} people on {width:,} x {height:,} pixels ...")
        write_truth(scene.truth, image)
        write_scene(scene, image)

    tell("counting them ...")
    start = time.perf_counter()
    result = Counter(CountOptions(), tell).count(image)
    seconds = time.perf_counter() - start
    results = ResultFolder(result_folder(image, None))
    write_result(result, results, ("tif", "overlay"))

    error = (result.count - truth) / truth if truth else result.count
    print(f"truth     {truth:,} people")
    print(f"estimate  {result.count:,.0f} people ({error:+.1%}), {result.inferences} looks in {seconds:.0f} s")
    print(f"map       {results.path / 'density.tif'}")
    print(f"image     {results.path / 'overlay.jpg'}")
    return error


def tell(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo"))
