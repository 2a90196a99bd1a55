"""YOLO text: a label file per picture, a line per head: class, then centre x, y, width, height as fractions.

    images/train/photo.jpg and labels/train/photo.txt, train/images and train/labels, images and labels, or side by side
    classes.txt (or obj.names): the name of class 0 on the first line, and so on

An empty label file is a picture without people; a missing one is reported. Classes called head count, or else those
called person; without class names only class 0 may occur.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from gigacount.datasets.entries import (
    UNREADABLE,
    Heads,
    OnError,
    by_stem,
    files,
    from_boxes,
    pictures,
    read_pairs,
    strict,
)
from gigacount.datasets.files import bad, number_lines, read_text
from gigacount.datasets.forms import paired_folders, sole_people_classes
from gigacount.datasets.sample import Sample
from gigacount.errors import EntryError, ImageError
from gigacount.image import GigaImage

CLASS_FILES = ("classes.txt", "obj.names")


def read_yolo(root: Path, split: str, on_error: OnError = strict) -> Iterator[Sample]:
    for images, labels in paired_folders(root, split):
        named = next((f / n for f in (labels, labels.parent, root) for n in CLASS_FILES if (f / n).is_file()), None)
        people = _people(named) if named else None
        texts = by_stem(path for path in files(labels, {".txt"}) if path.name not in CLASS_FILES)
        for sample in read_pairs(by_stem(pictures(images)), texts, partial(_parse, people=people), on_error):
            try:
                yield _in_pixels(sample)
            except EntryError as error:
                on_error(error)


def _people(path: Path) -> frozenset[int]:
    """The numbers of the classes that count."""
    names = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    people = sole_people_classes(names, path)
    return frozenset(number for number, name in enumerate(names) if name in people)


def _parse(path: Path, people: frozenset[int] | None) -> Heads:
    """Heads as fractions of the picture's sides."""
    boxes = []
    for number, x, y, width, height in number_lines(path, 5):
        if people is None and number != 0:
            raise bad(path, f"class {number:g}, but no {' or '.join(CLASS_FILES)} says which classes are people")
        if people is None or number in people:
            boxes.append((x - width / 2, y - height / 2, x + width / 2, y + height / 2))
    return from_boxes(boxes)


def _in_pixels(sample: Sample) -> Sample:
    try:
        with GigaImage.open(sample.image) as image:
            size = np.array(image.size_wh)
    except ImageError as error:
        raise EntryError(UNREADABLE, str(error)) from error
    boxes = sample.boxes_xyxy * np.tile(size, 2) if sample.boxes_xyxy is not None else None
    return replace(sample, points_xy=sample.points_xy * size, boxes_xyxy=boxes)
