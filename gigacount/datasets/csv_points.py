"""A CSV file of heads: a line each, with the columns image, x and y in pixels.

    image,x,y
    square.jpg,1024.5,310
    empty.jpg,,              an image without people

Columns left, top, right and bottom may add head boxes, a column class (or label, category) classes, of which heads
count, or else persons; others are ignored. Commas, semicolons or tabs.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from gigacount.datasets.entries import Boxes, Entry, LabelledHeads, OnError, Positions, read_listed, shown
from gigacount.datasets.files import bad, csv_rows
from gigacount.datasets.forms import image_folders, read_files
from gigacount.datasets.shapes import DrawnHeads, HeadShape, people_classes

POSITION = ("x", "y")
BOX = ("left", "top", "right", "bottom")
CLASS = ("class", "label", "category")


def read_csv(root: Path, split: str, on_error: OnError) -> Iterator[Entry]:
    yield from read_files(root, split, ".csv", partial(_read_file, on_error=on_error), on_error)


def _read_file(path: Path, on_error: OnError) -> Iterator[Entry]:
    rows: dict[str, list[tuple[str, list[float]]]] = {}
    names, lines = csv_rows(path, ("image", *POSITION), "image,x,y")
    columns = (*POSITION, *BOX) if set(BOX) <= set(names) else POSITION
    for line, cells in lines:
        heads = rows.setdefault(cells["image"], [])
        if (values := row_numbers(path, line, cells, columns)) is not None:
            heads.append((row_class(cells), values))
    people = people_classes({label for heads in rows.values() for label, _ in heads}, path, on_error)
    entries = ((image, partial(_heads, heads, people)) for image, heads in rows.items())
    yield from read_listed(entries, path, image_folders(path), on_error)


def row_class(cells: dict[str, str]) -> str:
    """The class of a row by its columns, '' where it has none."""
    return next((cells[name] for name in CLASS if name in cells), "")


def row_numbers(path: Path, line: int, cells: dict[str, str], columns: Sequence[str]) -> list[float] | None:
    """The numbers of a row, None where all cells are empty. Raises EntryError where one is no number."""
    texts = [cells[column] for column in columns]
    try:
        return [float(text) for text in texts] if any(texts) else None
    except ValueError as error:
        problem = f"'{shown(','.join(texts), 40)}' is not a number for each of {','.join(columns)}"
        raise bad(path, problem, line) from error


def csv_text(images: Iterable[tuple[str | Path, Positions, Boxes | None]]) -> str:
    """What `read_csv` reads: a line per head of each image, with its box where all images have them, so that all may be
    looked at; a line with the name alone is nobody."""
    text, images = io.StringIO(newline=""), list(images)
    boxed = all(boxes is not None for _, _, boxes in images)
    columns = (*POSITION, *BOX) if boxed else POSITION
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", *columns])
    for name, points, boxes in images:
        heads = points if boxes is None or not boxed else np.hstack([points, boxes])
        rows = [[f"{value:.3f}" for value in head] for head in heads] or [[""] * len(columns)]
        writer.writerows([name, *row] for row in rows)
    return text.getvalue()


def _heads(rows: list[tuple[str, list[float]]], people: frozenset[str]) -> LabelledHeads:
    """rows: class, then x, y and the sides of the box, if the file has them."""
    drawn = DrawnHeads(rows, lambda values: HeadShape([values[:2]])).heads(people)
    boxes = [values[2:] for label, values in rows if label in people and len(values) > 2]
    if len(boxes) < len(drawn.points_xy) or not rows:
        return drawn
    return LabelledHeads(drawn.points_xy, np.array(boxes, np.float64).reshape(-1, 4), passed=drawn.passed)
