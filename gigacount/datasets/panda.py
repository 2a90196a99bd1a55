"""PANDA (Wang et al., CVPR 2020): gigapixel photographs.

    PANDA_Crowd/Marathon/marathon_01.jpg ...            three scenes, 45 images: what GigaZoom is measured on
               /head_bbox_annotations.json
    PANDA_IMAGE/image_train/01_University_Canteen/IMG_01_01.jpg ...
               /image_annos/person_bbox_train.json

Labels: {"<scene>/<image>": {"image size": {"width", "height"}, "objects list": [...]}}, coordinates as fractions of
the image's sides. An object is a person with "rects" (head, visible body, full body), a head box ("rect" with tl
and br) or a head point ("rect" with x and y). Among persons, objects without "rects" are regions to be ignored.

GigaZoom (IV-A) splits the 45 images into 30 for training, 6 for validation and 9 for test without printing which.
Here they are taken in order of scene and image, and `TEST` and `VALIDATION` hold the places of those apart: every
fifth is a test image, and two of every fifteen are for validation, so that 15 of a scene give 10, 2 and 3. Files
train.txt, val.txt and test.txt beside the labels, with an image's name on each line, take precedence.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from gigacount.datasets.entries import (
    ALL,
    Entry,
    LabelledHeads,
    OnError,
    choose,
    from_boxes,
    natural,
    read_listed,
)
from gigacount.datasets.files import guarded, load_json, parse_content, read_text
from gigacount.errors import NotFoundError

IMAGES = 45
TEST = (4, 9, 14, 19, 24, 29, 34, 39, 44)
VALIDATION = (2, 12, 17, 27, 32, 42)

LABELS = ("head_bbox*.json", "head_point*.json", "person_bbox_train.json", "human_bbox_train.json")
IMAGE_FOLDERS = ("", "image_train", "image_test", "images")


def read_panda(root: Path, split: str, on_error: OnError) -> Iterator[Entry]:
    path = _label_file(root)
    content = load_json(path)
    with guarded(path):
        persons = any("rects" in thing for image in content.values() for thing in image["objects list"])
    base = path.parent.parent if path.parent.name == "image_annos" else path.parent
    parse = partial(_parse, persons=persons)
    names = _names(sorted(content, key=natural), path.parent, split)
    entries = ((name, partial(parse_content, path, content.get(name), parse)) for name in names)
    yield from read_listed(entries, path, [base / folder for folder in IMAGE_FOLDERS], on_error)


def _label_file(root: Path) -> Path:
    """The label file at `root`, or the best inside it: head boxes before head points before persons."""
    if root.is_file():
        return root
    places = [root, root / "image_annos"]
    found = (path for pattern in LABELS for place in places for path in sorted(place.glob(pattern)))
    first = next(found, None)
    if first is None:
        raise NotFoundError(f"no labels of PANDA: looked for {', '.join(LABELS)} in {root} and {root / 'image_annos'}")
    return first


def _names(names: list[str], folder: Path, split: str) -> list[str]:
    if split == ALL:
        return names
    places = {name: folder / f"{name}.txt" for name in ("train", "val", "test")}
    if split not in places or any(place.is_file() for place in places.values()):
        return [line.strip() for line in read_text(choose(split, places)[0]).splitlines() if line.strip()]
    if len(names) != IMAGES:
        raise NotFoundError(
            f"{folder}: splits are known for the {IMAGES} images of PANDA-Crowd, not for these {len(names)}; "
            f"list the images of each split in {places['train']}, val.txt and test.txt"
        )
    chosen = {"test": set(TEST), "val": set(VALIDATION)}
    chosen["train"] = set(range(IMAGES)) - chosen["test"] - chosen["val"]
    return [name for i, name in enumerate(names) if i in chosen[split]]


def _parse(image: Any, persons: bool) -> LabelledHeads:
    """Head boxes or points in pixels, cut to the image as PANDA's toolkit does."""
    things = [thing for thing in image["objects list"] if "rects" in thing or not persons]
    rects = [thing["rects"]["head"] if persons else thing["rect"] for thing in things]
    ignored = len(image["objects list"]) - len(things)
    size_wh = image["image size"]["width"], image["image size"]["height"]
    if rects and "tl" not in rects[0]:
        points = np.array([(rect["x"], rect["y"]) for rect in rects], np.float64)
        heads = LabelledHeads(np.clip(points, 0, 1) * size_wh, None, size_wh)
    else:
        corners = [[rect[corner][axis] for corner in ("tl", "br") for axis in ("x", "y")] for rect in rects]
        boxes = np.clip(np.array(corners, np.float64).reshape(-1, 4), 0, 1) * (*size_wh, *size_wh)
        heads = from_boxes(boxes, size_wh)
    return replace(heads, passed={"region to be ignored": ignored} if ignored else {})
