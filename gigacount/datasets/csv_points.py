"""A CSV file of heads: a line each, with the columns image, x and y in pixels.

    image,x,y
    square.jpg,1024.5,310
    empty.jpg,,              a picture without people

Columns left, top, right and bottom may add head boxes; others are ignored. Commas, semicolons or tabs.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from gigacount.datasets.entries import Heads, OnError, points_only, read_listed, report_unlisted, strict
from gigacount.datasets.files import bad, read_text
from gigacount.datasets.forms import label_files, picture_folders
from gigacount.datasets.sample import Sample

POSITION = ("x", "y")
BOX = ("left", "top", "right", "bottom")


def read_csv(root: Path, split: str, on_error: OnError = strict) -> Iterator[Sample]:
    found = label_files(root, split, ".csv")
    samples = (sample for path in found for sample in _read_file(path, on_error))
    yield from report_unlisted(samples, split, on_error)


def _read_file(path: Path, on_error: OnError) -> Iterator[Sample]:
    columns, rows = _rows(path)
    entries = ((image, partial(_heads, numbers, columns)) for image, numbers in rows.items())
    yield from read_listed(entries, path, picture_folders(path), on_error)


def _rows(path: Path) -> tuple[tuple[str, ...], dict[str, list[list[float]]]]:
    """The columns of numbers that the file has, and their values by picture."""
    text = read_text(path)
    header = text.partition("\n")[0].lower()
    delimiter = max(",;\t", key=header.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        names = [name.strip().lower() for name in next(reader, [])]
        missing = {"image", *POSITION} - set(names)
        if missing:
            raise bad(path, f"no column {' or '.join(sorted(missing))}; the first line must be image,x,y", 1)
        columns = (*POSITION, *BOX) if set(BOX) <= set(names) else POSITION
        places = [names.index(name) for name in ("image", *columns)]
        rows: dict[str, list[list[float]]] = {}
        for row in reader:
            if not any(row):
                continue
            if len(row) <= max(places):
                raise bad(path, f"{len(row)} values instead of {len(names)}", reader.line_num)
            image, *values = (row[place].strip() for place in places)
            heads = rows.setdefault(image, [])
            if not any(values):
                continue
            try:
                heads.append([float(value) for value in values])
            except ValueError as error:
                raise bad(path, f"'{delimiter.join(values)}' is not a position", reader.line_num) from error
    except csv.Error as error:
        raise bad(path, f"not CSV ({error})", reader.line_num) from error
    return columns, rows


def _heads(numbers: list[list[float]], columns: tuple[str, ...]) -> Heads:
    array = np.array(numbers, np.float64).reshape(-1, len(columns))
    return Heads(points_only(array[:, :2]).points_xy, array[:, 2:] if columns != POSITION else None)
