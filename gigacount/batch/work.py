"""What a batch does with one picture. The batch itself knows no pixels: it sees a `Work` and rows of the summary."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from gigacount.batch.records import Row, failed_row
from gigacount.batch.worklist import Item
from gigacount.errors import GigacountError, NoSpaceError, UsageError
from gigacount.key import RunKey, records_of
from gigacount.options import CountOptions
from gigacount.output import ResultFolder
from gigacount.output.opened import Wanted
from gigacount.strategies import find_strategy

if TYPE_CHECKING:
    from gigacount.count import Counter

Progress = Callable[[int, int], None]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Task:
    """An item to work on; replace: whether a result that stands there may be replaced."""

    item: Item
    replace: bool


class Work(Protocol):
    """Sent to the processes that do it, so it must be picklable until it is prepared. Several threads share it.

    done: what it does, in a word: a picture was counted, or located in.
    """

    done: str

    def earlier(self, item: Item) -> Row | None:
        """The row of a finished result that still stands for the same picture; found in milliseconds.

        Raises ImageError where the picture is missing.
        """

    def differs(self, item: Item) -> list[str]:
        """In what a finished result differs from what is asked for now, as `option: stored -> wanted`."""

    def prepare(self, say: Say) -> None:
        """Load what all pictures need; what is raised here ends the batch."""

    def check(self, task: Task) -> None:
        """Raise GigacountError where the results of a picture cannot be written; needs no networks."""

    def process(self, task: Task, progress: Progress | None) -> Row:
        """Work on a picture, write its results, whole or not at all, and report; raises GigacountError."""

    def tidy(self, item: Item) -> None:
        """Remove what a killed process has left of its work on a picture."""


def attempt(work: Work, task: Task, progress: Progress | None) -> Row:
    """Process a picture; what goes wrong with it becomes its row. Raises NoSpaceError, which is wrong for all."""
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
    """Counting, as `gigacount count` does it, and locating, as `gigacount localize` does.

    demand_gpu: refuse to work on anything else. with_content: rows carry what stands in count.json. Raises UsageError
    and WeightsError for networks that are not there.
    """

    def __init__(
        self,
        options: CountOptions,
        formats: tuple[str, ...],
        locate: bool = False,
        demand_gpu: bool = False,
        with_content: bool = False,
    ) -> None:
        self.with_content = with_content
        self.options, self.formats, self.locate, self.demand_gpu = options, formats, locate, demand_gpu
        self.done = "located" if locate else "counted"
        find_strategy(options.strategy)
        self.records = records_of(options)
        self.wanted = Wanted(RunKey.of(options, self.records), formats, locate)
        self._counter: Counter | None = None

    def finished(self, item: Item) -> dict[str, Any] | None:
        """The content of a result that stands already and is what is asked for."""
        return self.wanted.finished(ResultFolder(item.folder), item.path)

    def earlier(self, item: Item) -> Row | None:
        content = self.finished(item)
        return self._row(item, content) if content else None

    def differs(self, item: Item) -> list[str]:
        return self.wanted.differences(ResultFolder(item.folder), item.path)

    def begin(self, say: Say) -> Counter:
        """The counter, whose networks are loaded when the first picture is open. `say` gets lines for the user."""
        from gigacount.count import Counter

        self._counter = Counter(
            self.options, say, self.locate, bool({"overlay", "report"} & set(self.formats)), self.records
        )
        return self._counter

    def prepare(self, say: Say) -> None:
        counter = self.begin(say)
        predictor, _ = counter.predictor, counter.coarse
        if self.demand_gpu and not str(predictor.device).startswith("cuda"):
            raise UsageError("--gpus needs CUDA devices, and there are none here; leave it out to count on the CPU")

    def check(self, task: Task) -> None:
        ResultFolder(task.item.folder).require_free(task.replace)

    def process(self, task: Task, progress: Progress | None) -> Row:
        return self._row(task.item, self.run(task, progress))

    def _row(self, item: Item, content: dict[str, Any]) -> Row:
        row = count_row(item, content)
        return replace(row, content=content) if self.with_content else row

    def run(self, task: Task, progress: Progress | None) -> dict[str, Any]:
        """Work on a picture and write its results; what stands in its count.json."""
        from gigacount.output import write_result

        assert self._counter is not None, "prepare() comes first"
        result = self._counter.count(task.item.path, progress)
        return write_result(result, ResultFolder(task.item.folder), self.formats)

    def tidy(self, item: Item) -> None:
        from gigacount.output.files import discard_leftovers

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
