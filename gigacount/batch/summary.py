"""summary.csv and summary.json: a line for each picture of an output folder, by name."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

from gigacount.batch.files import write_whole
from gigacount.batch.records import Row

CSV_FILE, JSON_FILE = "summary.csv", "summary.json"


def write_summary(out: Path, rows: Sequence[Row]) -> None:
    """Write both files, each whole or not at all. Raises OutputError.

    File names that are no UTF-8 have their odd bytes written as `\\udcNN`, in JSON's own notation.
    """
    write_whole(out / CSV_FILE, as_csv(rows).encode("utf-8", "backslashreplace"))
    write_whole(out / JSON_FILE, as_json(rows).encode("utf-8", "backslashreplace"))


def as_csv(rows: Sequence[Row]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(Row)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    return text.getvalue()


def as_json(rows: Sequence[Row]) -> str:
    """Totals, then the pictures, one a line."""
    failed = sum(row.failed for row in rows)
    totals = {
        "done": len(rows) - failed,
        "failed": failed,
        "count": sum(row.count or 0.0 for row in rows),
    }
    head = json.dumps(totals)[1:-1]
    lines = ",\n".join("  " + json.dumps(asdict(row), ensure_ascii=False) for row in rows)
    return f'{{\n {head},\n "images": [\n{lines}\n ]\n}}\n'
