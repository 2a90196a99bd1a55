"""`--log`: what happens in a batch, a JSON object a line, for programs that watch it."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gigacount.batch.records import Row
from gigacount.batch.tally import Tally, Watcher
from gigacount.batch.worklist import Item
from gigacount.output.folder import explained


class Log(Watcher):
    """Appends what happens to a file, but for the windows, which are too many; several processes may share it.

    Raises OutputError where it cannot write.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._who = {"host": socket.gethostname(), "pid": os.getpid()}
        with explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()

    def began(self, tally: Tally) -> None:
        self._write("begin", pictures=tally.total)

    def started(self, item: Item) -> None:
        self._write("start", path=str(item.path))

    def finished(self, item: Item, row: Row, reused: bool) -> None:
        self._write("picture", **asdict(row), reused=reused, folder=str(item.folder))

    def said(self, message: str) -> None:
        self._write("message", message=message)

    def ended(self, tally: Tally) -> None:
        self._write("end", **tally.as_dict())

    def _write(self, event: str, **values: Any) -> None:
        entry = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event, **self._who, **values}
        with explained(self.path), self.path.open("ab", buffering=0) as file:
            file.write(json.dumps(entry).encode() + b"\n")
