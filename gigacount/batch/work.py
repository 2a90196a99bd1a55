"""What a batch does with one picture. The batch itself knows no pixels: it sees a `Work` and rows of the summary."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from gigacount.batch.records import Row, failed_row
from gigacount.batch.worklist import Item
from gigacount.errors import GigacountError, NoSpaceError, UsageError
from gigacount.options import CountOptions, LocalizeOptions

if TYPE_CHECKING:
    from gigacount.count import Counter
    from gigacount.localize import Localizer

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

    def begin(self, say: Say) -> None:
        """Begin to load, in the background, what all pictures need. `say` gets lines for the user."""

    def prepare(self, say: Say) -> None:
        """Load what all pictures need; what is raised here ends the batch."""

    def check(self, task: Task) -> None:
        """Raise GigacountError where a picture cannot be opened or its results not be written; needs no networks."""

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
    """Counting, as `gigacount count` does it.

    demand_gpu: refuse to work on anything else. Raises UsageError and WeightsError for networks that are not there.
    """

    done = "counted"

    def __init__(self, options: CountOptions, formats: tuple[str, ...], demand_gpu: bool = False) -> None:
        from gigacount.output.identity import Recipe

        self.options, self.formats, self.demand_gpu = options, formats, demand_gpu
        self.recipe = Recipe(options, formats)
        self._counter: Counter | None = None

    def earlier(self, item: Item) -> Row | None:
        from gigacount.output import ResultFolder

        content = self.recipe.finished(ResultFolder(item.folder), item.path)
        return count_row(item, content) if content else None

    def differs(self, item: Item) -> list[str]:
        from gigacount.output import ResultFolder

        stored = (ResultFolder(item.folder).finished() or {"options": self.recipe.options})["options"]
        wanted = self.recipe.options
        return [
            f"{name}: {stored.get(name)} -> {wanted.get(name)}" for name in wanted if stored.get(name) != wanted[name]
        ]

    def begin(self, say: Say) -> None:
        from gigacount.count import Counter

        self._counter = Counter(self.options, say)

    def prepare(self, say: Say) -> None:
        self.begin(say)
        self._wait(self._counter)

    def check(self, task: Task) -> None:
        from gigacount.image import GigaImage
        from gigacount.output import ResultFolder

        with GigaImage.open(task.item.path, self.options.reading):
            ResultFolder(task.item.folder).demand_free(task.replace)

    def process(self, task: Task, progress: Progress | None) -> Row:
        from gigacount.output import ResultFolder, write_count

        assert self._counter is not None, "prepare() comes first"
        result = self._counter.count(task.item.path, progress)
        return count_row(task.item, write_count(result, ResultFolder(task.item.folder), self.formats))

    def tidy(self, item: Item) -> None:
        from gigacount.output.files import discard_leftovers

        discard_leftovers(item.folder)

    def _wait(self, counter: Counter | None) -> None:
        """Until the networks are loaded; raises what stands in their way."""
        assert counter is not None, "begin() comes first"
        loaded = counter.predictor, counter.coarse
        if self.demand_gpu and not loaded[0].device.startswith("cuda"):
            raise UsageError("--gpus needs CUDA devices, and there are none here; leave it out to count on the CPU")


class LocalizeWork(CountWork):
    """Locating, as `gigacount localize` does it in many pictures: a count with points."""

    done = "located"

    def __init__(self, options: LocalizeOptions, formats: tuple[str, ...], demand_gpu: bool = False) -> None:
        from gigacount.output.identity import Recipe

        super().__init__(options.counting, formats, demand_gpu)
        self.locating = options
        self.recipe = Recipe(options, formats)
        self._localizer: Localizer | None = None

    def begin(self, say: Say) -> None:
        from gigacount.localize import Localizer

        self._localizer = Localizer(self.locating, say)

    def prepare(self, say: Say) -> None:
        self.begin(say)
        self._wait(self._localizer)

    def process(self, task: Task, progress: Progress | None) -> Row:
        from gigacount.output import ResultFolder
        from gigacount.output.located import write_located

        assert self._localizer is not None, "prepare() comes first"
        result = self._localizer.localize(task.item.path, progress)
        return count_row(task.item, write_located(result, self.locating, ResultFolder(task.item.folder), self.formats))


def count_row(item: Item, content: dict[str, Any]) -> Row:
    """The summary's line for a count.json."""
    image, seconds = (part if isinstance(part := content.get(name), dict) else {} for name in ("image", "seconds"))
    return Row(
        path=str(item.path),
        count=content["count"],
        points=content.get("located"),
        width=image.get("width"),
        height=image.get("height"),
        seconds=seconds.get("total"),
    )
