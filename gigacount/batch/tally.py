"""How far a batch is, and those who watch it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from gigacount.batch.records import Row
from gigacount.batch.worklist import Item


@dataclass
class Tally:
    """Pictures so far. done: newly made; reused: stood already; signal: the number of the one that stopped the batch.

    gave_up: whether it stopped because too many pictures failed.
    """

    total: int
    done: int = 0
    reused: int = 0
    failed: int = 0
    people: float = 0.0
    signal: int | None = None
    gave_up: bool = False
    began: float = field(default_factory=time.monotonic)

    @property
    def settled(self) -> int:
        return self.done + self.reused + self.failed

    @property
    def exit_code(self) -> int:
        """0 when all went well, 1 when pictures failed, 130 after Ctrl-C, 143 after SIGTERM."""
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
        """By the pace of the pictures that took work; None before the first of them."""
        worked = self.done + self.failed
        if worked == 0:
            return None
        return (time.monotonic() - self.began) / worked * (self.total - self.settled)

    def as_dict(self) -> dict[str, Any]:
        names = ("total", "done", "reused", "failed", "people", "exit_code")
        return {name: getattr(self, name) for name in names} | {"seconds": round(time.monotonic() - self.began, 3)}


class Watcher:
    """Is told what happens in a batch, in the batch's own thread; children override what they heed."""

    def began(self, tally: Tally) -> None: ...
    def started(self, item: Item) -> None: ...
    def looked(self, item: Item, done: int, planned: int) -> None: ...
    def finished(self, item: Item, row: Row, reused: bool) -> None: ...
    def said(self, message: str) -> None: ...
    def ended(self, tally: Tally) -> None: ...
