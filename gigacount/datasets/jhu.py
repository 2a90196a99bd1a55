"""JHU-CROWD++ (Sindagi et al., PAMI 2020).

    {train,val,test}/images/0001.jpg
                    /gt/0001.txt      a head a line: x y w h occlusion blur; x, y is its centre, w, h its size

An empty label file is a picture without people.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from gigacount.datasets.entries import Heads, OnError, by_stem, choose, files, pictures, read_pairs, strict
from gigacount.datasets.files import number_lines
from gigacount.datasets.sample import Sample


def read_jhu(root: Path, split: str, on_error: OnError = strict) -> Iterator[Sample]:
    for folder in choose(split, {name: root / name for name in ("train", "val", "test")}):
        images, labels = by_stem(pictures(folder / "images")), by_stem(files(folder / "gt", {".txt"}))
        yield from read_pairs(images, labels, _parse, on_error)


def _parse(path: Path) -> Heads:
    heads = np.array(list(number_lines(path, 4)), np.float64).reshape(-1, 4)
    centre, half = heads[:, :2], heads[:, 2:] / 2
    return Heads(centre, np.hstack([centre - half, centre + half]))
