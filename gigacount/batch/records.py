"""What became of each picture: one small file a picture, and the summary that is made from them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from gigacount.batch.worklist import Item
from gigacount.errors import OutputError
from gigacount.output.files import explained, write_whole
from gigacount.output.stored import fits, number, optional, read_json, side, size, text, to_json, whole
from gigacount.output.tables import csv_text
from gigacount.text import one_line

DONE, FAILED = "done", "failed"
CSV_FILE, JSON_FILE = "summary.csv", "summary.json"


@dataclass(frozen=True)
class Row:
    """A line of the summary.

    low, high: the range of the count. status: done or failed; message: why it failed. seconds: of the work, not of the
    wait. content: what stands in count.json, where it is wanted besides; in no file of the batch.
    """

    path: str
    count: float | None = None
    low: float | None = None
    high: float | None = None
    points: int | None = None
    width: int | None = None
    height: int | None = None
    seconds: float | None = None
    status: str = DONE
    message: str = ""
    content: dict[str, Any] | None = field(default=None, compare=False, repr=False)

    @property
    def failed(self) -> bool:
        return self.status == FAILED

    def line(self) -> dict[str, Any]:
        """What the summary and the records hold of it."""
        return {name: getattr(self, name) for name in ROW}


def failed_row(item: Item, message: str, seconds: float | None = None) -> Row:
    return Row(str(item.path), seconds=seconds, status=FAILED, message=one_line(message))


@dataclass(frozen=True)
class Record:
    """What is known of the picture `source` (absolute) under `name`.

    ours: the batch found no result when it first came, so that it may replace the one that stands there now.
    row: None while the first attempt is under way.
    """

    name: str
    source: str
    ours: bool
    row: Row | None


class Records:
    """The records in a folder, each read once for as long as its file does not change."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._read: dict[str, tuple[Stamp, Record | None]] = {}
        with explained(folder):
            folder.mkdir(parents=True, exist_ok=True)
            names = [entry.name for entry in os.scandir(folder)]
        self._at_first = {name: stamp(folder / name) for name in names}

    def find(self, key: str) -> Record | None:
        """The record of an item's key; None where there is none, or none that makes sense."""
        path = self._path(key)
        now = stamp(path)
        if now is None:
            return None
        known = self._read.get(key)
        if known is None or known[0] != now:
            known = now, parse(path)
            self._read[key] = known
        return known[1]

    def changed(self, key: str) -> bool:
        """Whether a record was written since these were first looked at. No clock decides, but that it differs."""
        path = self._path(key)
        return stamp(path) != self._at_first.get(path.name)

    def write(self, item: Item, row: Row | None, ours: bool) -> None:
        """Raises OutputError where that fails."""
        record = Record(item.name, item.source, ours, row)
        if record != self.find(item.key):
            content = asdict(replace(record, row=None)) | {"row": row and row.line()}
            write_whole(self._path(item.key), to_json(content).encode())

    def all(self) -> list[Record]:
        """All records by name. Raises OutputError where the folder cannot be listed."""
        try:
            keys = [
                entry.name.removesuffix(".json") for entry in os.scandir(self.folder) if entry.name.endswith(".json")
            ]
        except OSError as error:
            raise OutputError(f"{self.folder}: cannot read the batch's records: {error.strerror}") from error
        records = [record for key in keys if not key.startswith(".") and (record := self.find(key))]
        return sorted(records, key=lambda record: record.name)

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.json"


ROW = {
    "path": text,
    "count": optional(number),
    "low": optional(number),
    "high": optional(number),
    "points": optional(whole),
    "width": optional(side),
    "height": optional(side),
    "seconds": optional(size),
    "status": (DONE, FAILED).__contains__,
    "message": text,
}
RECORD = {"name": text, "source": text, "ours": lambda value: isinstance(value, bool)}


def parse(path: Path) -> Record | None:
    """Read a record; None where it is damaged, or was not written by us: the picture is then looked at again."""
    content = read_json(path, RECORD | {"row": optional(lambda row: isinstance(row, dict) and fits(row, ROW))})
    if content is None:
        return None
    row = content["row"] and Row(**{name: content["row"][name] for name in ROW})
    return Record(**{name: content[name] for name in RECORD}, row=row)


def write_summary(out: Path, rows: Sequence[Row]) -> None:
    """Write summary.csv and summary.json, each whole or not at all. Raises OutputError."""
    write_whole(out / CSV_FILE, csv_text(list(ROW), [row.line() for row in rows]).encode())
    write_whole(out / JSON_FILE, summary_json(rows).encode())


def summary_json(rows: Sequence[Row]) -> str:
    """Totals, then the pictures, one a line."""
    failed = sum(row.failed for row in rows)
    totals = {"done": len(rows) - failed, "failed": failed, "count": sum(row.count or 0.0 for row in rows)}
    lines = ",\n".join(f"  {to_json(row.line())}" for row in rows)
    return f'{{\n {to_json(totals)[1:-1]},\n "images": [\n{lines}\n ]\n}}\n'


Stamp = tuple[int, int, int]


def stamp_of(status: os.stat_result) -> Stamp:
    """What changes when a file is written anew: time, size and identity."""
    return status.st_mtime_ns, status.st_size, status.st_ino


def stamp(path: Path) -> Stamp | None:
    """None where there is no file."""
    try:
        return stamp_of(path.stat())
    except OSError:
        return None
