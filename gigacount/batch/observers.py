"""How far a batch is, the observers that are told, and `--log`, which tells programs."""

from __future__ import annotations

import os
import socket
import time
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gigacount.atomic import explained
from gigacount.batch.work import Row
from gigacount.batch.worklist import Item
from gigacount.output.stored import to_json


@dataclass
class Tally:
    """Images so far. done: newly made; reused: stood already; signal: the number of the one that stopped the batch.

    at_once: whether a second signal came. gave_up: whether it stopped because too many images failed.
    """

    total: int
    done: int = 0
    reused: int = 0
    failed: int = 0
    people: float = 0.0
    signal: int | None = None
    at_once: bool = False
    gave_up: bool = False
    began: float = field(default_factory=time.monotonic)

    @property
    def settled(self) -> int:
        return self.done + self.reused + self.failed

    @property
    def exit_code(self) -> int:
        """0 when all went well, 1 when images failed, 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP."""
        return 128 + self.signal if self.signal else int(self.failed > 0)

    def add(self, row: Row, reused: bool) -> None:
        if row.failed:
            self.failed += 1
        elif reused:
            self.reused += 1
        else:
            self.done += 1
        self.people += row.count or 0.0

    def seconds_left(self) -> float | None:
        """By the pace of the images that took work; None before the first of them."""
        worked = self.done + self.failed
        if worked == 0:
            return None
        return (time.monotonic() - self.began) / worked * (self.total - self.settled)

    def as_dict(self) -> dict[str, Any]:
        names = ("total", "done", "reused", "failed", "people", "exit_code")
        return {name: getattr(self, name) for name in names} | {"seconds": round(time.monotonic() - self.began, 3)}


class Observer:
    """Receives the events of a batch, in the batch's thread; subclasses override what they need."""

    def began(self, tally: Tally) -> None: ...
    def started(self, item: Item) -> None: ...
    def looked(self, item: Item, done: int, planned: int) -> None: ...
    def finished(self, item: Item, row: Row, reused: bool) -> None: ...
    def said(self, message: str) -> None: ...
    def ended(self, tally: Tally) -> None: ...


class EventLog(Observer):
    """Appends every event but the windows, which are too many, to a file: a JSON object a line.

    Several processes may share the file. Raises OutputError where it cannot write.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._who = {"host": socket.gethostname(), "pid": os.getpid()}
        with explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()

    def began(self, tally: Tally) -> None:
        self._write("begin", images=tally.total)

    def started(self, item: Item) -> None:
        self._write("start", path=str(item.path))

    def finished(self, item: Item, row: Row, reused: bool) -> None:
        self._write("image", **asdict(row), reused=reused, folder=str(item.folder))

    def said(self, message: str) -> None:
        self._write("message", message=message)

    def ended(self, tally: Tally) -> None:
        self._write("end", **tally.as_dict())

    def _write(self, event: str, **values: Any) -> None:
        entry = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event, **self._who, **values}
        with explained(self.path), self.path.open("ab", buffering=0) as file:
            file.write(to_json(entry).encode() + b"\n")
