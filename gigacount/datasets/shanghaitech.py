"""ShanghaiTech parts A and B (Zhang et al., CVPR 2016).

    part_A (or part_A_final)/{train,test}_data/images/IMG_1.jpg
                                              /ground-truth (or ground_truth)/GT_IMG_1.mat

Labels: `image_info{1}.location`, N x 2 pixels x, y. The path is a part's own folder or the one above it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gigacount.datasets.entries import Heads, OnError, by_stem, choose, files, pictures, points_only, read_pairs, strict
from gigacount.datasets.files import load_mat, parse_content
from gigacount.datasets.sample import Sample
from gigacount.errors import NotFoundError

TRUTH_FOLDERS = ("ground-truth", "ground_truth")


def read_part_a(root: Path, split: str, on_error: OnError = strict) -> Iterator[Sample]:
    """Dense crowds from the web: 300 pictures for training, 182 for test."""
    return read_shanghaitech(_part(root, "A"), split, on_error)


def read_part_b(root: Path, split: str, on_error: OnError = strict) -> Iterator[Sample]:
    """Streets of Shanghai: 400 pictures for training, 316 for test."""
    return read_shanghaitech(_part(root, "B"), split, on_error)


def read_shanghaitech(root: Path, split: str, on_error: OnError = strict) -> Iterator[Sample]:
    """A part by its own folder."""
    for folder in choose(split, {"train": root / "train_data", "test": root / "test_data"}):
        truth = next((folder / name for name in TRUTH_FOLDERS if (folder / name).is_dir()), None)
        if truth is None:
            raise NotFoundError(f"{folder}: no labels: looked for the folders {' and '.join(TRUTH_FOLDERS)}")
        images = by_stem(pictures(folder / "images"), "IMG_")
        labels = by_stem(files(truth, {".mat"}), "GT_IMG_")
        yield from read_pairs(images, labels, _parse, on_error)


def _part(root: Path, letter: str) -> Path:
    """The folder of a part; NotFoundError if it is not there, or if `root` is the other part."""
    names = [f"part_{letter}", f"part_{letter}_final"]
    if root.name.lower().startswith("part_") and root.name.lower() not in [name.lower() for name in names]:
        raise NotFoundError(f"{root} is not part {letter} of ShanghaiTech; its folder is called {' or '.join(names)}")
    if any((root / f"{split}_data").is_dir() for split in ("train", "test")):
        return root
    found = next((root / name for name in names if (root / name).is_dir()), None)
    if found is None:
        raise NotFoundError(f"no part {letter} of ShanghaiTech: looked for {root / names[0]} and {root / names[1]}")
    return found


def _parse(path: Path) -> Heads:
    def heads(content: dict[str, Any]) -> Heads:
        return points_only(content["image_info"][0, 0][0, 0]["location"])

    return parse_content(path, load_mat(path), heads)
