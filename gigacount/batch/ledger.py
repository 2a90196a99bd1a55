"""What a batch remembers between runs and shares between processes, in `out`/.gigacount: claims, and a record of what
became of each image, from which the summary is made."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from urllib.parse import quote

from gigacount.atomic import discard_all_leftovers, explained, write_whole
from gigacount.batch.claims import Claims
from gigacount.batch.work import ROW, Row
from gigacount.batch.worklist import Item, place
from gigacount.errors import ExistsError, OutputError
from gigacount.output.folder import INDEX_FILE, REPORT_FILE, ResultFolder
from gigacount.output.stored import fits, optional, read_json, text, to_json
from gigacount.output.tables import csv_text

CSV_FILE, JSON_FILE = "summary.csv", "summary.json"
STATE_FOLDER = ".gigacount"
SUMMARY = "summary"
KINDS_OF_WORK = (b"counted", b"located")
SUMMARY_SECONDS = 2.0
SUMMARY_SHARE = 0.02
"""Share of its time that a batch may spend on rewriting the summary."""

Stamp = tuple[int, int, int]

RECORD = {"name": text, "source": text, "ours": lambda value: isinstance(value, bool)}


class Ledger:
    """The ledger of a batch that puts results beside the images: nothing is shared and nothing remembered."""

    def claim(self, item: Item) -> bool:
        """Reserve an image for this process; False where another process works on it."""
        return True

    def release(self, item: Item) -> None:
        """Give a reserved image back."""

    def left(self, items: Iterable[Item]) -> list[Item]:
        """Images that killed processes had claimed; this process has claimed them now."""
        return []

    def holder(self, item: Item) -> str:
        """Which other process works on an image, in words; empty if none does."""
        return ""

    def begin(self, item: Item) -> bool:
        """Note that work on an image begins. Whether it may replace the result there, as one of the same image."""
        return stands_for(item)

    def settle(self, item: Item, row: Row, reused: bool) -> None:
        """Keep what became of an image. Raises OutputError where that cannot be written."""

    def settled_since(self, item: Item) -> Row | None:
        """What another process has made of an image since this one began."""
        return None

    def keep_up(self) -> None:
        """Heartbeat and summary; to be called every second or so."""

    def close(self) -> None:
        """Write the summary for the last time and give back all claims."""


class SharedLedger(Ledger):
    """The ledger in `out`/.gigacount, safe to share with other processes, also on other machines.

    done: what is done with the images, in a word. One output folder is for one kind of work, because an image has
    one line in the summary and one result folder; raises OutputError where another kind was here before.
    """

    def __init__(self, out: Path, done: str) -> None:
        self.out = out
        self.records = RecordFolder(out / STATE_FOLDER / "records")
        require_same_work(out, done)
        self.claims = Claims(out / STATE_FOLDER / "claims")
        self._next = time.monotonic() + SUMMARY_SECONDS
        self._changed = True
        for folder in (out, out / STATE_FOLDER, self.records.folder):
            discard_all_leftovers(folder)

    def claim(self, item: Item) -> bool:
        return self.claims.take(item.key)

    def release(self, item: Item) -> None:
        self.claims.release(item.key)

    def holder(self, item: Item) -> str:
        return self.claims.holder(item.key)

    def left(self, items: Iterable[Item]) -> list[Item]:
        by_key = {item.key: item for item in items}
        return [by_key[key] for key in self.claims.left(by_key) if self.claims.take(key)]

    def begin(self, item: Item) -> bool:
        self._require_inside(item)
        record = self.records.find(item.key)
        if record and record.ours and record.source == item.source:
            return True
        with explained(item.folder):
            if item.folder.exists() and not stands_for(item):
                return False
        self.records.write(item, None, ours=True)
        return True

    def settle(self, item: Item, row: Row, reused: bool) -> None:
        record = self.records.find(item.key)
        known = record is not None and (reused or record.source == item.source)
        self.records.write(item, row, ours=known and record is not None and record.ours)
        self._changed = True

    def settled_since(self, item: Item) -> Row | None:
        if not self.records.changed(item.key):
            return None
        record = self.records.find(item.key)
        return record.row if record and record.source == item.source else None

    def keep_up(self) -> None:
        self.claims.beat()
        now = time.monotonic()
        if self._changed and now >= self._next and self.claims.take(SUMMARY):
            self._write_summary()
            took = time.monotonic() - now
            self._next = now + max(SUMMARY_SECONDS, took / SUMMARY_SHARE)

    def close(self) -> None:
        """The last summary is written after this process's last record and under a claim: whichever of several
        processes ends last has seen the records of all."""
        patience = time.monotonic() + 30
        while not self.claims.take(SUMMARY) and time.monotonic() < patience:
            time.sleep(0.05)
        try:
            self._write_summary()
            write_index(self.out, self.records.all())
        finally:
            self.claims.close()

    def _write_summary(self) -> None:
        self._changed = False
        try:
            write_summary(self.out, [record.row for record in self.records.all() if record.row])
        finally:
            self.claims.release(SUMMARY)

    def _require_inside(self, item: Item) -> None:
        """Raise OutputError where a symbolic link in `out` would lead the results elsewhere."""
        if not Path(os.path.realpath(item.folder.parent)).is_relative_to(os.path.realpath(self.out)):
            raise OutputError(
                f"{item.folder}: a symbolic link leads out of {self.out}; remove it, or use --out for another place"
            )


def write_index(out: Path, records: Sequence[Record]) -> None:
    """Write index.html, which leads to the reports of a batch, where there are some. Raises OutputError."""
    entries, found = [], False
    for record in records:
        if record.row is None:
            continue
        report = place(Path(record.source), record.name, out).folder / REPORT_FILE
        there = not record.row.failed and report.is_file()
        found |= there
        link = quote(os.fsencode(report.relative_to(out))) if there else None
        low, high = record.row.low, record.row.high
        rest = record.row.message if low is None or high is None else f"{low:,.0f} to {high:,.0f}"
        entries.append((record.name, link, record.row.count, rest))
    if found:
        from gigacount.output.report import index_html

        write_whole(out / INDEX_FILE, index_html(entries).encode())


def stands_for(item: Item) -> bool:
    """Whether the result in an item's folder was made of a file of the same name and size: it was copied with it."""
    content = ResultFolder(item.folder).finished()
    if content is None:
        return False
    name, size = Path(content["image"]["path"]).name, content["image"]["bytes"]
    with suppress(OSError):
        return name == item.path.name and size == item.path.stat().st_size
    return False


def require_same_work(out: Path, done: str) -> None:
    """Note what is done with the images of `out`; raise OutputError where it is something else than before."""
    note = out / STATE_FOLDER / "work"
    with explained(note):
        before = note.read_bytes() if note.exists() else b""
    if before == done.encode():
        return
    if before in KINDS_OF_WORK:
        raise ExistsError(f"{out}: the images in there were {before.decode()}, not {done}; use another --out")
    write_whole(note, done.encode())  # there is none, or it is damaged


@dataclass(frozen=True)
class Record:
    """What is known of the image `source` (absolute) under `name`.

    ours: the batch found no result when it first came, so that it may replace the one that stands there now.
    row: None while the first attempt is under way.
    """

    name: str
    source: str
    ours: bool
    row: Row | None


class RecordFolder:
    """The records in a folder, each read once for as long as its file does not change."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._read: dict[str, tuple[Stamp, Record | None]] = {}
        with explained(folder):
            folder.mkdir(parents=True, exist_ok=True)
            names = [entry.name for entry in os.scandir(folder)]
        self._at_first = {name: stamp(folder / name) for name in names}

    def find(self, key: str) -> Record | None:
        """The record of an item's key; None where it is missing or damaged."""
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
        """Whether a record was written since this process began, by whether it differs: clocks disagree."""
        path = self._path(key)
        return stamp(path) != self._at_first.get(path.name)

    def write(self, item: Item, row: Row | None, ours: bool) -> None:
        """Raises OutputError where that fails."""
        record = Record(item.name, item.source, ours, row)
        if record != self.find(item.key):
            content = asdict(replace(record, row=None)) | {"row": row and row.line()}
            write_whole(self._path(item.key), to_json(content).encode())

    def all(self) -> list[Record]:
        """All records by name, of an image that has several the latest. Raises OutputError for no list of the folder.

        An image has one name in its folder's batch and another in one of its own.
        """
        try:
            keys = [
                entry.name.removesuffix(".json") for entry in os.scandir(self.folder) if entry.name.endswith(".json")
            ]
        except OSError as error:
            raise OutputError(f"{self.folder}: cannot read the batch's records: {error.strerror}") from error
        found = [(record, self._read[key][0]) for key in keys if not key.startswith(".") and (record := self.find(key))]
        latest = {
            record.source: record for record, _ in sorted(found, key=lambda one: (one[0].row is not None, one[1][0]))
        }
        return sorted(latest.values(), key=lambda record: record.name)

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.json"


def parse(path: Path) -> Record | None:
    """Read a record; None where it is damaged or foreign: the image is then worked on again."""
    content = read_json(path, RECORD | {"row": optional(lambda row: isinstance(row, dict) and fits(row, ROW))})
    if content is None:
        return None
    row = content["row"] and Row(**{name: content["row"][name] for name in ROW})
    return Record(**{name: content[name] for name in RECORD}, row=row)


def stamp(path: Path) -> Stamp | None:
    """What changes when a file is rewritten: time, size and identity. None where there is no file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def write_summary(out: Path, rows: Sequence[Row]) -> None:
    """Write summary.csv and summary.json, each whole or not at all. Raises OutputError."""
    write_whole(out / CSV_FILE, csv_text(list(ROW), [row.line() for row in rows]).encode())
    write_whole(out / JSON_FILE, summary_json(rows).encode())


def summary_json(rows: Sequence[Row]) -> str:
    """Totals, then the images, one a line."""
    failed = sum(row.failed for row in rows)
    totals = {"done": len(rows) - failed, "failed": failed, "count": sum(row.count or 0.0 for row in rows)}
    lines = ",\n".join(f"  {to_json(row.line())}" for row in rows)
    return f'{{\n {to_json(totals)[1:-1]},\n "images": [\n{lines}\n ]\n}}\n'
