"""YOLO text: a label file per image, a line per head: class, then centre x, y, width, height as fractions.

    images/train/photo.jpg and labels/train/photo.txt, train/images and train/labels, images and labels, or side by side
    data.yaml, or classes.txt (or obj.names): the names of the classes

Lines may also hold a confidence after the box, key points after the box, or polygons and oriented boxes: x and y of
every vertex. An empty label file is an image without people; a missing one is reported. Classes called head count, or
else those called person; without class names only class 0 may occur.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from gigacount.datasets.entries import Entry, OnError
from gigacount.datasets.files import bad, guarded, load_yaml, number_lines, read_text
from gigacount.datasets.forms import CLASS_FILES, paired_folders, read_drawings
from gigacount.datasets.shapes import DrawnHeads, HeadShape, around, key_points


def read_yolo(root: Path, split: str, on_error: OnError) -> Iterator[Entry]:
    parts = paired_folders(root, split)
    named, names, layout = _described(root, parts)
    parse = partial(_parse, names=names, layout=layout)
    declared = None if names is None else set(names.values())
    yield from read_drawings(parts, ".txt", parse, named or root, on_error, declared)


def _described(root: Path, parts: list[tuple[Path, Path]]) -> tuple[Path | None, dict[int, str] | None, Any]:
    """The file that names the classes, their names by number, and the layout of key points: how many, numbers each."""
    for path in [*sorted(root.glob("*.yaml")), *sorted(root.glob("*.yml"))]:
        content = load_yaml(path)
        if isinstance(content, dict) and content.get("names"):
            names = content["names"]
            with guarded(path):
                pairs = names.items() if isinstance(names, dict) else enumerate(list(names))
                return path, {int(number): str(name) for number, name in pairs}, content.get("kpt_shape")
    places = dict.fromkeys(place for _, labels in parts for place in (labels, labels.parent, root))
    path = next((place / name for place in places for name in CLASS_FILES if (place / name).is_file()), root)
    if path is root:
        return None, None, None
    lines = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    return path, dict(enumerate(lines)), None


def _parse(path: Path, names: dict[int, str] | None, layout: Any) -> DrawnHeads:
    things = []
    for line, (number, *values) in number_lines(path, 5):
        if names is None and number != 0:
            raise bad(path, f"class {number:g}, but no data.yaml or classes.txt says which classes are people", line)
        if names is not None and number not in names:
            raise bad(path, f"class {number:g}, which has no name among the {len(names)} of the data set", line)
        things.append(("" if names is None else names[int(number)], (values, layout)))
    return DrawnHeads(things, _shape, fractions=True)


def _shape(thing: tuple[list[float], Any]) -> HeadShape:
    values, layout = thing
    x, y, width, height = values[:4]
    box = around([(x - width / 2, y - height / 2), (x + width / 2, y + height / 2)])
    many, rest = len(values), np.array(values[4:])
    if many in (4, 5):
        return box
    size = int(layout[1]) if layout and many == 4 + int(layout[0]) * int(layout[1]) else 3
    if (many % 2 and len(rest) % 3 == 0) or (len(rest) % 3 == 0 and np.isin(rest[2::3], (0, 1, 2)).all()) or size == 2:
        rows = rest.reshape(-1, size)
        seen = rows[:, 2] if size == 3 else rows.any(axis=1)
        return key_points(np.column_stack([rows[:, :2], seen]), box if any(values[:4]) else None)
    if many % 2:
        raise ValueError(f"{many} numbers after the class: no box, polygon or key points")
    return around(values)
