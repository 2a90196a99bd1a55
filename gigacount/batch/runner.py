"""The batch: work list -> claim -> process -> record -> summary."""

from __future__ import annotations

import signal
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from gigacount.batch.crew import Crew
from gigacount.batch.ledger import Ledger, SharedLedger
from gigacount.batch.log import Log
from gigacount.batch.processes import STOP_SIGNALS, LocalEngine
from gigacount.batch.records import Row, failed_row
from gigacount.batch.seats import Engine, Finished, Looked, Said, Started
from gigacount.batch.tally import Tally, Watcher
from gigacount.batch.work import Task, Work
from gigacount.batch.worklist import Item
from gigacount.errors import ImageError, OutputError
from gigacount.options import BatchOptions

TICK = 0.25  # seconds between looks at the clock and at stop signals
OTHERS_SECONDS = 1.0  # between looks at pictures that other processes are at
SIFT = 50  # pictures checked for a finished result before the workers are heard again


def run_batch(items: Sequence[Item], work: Work, options: BatchOptions, watchers: Sequence[Watcher] = ()) -> Tally:
    """Work through a list and say how it went; what became of each picture is in the summary.

    Ends early, with all that is done saved, on Ctrl-C and SIGTERM (a second one ends it at once) and after
    `max_failures`. Raises GigacountError where no picture can be worked on: no weights, no space for results.
    """
    if options.log is not None:
        watchers = (*watchers, Log(options.log))
    ledger = SharedLedger(options.out, work.done) if options.out else Ledger()
    try:
        batch = Batch(items, work, options, ledger)
        batch.watchers = watchers
        with stop_signals(batch.tally):
            return batch.run()
    finally:
        ledger.close()


def make_engine(work: Work, options: BatchOptions) -> Engine:
    if options.engine == "ray":
        from gigacount.batch.cluster import RayEngine

        return RayEngine(work, options)
    return LocalEngine(work, options)


class Batch:
    """One run through a list."""

    def __init__(self, items: Sequence[Item], work: Work, options: BatchOptions, ledger: Ledger) -> None:
        self.work, self.options, self.ledger = work, options, ledger
        self.items = {item.key: item for item in items}
        self.tally = Tally(len(items))
        self.watchers: Sequence[Watcher] = ()
        self.crew = Crew(make_engine(work, options), options.time_limit)
        self._unseen = deque(items)  # perhaps finished by an earlier run
        self._todo: deque[Item] = deque()
        self._elsewhere: list[Item] = []  # claimed by other processes
        self._look_elsewhere = 0.0

    def run(self) -> Tally:
        self._tell("began", self.tally)
        left = self.ledger.left(self.items.values())
        for item in left:
            self.work.tidy(item)
            self.ledger.release(item)
        try:
            while not self._must_stop() and (self._unseen or self._todo or self._elsewhere or self.crew.active):
                self._sift()
                self._hand_out()
                self._listen()
                self.ledger.keep_up()
        finally:
            under_way = {item.key: item for item in self.crew.active}
            for report in self.crew.stop():
                self._settle(under_way.pop(report.key), report.row, reused=False)
            for item in (*under_way.values(), *left):  # what was left may have taken its time to die
                self.work.tidy(item)
                self.ledger.release(item)
        self._tell("ended", self.tally)
        return self.tally

    def _must_stop(self) -> bool:
        most = self.options.max_failures
        self.tally.gave_up = most is not None and self.tally.failed >= most
        return self.tally.signal is not None or self.tally.gave_up

    def _sift(self) -> None:
        """Tell finished pictures from those that need work."""
        if not self._unseen and self._elsewhere and time.monotonic() > self._look_elsewhere:
            self._look_elsewhere = time.monotonic() + OTHERS_SECONDS
            self._unseen.extend(self._elsewhere)
            self._elsewhere.clear()
        for _ in range(min(SIFT, len(self._unseen))):
            item = self._unseen.popleft()
            if (row := self._known(item)) is not None:
                self._settle(item, row, reused=True)
            else:
                self._todo.append(item)

    def _hand_out(self) -> None:
        while self._todo and self.crew.has_room(len(self._todo)):
            item = self._todo.popleft()
            if not self.ledger.claim(item):
                self._elsewhere.append(item)
            elif (row := self._known(item)) is not None:  # another process had it until just now
                self._settle(item, row, reused=True)
            else:
                self._begin(item)

    def _begin(self, item: Item) -> None:
        try:
            replace = self.ledger.begin(item)
        except OutputError as error:
            self._settle(item, failed_row(item, str(error)), reused=False)
        else:
            self.crew.give(Task(item, replace or self.options.overwrite))

    def _listen(self) -> None:
        for report in self.crew.wait(0 if self._unseen else TICK):
            match report:
                case Started(key):
                    self._tell("started", self.items[key])
                case Looked(key, done, planned):
                    self._tell("looked", self.items[key], done, planned)
                case Said(message):
                    self._tell("said", message)
                case Finished(key, row):
                    self._settle(self.items[key], row, reused=False)

    def _known(self, item: Item) -> Row | None:
        """The row of a picture that needs no work: finished earlier, just done by another process, or not there."""
        other = self.ledger.settled_since(item)
        if other is not None and other.failed:
            return other
        if self.options.overwrite and other is None:
            return None
        try:
            return self.work.earlier(item)
        except ImageError as error:
            return failed_row(item, str(error))

    def _settle(self, item: Item, row: Row, reused: bool) -> None:
        if row.failed and not reused:
            self.work.tidy(item)
        self.ledger.settle(item, row, reused)
        self.ledger.release(item)
        self.tally.add(row, reused)
        self._tell("finished", item, row, reused)

    def _tell(self, event: str, *values: object) -> None:
        for watcher in self.watchers:
            getattr(watcher, event)(*values)


@contextmanager
def stop_signals(tally: Tally) -> Iterator[None]:
    """Note Ctrl-C and SIGTERM in the tally instead of dying of them; a second Ctrl-C interrupts as usual."""

    def note(number: int, frame: FrameType | None) -> None:
        if tally.signal is not None:
            raise KeyboardInterrupt
        tally.signal = number

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, note) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
