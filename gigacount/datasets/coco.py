"""COCO JSON: one file for many pictures.

    {"images": [{"id", "file_name", "width", "height"}],
     "annotations": [{"image_id", "category_id", "bbox": [left, top, width, height], "iscrowd"}],
     "categories": [{"id", "name"}]}

Boxes of heads count, or those of persons where no category is called head; crowd regions (iscrowd) do not. A head is
at its box's centre, or at its keypoint where there is exactly one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from gigacount.datasets.entries import Heads, OnError, mixed, read_listed, report_unlisted, strict
from gigacount.datasets.files import MALFORMED, bad, load_json, parse_content
from gigacount.datasets.forms import label_files, picture_folders, sole_people_classes
from gigacount.datasets.sample import Sample


def read_coco(root: Path, split: str, on_error: OnError = strict) -> Iterator[Sample]:
    found = label_files(root, split, ".json")
    samples = (sample for path in found for sample in _read_file(path, on_error))
    yield from report_unlisted(samples, split, on_error)


def _read_file(path: Path, on_error: OnError) -> Iterator[Sample]:
    content = load_json(path)
    try:
        names = {category["id"]: str(category["name"]) for category in content["categories"]}
        people = sole_people_classes(names.values(), path)
        images = {image["id"]: image for image in content["images"]}
        heads: dict[Any, list[Any]] = defaultdict(list)
        for annotation in content["annotations"]:
            if names[annotation["category_id"]] in people and not annotation.get("iscrowd"):
                heads[annotation["image_id"]].append(annotation)
        entries = [
            (str(image["file_name"]), partial(parse_content, path, (image, heads[key]), _heads))
            for key, image in images.items()
        ]
    except MALFORMED as error:
        raise bad(path, f"not COCO JSON ({type(error).__name__}: {error})") from error
    yield from read_listed(entries, path, picture_folders(path), on_error)


def _heads(content: tuple[Any, list[Any]]) -> Heads:
    image, annotations = content
    points, boxes = [], []
    for annotation in annotations:
        if len(annotation.get("keypoints", ())) == 3:
            points.append(annotation["keypoints"][:2])
        else:
            left, top, width, height = annotation["bbox"]
            boxes.append((left, top, left + width, top + height))
    return mixed(points, boxes, (image["width"], image["height"]) if "width" in image else None)
