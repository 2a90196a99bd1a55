"""Beijing-BRT (Ding et al. 2018): a bus platform by day and night.

    {train,test}/frame/1-20160620091226.jpg
                /ground_truth/1-20160620091226.mat

Labels: `loc`, N x 2 pixels x, y.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from gigacount.datasets.entries import Heads, OnError, by_stem, choose, files, pictures, points_only, read_pairs, strict
from gigacount.datasets.files import load_mat, parse_content
from gigacount.datasets.sample import Sample


def read_beijing_brt(root: Path, split: str, on_error: OnError = strict) -> Iterator[Sample]:
    for folder in choose(split, {"train": root / "train", "test": root / "test"}):
        images, labels = by_stem(pictures(folder / "frame")), by_stem(files(folder / "ground_truth", {".mat"}))
        yield from read_pairs(images, labels, _parse, on_error)


def _parse(path: Path) -> Heads:
    return parse_content(path, load_mat(path), lambda content: points_only(content["loc"]))
