"""What is said while a batch goes on: answers in the order of the list, and progress."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from gigacount.batch import Item, Observer, Row, Tally
from gigacount.cli.show import complain, duration, say
from gigacount.text import one_line, plural, printable

if TYPE_CHECKING:
    from rich.progress import TaskID

PLAIN_SECONDS = 10.0


class Answers(Observer):
    """Answers, in the order of the list whichever image is done first; failures at once."""

    def __init__(
        self,
        items: Sequence[Item],
        line: Callable[[Item, Row, bool], str | None],
        write: Callable[[str], None],
        with_paths: bool,
    ) -> None:
        self._open, self._line, self._with_paths = deque(items), line, with_paths
        self.write = write
        self._rows: dict[str, Row] = {}

    def finished(self, item: Item, row: Row, reused: bool) -> None:
        self._rows[item.key] = row
        if row.failed:
            complain(row.message if str(item.path) in row.message else f"{item.path}: {row.message}")
        while self._open and self._open[0].key in self._rows:
            self._answer(self._open.popleft())

    def flush(self) -> None:
        """Answer for what was held back when a batch stops early."""
        while self._open:
            item = self._open.popleft()
            if item.key in self._rows:
                self._answer(item)

    def _answer(self, item: Item) -> None:
        line = self._line(item, self._rows.pop(item.key), self._with_paths)
        if line is not None:
            self.write(line)


class PlainProgress(Observer):
    """Progress where standard error is no terminal: a line now and then."""

    def __init__(self) -> None:
        self._tally: Tally | None = None
        self._next = time.monotonic() + PLAIN_SECONDS

    def began(self, tally: Tally) -> None:
        self._tally = tally

    def finished(self, item: Item, row: Row, reused: bool) -> None:
        if self._tally is not None and time.monotonic() >= self._next:
            self._next = time.monotonic() + PLAIN_SECONDS
            say(state(self._tally))

    def said(self, message: str) -> None:
        say(message)


class Live(Observer):
    """Progress on a terminal: a bar for the whole batch, and one for each image in work."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        columns = TextColumn("{task.description}", markup=False), BarColumn(), TextColumn("{task.fields[state]}")
        self.bars = Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False)
        self._tasks: dict[str, TaskID] = {}
        self._tally: Tally | None = None
        self._whole = self.bars.add_task("images", total=None, state="")

    def __enter__(self) -> Live:
        self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bars.stop()

    def began(self, tally: Tally) -> None:
        self._tally = tally
        self._update()

    def started(self, item: Item) -> None:
        self._tasks[item.key] = self.bars.add_task(printable(item.path.name), total=None, state="")

    def looked(self, item: Item, done: int, planned: int) -> None:
        if item.key in self._tasks:
            self.bars.update(self._tasks[item.key], completed=done, total=planned, state=f"{done}/{planned} windows")

    def finished(self, item: Item, row: Row, reused: bool) -> None:
        if item.key in self._tasks:
            self.bars.remove_task(self._tasks.pop(item.key))
        self._update()

    def said(self, message: str) -> None:
        self.bars.console.print(one_line(message), markup=False, highlight=False, soft_wrap=True)

    def _update(self) -> None:
        if self._tally is not None:
            settled, total = self._tally.settled, self._tally.total
            self.bars.update(self._whole, completed=settled, total=total, state=state(self._tally))


def state(tally: Tally) -> str:
    """`37 of 200 images, 1 failed, 12 min left`."""
    parts = [f"{tally.settled} of {plural(tally.total, 'image')}"]
    if tally.failed:
        parts.append(f"{tally.failed} failed")
    if (left := tally.seconds_left()) is not None:
        parts.append(f"{duration(left)} left")
    return ", ".join(parts)
