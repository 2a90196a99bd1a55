"""What is done with one image, what became of it, and what the batch and its workers say to each other.

The batch itself knows no pixels: it sees a `CountWork` and rows of the summary. Workers are processes here or actors on
a cluster.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from gigacount.batch.worklist import Item
from gigacount.errors import GigacountError, NoSpaceError, UsageError
from gigacount.key import RunKey, records_of
from gigacount.options import CountOptions
from gigacount.output.folder import ResultFolder
from gigacount.output.opened import Wanted
from gigacount.output.stored import number, optional, side, size, text, whole
from gigacount.strategies import find_strategy
from gigacount.text import one_line

if TYPE_CHECKING:
    from gigacount.count import Counter

DONE, FAILED = "done", "failed"
Progress = Callable[[int, int], None]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Task:
    """An item to work on; replace: whether a result that stands there may be replaced."""

    item: Item
    replace: bool


ROW = {
    "path": text,
    "count": optional(number),
    "low": optional(number),
    "high": optional(number),
    "points": optional(whole),
    "width": optional(side),
    "height": optional(side),
    "seconds": optional(size),
    "status": (DONE, FAILED).__contains__,
    "message": text,
}


@dataclass(frozen=True)
class Row:
    """A line of the summary.

    low, high: the range of the count. status: done or failed; message: why it failed. seconds: of the work, not of the
    wait. content: of count.json, where it is asked for; it is in no file of the batch.
    """

    path: str
    count: float | None = None
    low: float | None = None
    high: float | None = None
    points: int | None = None
    width: int | None = None
    height: int | None = None
    seconds: float | None = None
    status: str = DONE
    message: str = ""
    content: dict[str, Any] | None = field(default=None, compare=False, repr=False)

    @property
    def failed(self) -> bool:
        return self.status == FAILED

    def line(self) -> dict[str, Any]:
        """What the summary and the records hold of it."""
        return {name: getattr(self, name) for name in ROW}


def failed_row(item: Item, message: str, seconds: float | None = None) -> Row:
    return Row(str(item.path), seconds=seconds, status=FAILED, message=one_line(message))


def attempt(work: CountWork, task: Task, progress: Progress | None) -> Row:
    """Process an image; what goes wrong with it becomes its row. Raises NoSpaceError, which is wrong for all."""
    start = time.perf_counter()
    try:
        work.check(task)
        return work.process(task, progress)
    except NoSpaceError:
        raise
    except GigacountError as error:
        message = str(error)
    except OSError as error:
        message = f"{task.item.path}: {error}"
    return failed_row(task.item, message, round(time.perf_counter() - start, 3))


class CountWork:
    """Counting, as `gigacount count` does it, and locating, as `gigacount localize` does. All that a batch knows of it.

    Sent to the processes that do it, so it must be picklable until it is prepared. Several threads share it.

    require_gpu: refuse to work on anything else. with_content: rows carry what stands in count.json. done: what it
    does, in a word: counted or located. Raises UsageError and WeightsError for networks that are not there.
    """

    def __init__(
        self,
        options: CountOptions,
        formats: tuple[str, ...],
        locate: bool = False,
        require_gpu: bool = False,
        with_content: bool = False,
    ) -> None:
        self.with_content = with_content
        self.options, self.formats, self.locate, self.require_gpu = options, formats, locate, require_gpu
        self.done = "located" if locate else "counted"
        find_strategy(options.strategy)
        self.records = records_of(options)
        self.wanted = Wanted(RunKey.of(options, self.records), formats, locate)
        self._counter: Counter | None = None

    def finished(self, item: Item) -> dict[str, Any] | None:
        """The content of a result that stands already and is what is asked for."""
        return self.wanted.finished(ResultFolder(item.folder), item.path)

    def earlier(self, item: Item) -> Row | None:
        """The row of such a result, found in milliseconds. Raises ImageError where the image is missing."""
        content = self.finished(item)
        return self._row(item, content) if content else None

    def obstacle(self, item: Item) -> str:
        """Why a finished result that stands there is not what is asked for now; empty where none does."""
        return self.wanted.obstacle(ResultFolder(item.folder), item.path)

    def begin(self, say: Say) -> Counter:
        """Make the counter, whose networks are loaded when the first image is open. say: gets lines for the user."""
        from gigacount.count import Counter

        self._counter = Counter(
            self.options, say, self.locate, bool({"overlay", "report"} & set(self.formats)), self.records
        )
        return self._counter

    def prepare(self, say: Say) -> None:
        """Load what all images need; what is raised here ends the batch."""
        counter = self.begin(say)
        predictor, _ = counter.predictor, counter.coarse
        if self.require_gpu and not str(predictor.device).startswith("cuda"):
            raise UsageError("--gpus needs CUDA devices, and there are none here; leave it out to count on the CPU")

    def check(self, task: Task) -> None:
        """Raise GigacountError where the results of an image cannot be written; needs no networks."""
        ResultFolder(task.item.folder).require_free(task.replace)

    def process(self, task: Task, progress: Progress | None) -> Row:
        """Work on an image, write its results, whole or not at all, and report; raises GigacountError."""
        return self._row(task.item, self.run(task, progress))

    def _row(self, item: Item, content: dict[str, Any]) -> Row:
        row = count_row(item, content)
        return replace(row, content=content) if self.with_content else row

    def run(self, task: Task, progress: Progress | None) -> dict[str, Any]:
        """The same; gives what stands in count.json."""
        from gigacount.output.writers import write_result

        assert self._counter is not None, "prepare() comes first"
        result = self._counter.count(task.item.path, progress)
        return write_result(result, ResultFolder(task.item.folder), self.formats)

    def tidy(self, item: Item) -> None:
        """Remove what a killed process has left of its work on an image."""
        from gigacount.atomic import discard_leftovers

        discard_leftovers(item.folder)


def count_row(item: Item, content: dict[str, Any]) -> Row:
    """The summary's line for a count.json."""
    parts = (content.get(name) for name in ("image", "seconds", "interval"))
    image, seconds, interval = (part if isinstance(part, dict) else {} for part in parts)
    return Row(
        path=str(item.path),
        count=content["count"],
        low=interval.get("low"),
        high=interval.get("high"),
        points=content.get("located"),
        width=image.get("width"),
        height=image.get("height"),
        seconds=seconds.get("total"),
    )


@dataclass(frozen=True)
class Ready:
    """The networks are loaded; images may come."""


@dataclass(frozen=True)
class Broken:
    """No image can be worked on, for a reason that concerns all of them; kind: the class of the error."""

    message: str
    kind: type[GigacountError]

    @classmethod
    def by(cls, error: GigacountError) -> Broken:
        kinds = UsageError, NoSpaceError, GigacountError  # made of a message alone; not all their subclasses are
        return cls(str(error), next(kind for kind in kinds if isinstance(error, kind)))


@dataclass(frozen=True)
class Started:
    """Work on an image has begun."""

    key: str


@dataclass(frozen=True)
class WindowsDone:
    """So many of the planned windows of an image are done."""

    key: str
    done: int
    planned: int


@dataclass(frozen=True)
class Said:
    """A line for the user."""

    message: str


@dataclass(frozen=True)
class Finished:
    """What became of an image."""

    key: str
    row: Row


WorkerReport = Ready | Broken | Started | WindowsDone | Said | Finished


class Worker(Protocol):
    """One worker, seen from the batch. node: where it runs, empty until known."""

    node: str

    def give(self, task: Task) -> None:
        """Hand it an image. A dead worker ignores it; `lost` tells of its death."""

    def reports(self) -> list[WorkerReport]:
        """What it has said since the last call, without waiting."""

    def lost(self) -> str | None:
        """How it died; None while it lives."""

    def ask_to_stop(self) -> None:
        """Ask it to drop its work at the next window and end."""

    def kill(self) -> None:
        """End it now."""


class Engine(Protocol):
    """Starts workers. capacity: images that one takes at a time. retry_elsewhere: failed images get a second
    try on another node, since what failed may be the node."""

    capacity: int
    retry_elsewhere: bool

    def most(self) -> int:
        """How many workers there can be at this moment."""

    def start_worker(self) -> Worker:
        """Start a worker; does not wait until it is ready."""

    def wait(self, workers: Sequence[Worker], seconds: float) -> None:
        """Wait until one of the workers has something to say."""

    def close(self) -> None:
        """Give back what the engine holds."""
