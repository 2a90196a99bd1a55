"""Tables as CSV that spreadsheets open without harm, and for a terminal."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gigacount.text import printable

FORMULA = ("=", "+", "-", "@")


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """A header and a line a row; None is an empty cell.

    Text that begins as a formula gets an apostrophe before it, which spreadsheets take for `this is text`. Control
    characters are written as `\\n`, `\\x1b`: a row is a line, whatever a file is called.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: cell(value) for name, value in row.items()} for row in rows)
    return text.getvalue()


def aligned(columns: Mapping[str, Sequence[str]]) -> str:
    """Columns of text, the first to the left and numbers to the right, under their names; a line a row."""
    width = {name: max(len(name), *map(len, cells)) for name, cells in columns.items()}
    put = [str.ljust, *[str.rjust] * (len(columns) - 1)]
    lines = [list(columns), *map(list, zip(*columns.values(), strict=True))]
    return "\n".join(
        "  ".join(pad(cell, width[name]) for pad, cell, name in zip(put, line, columns, strict=True)) for line in lines
    )


def cell(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    shown = printable(value)
    return f"'{shown}" if shown.startswith(FORMULA) else shown
