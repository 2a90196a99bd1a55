"""LabelMe: a JSON file per picture, beside it or in the folder labels.

    {"imageWidth", "imageHeight", "shapes": [{"label", "shape_type", "points": [[x, y], ...]}]}

Shapes labelled head count, or else those labelled person; others are passed over, unless nothing else occurs in the
whole set, which is an error. A point is a head; a rectangle, circle or polygon is its box.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from gigacount.datasets.entries import Heads, OnError, by_stem, files, mixed, pictures, read_pairs, strict
from gigacount.datasets.files import load_json, parse_content
from gigacount.datasets.forms import no_people, paired_folders, people_classes
from gigacount.datasets.sample import Sample


def read_labelme(root: Path, split: str, on_error: OnError = strict) -> Iterator[Sample]:
    seen: set[str] = set()

    def parse(path: Path) -> Heads:
        content = load_json(path)
        heads = parse_content(path, content, _heads)
        seen.update(shape["label"] for shape in content["shapes"])
        return heads

    for images, labels in paired_folders(root, split):
        yield from read_pairs(by_stem(pictures(images)), by_stem(files(labels, {".json"})), parse, on_error)
    if seen and not people_classes(seen):
        raise no_people(seen, root)


def _heads(content: Any) -> Heads:
    shapes = content["shapes"]
    people = people_classes(shape["label"] for shape in shapes)
    points, boxes = [], []
    for shape in shapes:
        if shape["label"] not in people:
            continue
        corners = np.array(shape["points"], np.float64).reshape(-1, 2)
        kind = shape.get("shape_type", "polygon")
        if kind == "point":
            points.append(corners[0])
        elif kind == "circle":  # its centre and a point on it
            radius = np.hypot(*(corners[1] - corners[0]))
            boxes.append([*corners[0] - radius, *corners[0] + radius])
        else:
            boxes.append([*corners.min(axis=0), *corners.max(axis=0)])
    size = content.get("imageWidth"), content.get("imageHeight")
    return mixed(points, boxes, size if None not in size else None)
