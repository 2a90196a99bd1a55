"""NWPU-Crowd (Wang et al., PAMI 2020).

    images (or images_part1 ... images_part5)/0001.jpg
    jsons/0001.json     {"img_id", "human_num", "points": [[x, y], ...], "boxes": [[left, top, right, bottom], ...]}
    train.txt, val.txt, test.txt: a picture's number first on each line

The labels of the test split are not public; its pictures are reported as without labels.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from gigacount.datasets.entries import Heads, OnError, by_stem, choose, files, pictures, points_only, read_pairs, strict
from gigacount.datasets.files import load_json, parse_content, read_text
from gigacount.datasets.sample import Sample


def read_nwpu(root: Path, split: str, on_error: OnError = strict) -> Iterator[Sample]:
    images = by_stem(
        path for folder in [root / "images", *sorted(root.glob("images_part*"))] for path in pictures(folder)
    )
    labels = by_stem(files(root / "jsons", {".json"}))
    for listing in choose(split, {name: root / f"{name}.txt" for name in ("train", "val", "test")}):
        keys = [line.split()[0] for line in read_text(listing).splitlines() if line.strip()]
        images_here, labels_here = ({key: paths[key] for key in keys if key in paths} for paths in (images, labels))
        yield from read_pairs(images_here, labels_here, _parse, on_error)


def _parse(path: Path) -> Heads:
    def heads(content: Any) -> Heads:
        points = points_only(content["points"]).points_xy
        boxes = np.asarray(content["boxes"], np.float64).reshape(-1, 4)
        if len(boxes) != len(points):
            raise ValueError(f"{len(points)} points but {len(boxes)} boxes")
        return Heads(points, boxes)

    return parse_content(path, load_json(path), heads)
