"""UCF-QNRF (Idrees et al., ECCV 2018).

    {Train,Test}/img_0001.jpg
                /img_0001_ann.mat

Labels: `annPoints`, N x 2 pixels x, y.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from gigacount.datasets.entries import Heads, OnError, by_stem, choose, files, pictures, points_only, read_pairs, strict
from gigacount.datasets.files import load_mat, parse_content
from gigacount.datasets.sample import Sample


def read_ucf_qnrf(root: Path, split: str, on_error: OnError = strict) -> Iterator[Sample]:
    for folder in choose(split, {"train": root / "Train", "test": root / "Test"}):
        images, labels = by_stem(pictures(folder)), by_stem(files(folder, {".mat"}), suffix="_ann")
        yield from read_pairs(images, labels, parse_ann_points, on_error)


def parse_ann_points(path: Path) -> Heads:
    """The labels of both UCF sets."""
    return parse_content(path, load_mat(path), lambda content: points_only(content["annPoints"]))
