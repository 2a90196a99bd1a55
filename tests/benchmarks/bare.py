"""The floor of a run: the bare network over windows already in memory, in a process of its own.

    python bare.py IMAGE COUNT_JSON NETWORK [locate]

reads the windows that a count.json lists, then prints the seconds of the forward passes alone as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from gigacount.geometry import Window
from gigacount.image import GigaImage
from gigacount.predict import Predictor

SIDES = ("left", "top", "width", "height", "read_width", "read_height")


def main(image: str, report: str, network: str, *more: str) -> None:
    looks = json.loads(Path(report).read_text())["windows"]
    seen = {tuple(look[side] for side in SIDES) for look in looks}  # zooms that met were seen once
    with GigaImage.open(Path(image)) as picture:
        picture.prepare(len(seen))
        pictures = [picture.read(Window(*view[:4]), view[4:]) for view in sorted(seen)]
    predictor = Predictor(network)
    predictor.predict(pictures[:1], "locate" in more)
    start = time.perf_counter()
    for pixels in pictures:
        predictor.predict([pixels], "locate" in more)
    seconds = time.perf_counter() - start
    megapixels = sum(pixels.shape[0] * pixels.shape[1] for pixels in pictures) / 1e6
    print(json.dumps({"seconds": seconds, "megapixels": megapixels, "looks": len(pictures)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
