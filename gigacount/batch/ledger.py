"""What a batch remembers between runs and shares between processes: claims, records and the summary in `out`."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from gigacount.batch.claims import Claims
from gigacount.batch.records import Record, Records, Row, write_summary
from gigacount.batch.worklist import Item, place
from gigacount.errors import ExistsError, OutputError
from gigacount.output.files import discard_all_leftovers, explained, write_whole
from gigacount.output.folder import INDEX_FILE, REPORT_FILE, ResultFolder

STATE_FOLDER = ".gigacount"
SUMMARY = "summary"
KINDS_OF_WORK = (b"counted", b"located")
SUMMARY_SECONDS = 2.0
SUMMARY_SHARE = 0.02
"""Of its time, what a batch may spend on rewriting the summary as it goes."""


class Ledger:
    """The ledger of a batch that puts results beside the pictures: nothing is shared and nothing remembered."""

    def claim(self, item: Item) -> bool:
        """Reserve a picture for this process; False where another process is at it."""
        return True

    def release(self, item: Item) -> None:
        """Give a reserved picture back."""

    def left(self, items: Iterable[Item]) -> list[Item]:
        """Pictures that killed processes were at, now claimed by this one."""
        return []

    def holder(self, item: Item) -> str:
        """Which other process is at a picture, in words; empty if none is."""
        return ""

    def begin(self, item: Item) -> bool:
        """Note that work on a picture begins. Whether it may replace a result: one that was made of it earlier."""
        return stands_for(item)

    def settle(self, item: Item, row: Row, reused: bool) -> None:
        """Keep what became of a picture. Raises OutputError where that cannot be written."""

    def settled_since(self, item: Item) -> Row | None:
        """What another process has made of a picture since this one began."""
        return None

    def keep_up(self) -> None:
        """Heartbeat and summary; to be called every second or so."""

    def close(self) -> None:
        """Write the summary for the last time and give back all claims."""


class SharedLedger(Ledger):
    """The ledger in `out`/.gigacount, safe to share with other processes, also on other machines.

    done: what is done with the pictures, in a word. One output folder is for one kind of work, because a picture has
    one line in the summary and one result folder; raises OutputError where another kind was here before.
    """

    def __init__(self, out: Path, done: str) -> None:
        self.out = out
        self.records = Records(out / STATE_FOLDER / "records")
        demand_same_work(out, done)
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
        self._demand_inside(item)
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

    def _demand_inside(self, item: Item) -> None:
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


def demand_same_work(out: Path, done: str) -> None:
    """Note what is done with the pictures of `out`; raise OutputError where it is something else than before."""
    note = out / STATE_FOLDER / "work"
    with explained(note):
        before = note.read_bytes() if note.exists() else b""
    if before == done.encode():
        return
    if before in KINDS_OF_WORK:
        raise ExistsError(f"{out}: the pictures in there were {before.decode()}, not {done}; use another --out")
    write_whole(note, done.encode())  # there is none, or it is damaged
