"""WorldExpo'10 (Zhang et al., CVPR 2015): 108 surveillance cameras.

    train_frame/104207_1-04-S....jpg             test_frame/<scene>/<frame>.jpg
    train_label/<scene>/104207_1-04-S....mat     test_label/<scene>/<frame>.mat

Labels: `point_position`, N x 2 pixels x, y; a scene is the first six characters of a frame's name. The published
protocol counts only inside each scene's region of interest (`roi.mat`); here all labelled heads are given.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from gigacount.datasets.entries import Heads, OnError, by_stem, choose, files, pictures, points_only, read_pairs, strict
from gigacount.datasets.files import load_mat, parse_content
from gigacount.datasets.sample import Sample

REGION = "roi.mat"


def read_worldexpo(root: Path, split: str, on_error: OnError = strict) -> Iterator[Sample]:
    for frames in choose(split, {"train": root / "train_frame", "test": root / "test_frame"}):
        truth = root / frames.name.replace("frame", "label")
        images, labels = (
            by_stem(path for folder in _with_subfolders(place) for path in files_in(folder))
            for place, files_in in ((frames, pictures), (truth, _label_files))
        )
        yield from read_pairs(images, labels, _parse, on_error)


def _with_subfolders(folder: Path) -> list[Path]:
    return [folder, *sorted(path for path in folder.glob("*") if path.is_dir())]


def _label_files(folder: Path) -> list[Path]:
    return [path for path in files(folder, {".mat"}) if path.name != REGION]


def _parse(path: Path) -> Heads:
    return parse_content(path, load_mat(path), lambda content: points_only(content["point_position"]))
