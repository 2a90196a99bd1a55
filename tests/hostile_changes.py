"""Pictures that are harmed while they are counted. A program, because a bad decoder may end its process:

    python tests/hostile_changes.py FOLDER

prints a line for each format and harm: looks that were made, status, message.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
from fuzz import network
from image_files import save

from gigacount.batch import CountWork, Item, Task
from gigacount.batch.work import attempt
from gigacount.image import source
from gigacount.options import CountOptions, StrategyOptions

HARMS = ("gone", "cut", "emptied", "replaced", "grown", "touched", "none")
FORMATS = {
    "a.jpg": {},
    "a.png": {"compression": 1},
    "a.webp": {"effort": 0},
    "tiled.tif": {"tile": True, "compression": "deflate"},
    "bare-tiles.tif": {"tile": True},
    "strips.tif": {"compression": "lzw"},
    "bare-strips.tif": {},
}


def harm(path: Path, how: str) -> None:
    if how == "gone":
        path.unlink()
    elif how == "cut":
        os.truncate(path, path.stat().st_size // 2)
    elif how == "emptied":
        os.truncate(path, 0)
    elif how == "replaced":
        other = path.with_name("other")
        other.write_bytes(path.read_bytes()[::-1])
        other.replace(path)
    elif how == "grown":
        with path.open("ab") as file:
            file.write(bytes(1000))
    elif how == "touched":
        os.utime(path, (1, 1))


def main() -> None:
    folder = Path(sys.argv[1])
    source.REDUCED_PIXELS = 20_000  # so that a small picture is streamed into a scratch file, as a large one is
    looking = StrategyOptions(levels=2, clusters=1, max_size=(128, 96))
    work = CountWork(CountOptions(network=str(network(folder / "network")), looking=looking), ("tif", "overlay"))
    work.prepare(lambda message: None)
    pixels = np.random.default_rng(0).integers(0, 256, (450, 600, 3), np.uint8)
    for name, options in FORMATS.items():
        for how in HARMS:
            path = save(pixels, folder / name, **options)
            looks = 0

            def progress(done: int, planned: int, path: Path = path, how: str = how) -> None:
                nonlocal looks
                if looks == 0:
                    harm(path, how)
                looks += 1

            item = Item(path, path.name, folder / "out" / f"{path.name}.{how}.gigacount")
            row = attempt(work, Task(item, replace=True), progress)
            print(name, how, looks, row.status, row.message, flush=True)


if __name__ == "__main__":
    main()
