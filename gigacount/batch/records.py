"""What became of each picture: one small file a picture, from which the summary is made."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gigacount.batch.files import stamp, write_whole
from gigacount.batch.worklist import Item
from gigacount.errors import OutputError
from gigacount.output.folder import explained

DONE, FAILED = "done", "failed"


@dataclass(frozen=True)
class Row:
    """A line of the summary. status: done or failed; message: why it failed. seconds: of the work, not of the wait."""

    path: str
    count: float | None = None
    points: int | None = None
    width: int | None = None
    height: int | None = None
    seconds: float | None = None
    status: str = DONE
    message: str = ""

    @property
    def failed(self) -> bool:
        return self.status == FAILED


def failed_row(item: Item, message: str, seconds: float | None = None) -> Row:
    return Row(str(item.path), seconds=seconds, status=FAILED, message=" ".join(message.split()))


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
        self._read: dict[str, tuple[tuple[int, int, int], Record | None]] = {}
        with explained(folder):
            folder.mkdir(parents=True, exist_ok=True)

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

    def changed_ns(self, key: str) -> int:
        """When a record was written, in nanoseconds of the file system's clock; 0 where there is none."""
        now = stamp(self._path(key))
        return now[0] if now else 0

    def write(self, item: Item, row: Row | None, ours: bool) -> None:
        """Raises OutputError where that fails."""
        record = Record(item.name, item.source, ours, row)
        if record != self.find(item.key):
            write_whole(self._path(item.key), json.dumps(asdict(record)).encode())

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


def parse(path: Path) -> Record | None:
    """Read a record; None where it is damaged, or was not written by us: the picture is then looked at again."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    row = content.get("row") if isinstance(content, dict) else None
    if not fits(content, {"name": str, "source": str, "ours": bool, "row": dict | None}):
        return None
    return Record(**{**content, "row": parse_row(row)})


def parse_row(content: Any) -> Row | None:
    number, whole = int | float | None, int | None
    kinds: dict[str, Any] = {"path": str, "count": number, "points": whole, "width": whole, "height": whole}
    kinds |= {"seconds": number, "status": str, "message": str}
    return Row(**content) if fits(content, kinds) and content["status"] in (DONE, FAILED) else None


def fits(content: Any, kinds: dict[str, Any]) -> bool:
    """Whether `content` is a dictionary of exactly these fields and types."""
    return (
        isinstance(content, dict)
        and set(content) == set(kinds)
        and all(isinstance(content[name], expected) for name, expected in kinds.items())
    )
