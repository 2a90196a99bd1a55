"""What a run reports: JSON lines, TensorBoard where it is installed, and a callback."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from gigacount.atomic import write_whole
from gigacount.train.checkpoint import explained

FILE = "log.jsonl"

Batch = TypeVar("Batch")
Entry = dict[str, Any]
Report = Callable[[Entry], None]
"""Called with one log entry: loss every 50 steps, validation errors when they were measured."""


class Log:
    """`log.jsonl` and `tensorboard/` in a run's folder. `resumed` forgets what came after the checkpoint's step."""

    def __init__(self, folder: Path, report: Report, resumed: int | None = None) -> None:
        self.path, self.report = folder / FILE, report
        if resumed is not None:
            with explained(self.path):
                self._forget(resumed)
        self._board = open_tensorboard(folder / "tensorboard", resumed)

    def write(self, entry: Entry) -> None:
        """Raises OutputError where it cannot be written; the line is whole or cut off when `resumed`."""
        with explained(self.path):
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
            if self._board is not None:
                for name, value in scalars(entry).items():
                    self._board.add_scalar(name, value, entry["step"])
                self._board.flush()
        self.report(entry)

    def _forget(self, step: int) -> None:
        """Drop entries that a killed run wrote after its last checkpoint, and a line that it did not end."""
        if not self.path.exists():
            return
        kept = [line for line in self.path.read_bytes().split(b"\n") if written_by(line, step)]
        write_whole(self.path, b"".join(line + b"\n" for line in kept))


class Pace:
    """How fast a run is, and how long it waits for its data."""

    def __init__(self) -> None:
        self._since, self._waited, self._steps = time.monotonic(), 0.0, 0

    def waiting(self, batches: Iterator[Batch]) -> Batch:
        """The next batch; the wait for it is noted."""
        began = time.monotonic()
        batch = next(batches)
        self._waited += time.monotonic() - began
        self._steps += 1
        return batch

    def since_last(self) -> dict[str, float]:
        """Steps a second and the share of the time that was waited for data, 0 to 1, since this was last asked."""
        seconds = max(time.monotonic() - self._since, 1e-9)
        found = {"steps_per_second": round(self._steps / seconds, 3), "waiting": round(self._waited / seconds, 3)}
        self._since, self._waited, self._steps = time.monotonic(), 0.0, 0
        return found


def written_by(line: bytes, step: int) -> bool:
    """Whether this is a whole entry of a step up to `step`."""
    try:
        return bool(json.loads(line)["step"] <= step)
    except (ValueError, LookupError, TypeError, RecursionError):
        return False


def scalars(entry: Entry) -> dict[str, float]:
    """Numbers by name, those of a data set as `name/mae`."""
    flat: dict[str, float] = {}
    for name, value in entry.items():
        nested = {f"{name}/{inner}": number for inner, number in value.items()} if isinstance(value, dict) else {}
        flat |= {key: float(number) for key, number in (nested or {name: value}).items() if is_number(number)}
    flat.pop("step", None)
    return flat


def is_number(value: object) -> bool:
    return isinstance(value, int | float)


def open_tensorboard(folder: Path, resumed: int | None) -> Any:
    """A writer, or None where TensorBoard is not installed (`pip install gigacount[tensorboard]`)."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(folder, purge_step=None if resumed is None else resumed + 1)
