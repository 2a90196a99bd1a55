"""The batch: work list -> claim -> process -> record -> summary."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from gigacount.batch.ledger import Ledger, SharedLedger
from gigacount.batch.observers import EventLog, Observer, Tally
from gigacount.batch.processes import LocalEngine
from gigacount.batch.scheduler import Scheduler
from gigacount.batch.work import CountWork, Engine, Finished, Row, Said, Started, Task, WindowsDone, failed_row
from gigacount.batch.worklist import Item, require_no_pipe
from gigacount.errors import ExistsError, ImageError, OutputError
from gigacount.options import BatchOptions
from gigacount.signals import handled
from gigacount.text import plural

TICK = 0.25  # seconds between looks at the clock and at stop signals
OTHERS_SECONDS = 1.0  # between looks at images that other processes are at
SIFT = 50  # images checked for a finished result before the workers are heard again


def run_batch(
    items: Sequence[Item], work: CountWork, options: BatchOptions, observers: Sequence[Observer] = ()
) -> Tally:
    """Work through a list and say how it went; what became of each image is in the summary.

    Ends early, with all that is done saved, on Ctrl-C, SIGTERM and SIGHUP (a second one drops what is under way) and
    after `max_failures`. Raises GigacountError where no image can be worked on: no weights, no space for results.
    """
    if options.log is not None:
        observers = (*observers, EventLog(options.log))
    tally = Tally(len(items))
    with signals_noted(tally):
        ledger = SharedLedger(options.out, work.done) if options.out else Ledger()
        try:
            return Batch(items, work, options, ledger, tally, observers).run()
        finally:
            ledger.close()


def make_engine(work: CountWork, options: BatchOptions) -> Engine:
    if options.engine == "ray":
        from gigacount.batch.cluster import RayEngine

        return RayEngine(work, options)
    return LocalEngine(work, options)


class Batch:
    """One run through a list."""

    def __init__(
        self,
        items: Sequence[Item],
        work: CountWork,
        options: BatchOptions,
        ledger: Ledger,
        tally: Tally,
        observers: Sequence[Observer],
    ) -> None:
        self.work, self.options, self.ledger, self.tally, self.observers = work, options, ledger, tally, observers
        self.items = {item.key: item for item in items}
        self.scheduler = Scheduler(make_engine(work, options), work.tidy, options.time_limit)
        self._unseen = deque(items)  # perhaps finished by an earlier run
        self._todo: deque[Item] = deque()
        self._elsewhere: list[Item] = []  # claimed by other processes
        self._look_elsewhere = 0.0
        self._waited_for = ""

    def run(self) -> Tally:
        self._tell("began", self.tally)
        left = self.ledger.left(self.items.values())
        for item in left:
            self.work.tidy(item)
            self.ledger.release(item)
        try:
            while not self._must_stop() and (self._unseen or self._todo or self._elsewhere or self.scheduler.active):
                self._sift()
                self._hand_out()
                self._listen()
                self._say_what_is_waited_for()
                self.ledger.keep_up()
        finally:
            under_way = {item.key: item for item in self.scheduler.active}
            for report in self.scheduler.stop(lambda: self.tally.at_once):
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
        """Tell finished images from those that need work."""
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
        while self._todo and self.scheduler.has_room(len(self._todo)):
            item = self._todo.popleft()
            if not self.ledger.claim(item):
                self._elsewhere.append(item)
            elif (row := self._known(item)) is not None:  # another process had it until just now
                self._settle(item, row, reused=True)
            else:
                self._begin(item)

    def _begin(self, item: Item) -> None:
        if not self.options.overwrite:
            require_same_options(self.work, item)
        try:
            replace = self.ledger.begin(item)
        except OutputError as error:
            self._settle(item, failed_row(item, str(error)), reused=False)
        else:
            self.scheduler.give(Task(item, replace or self.options.overwrite))

    def _listen(self) -> None:
        for report in self.scheduler.wait(0 if self._unseen else TICK):
            match report:
                case Started(key):
                    self._tell("started", self.items[key])
                case WindowsDone(key, done, planned):
                    self._tell("looked", self.items[key], done, planned)
                case Said(message):
                    self._tell("said", message)
                case Finished(key, row):
                    self._settle(self.items[key], row, reused=False)

    def _say_what_is_waited_for(self) -> None:
        """Say once which process has the images that are left, where this one has nothing to do meanwhile."""
        if not self._elsewhere or self.scheduler.active or self._unseen or self._todo:
            return
        holder = self.ledger.holder(self._elsewhere[0])
        if holder and holder != self._waited_for:
            self._waited_for = holder
            self._tell("said", f"waiting for {plural(len(self._elsewhere), 'image')} that {holder}, works on")

    def _known(self, item: Item) -> Row | None:
        """The row of an image that needs no work: finished earlier, just done by another process, or not there."""
        other = self.ledger.settled_since(item)
        if other is not None and other.failed:
            return other
        if self.options.overwrite and other is None:
            return None
        try:
            require_no_pipe(item.path)
            return self.work.earlier(item)
        except (ImageError, OutputError) as error:
            return failed_row(item, str(error))

    def _settle(self, item: Item, row: Row, reused: bool) -> None:
        self.ledger.settle(item, row, reused)
        self.ledger.release(item)
        self.tally.add(row, reused)
        self._tell("finished", item, row, reused)

    def _tell(self, event: str, *values: object) -> None:
        for observer in self.observers:
            getattr(observer, event)(*values)


def require_same_options(work: CountWork, item: Item) -> None:
    """Raise ExistsError where a result stands there that is not what is asked for."""
    if obstacle := work.obstacle(item):
        raise ExistsError(obstacle)


@contextmanager
def signals_noted(tally: Tally) -> Iterator[None]:
    """Note stop signals in the tally: the first asks for an end in order, a second for one soon, a third ends it."""

    def note(number: int, frame: FrameType | None) -> None:
        if tally.at_once:
            os._exit(128 + number)
        tally.at_once = tally.signal is not None
        tally.signal = tally.signal or number

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with handled(note):
        yield
