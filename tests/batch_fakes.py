"""A batch's work without pixels: fast, and with faults on demand. What a picture does is written in it.

Run as a program it is `gigacount count FOLDER --out OUT` with that work: `python tests/batch_fakes.py FOLDER OUT`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gigacount.atomic import discard_leftovers
from gigacount.batch import Item, Progress, Row, Task, run_batch, scheduler, share, work_list
from gigacount.errors import ImageError, UsageError
from gigacount.options import BatchOptions
from gigacount.output.folder import ResultFolder


@dataclass
class FakeWork:
    """Counts the bytes of a file after b"\\xff\\xd8\\xff"; its words are orders: `bad`, `crash`, `hang`, `slow`,
    `deaf` (slow, and hears of no stop), `odd`.

    once: a folder in which orders that hold only the first time leave a mark. trace: a file that gets the name of
    each picture that is worked on. recipe: stands for the options; results of another one are not reused.
    """

    recipe: str = "plain"
    done: str = "counted"
    seconds: float = 0.0
    trace: Path | None = None
    once: Path | None = None
    broken: str = ""
    log: list[str] = field(default_factory=list)

    def earlier(self, item: Item) -> Row | None:
        try:
            item.path.stat()
        except OSError as error:
            raise ImageError(f"{item.path}: {(error.strerror or str(error)).lower()}") from error
        content = ResultFolder(item.folder).finished()
        if content is None or self.obstacle(item) or content["image"]["bytes"] != item.path.stat().st_size:
            return None
        return Row(str(item.path), count=content["count"], width=3, height=2, seconds=content["seconds"]["total"])

    def obstacle(self, item: Item) -> str:
        content = ResultFolder(item.folder).finished()
        recipe = content["options"]["recipe"] if content else self.recipe
        return "" if recipe == self.recipe else f"{item.folder}: of recipe {recipe}, not {self.recipe}; --overwrite"

    def begin(self, say: object) -> None:
        self.prepare(say)

    def prepare(self, say: object) -> None:
        if self.broken == "usage":
            raise UsageError("no such network")
        if self.broken == "odd":
            raise LookupError("nobody foresaw this")
        if self.broken == "asleep" and self.trace:
            self.trace.write_text(str(os.getpid()))
            time.sleep(1000)
        if self.broken == "crash":
            os.kill(os.getpid(), signal.SIGKILL)

    def check(self, task: Task) -> None:
        ResultFolder(task.item.folder).require_free(task.replace)

    def process(self, task: Task, progress: Progress | None) -> Row:
        if self.trace:
            with self.trace.open("a") as file:
                file.write(f"{os.getpid()} {task.item.name}\n")
        start, words = time.perf_counter(), task.item.path.read_bytes().decode("latin-1").split()
        self.obey(words, task.item.name, progress)
        seconds = round(time.perf_counter() - start, 3)
        count = float(task.item.path.stat().st_size - 3)
        content = fake_count(task.item.path, self.recipe, count, seconds)
        with ResultFolder(task.item.folder).replacing() as fresh:
            (fresh / "density.bin").write_bytes(b"x" * 5000)
            time.sleep(self.seconds / 4)
            (fresh / "count.json").write_text(json.dumps(content))
        return Row(str(task.item.path), count=count, width=3, height=2, seconds=seconds)

    def finished(self, item: Item) -> dict[str, Any] | None:
        return ResultFolder(item.folder).finished() if self.earlier(item) else None

    def run(self, task: Task, progress: Progress | None) -> dict[str, Any]:
        self.process(task, progress)
        content = ResultFolder(task.item.folder).finished()
        assert content is not None
        return content

    def obey(self, words: list[str], name: str, progress: Progress | None) -> None:
        end = time.perf_counter() + self.seconds + (1.0 if "slow" in words else 0.0)
        while time.perf_counter() < end:
            time.sleep(0.005)
            if progress:
                progress(1, 2)
        if "bad" in words:
            raise ImageError(f"{name}: a damaged picture")
        if "odd" in words:
            raise LookupError("nobody foresaw this")
        if "crash" in words and self.first(name):
            os.kill(os.getpid(), signal.SIGKILL)
        if "deaf" in words:
            time.sleep(1.5)
        if "hang" in words:
            time.sleep(1000)

    def first(self, name: str) -> bool:
        """Always where there is no `once`, else the first time."""
        if self.once is None:
            return True
        mark = self.once / name.replace("/", "_")
        known = mark.exists()
        mark.touch()
        return not known

    def tidy(self, item: Item) -> None:
        discard_leftovers(item.folder)


def fake_count(path: Path, recipe: str, count: float, seconds: float) -> dict[str, Any]:
    """What stands in a count.json, as far as it is looked at."""
    status = path.stat()
    image = {"path": str(path.absolute()), "width": 3, "height": 2}
    return {
        "count": count,
        "image": image | {"bytes": status.st_size, "modified_ns": status.st_mtime_ns},
        "formats": [],
        "options": {"recipe": recipe},
        "networks": {},
        "inferences": 1,
        "windows": [],
        "seconds": {"total": seconds},
    }


def main() -> None:
    settings = json.loads(sys.argv[3]) if len(sys.argv) > 3 else {}
    seconds, trace, broken = settings.pop("seconds", 0.0), settings.pop("trace", None), settings.pop("broken", "")
    scheduler.GRACE_SECONDS = settings.pop("grace", scheduler.GRACE_SECONDS)
    shard = tuple(settings.pop("shard", (1, 1)))
    options = replace(BatchOptions(out=Path(sys.argv[2]), recursive=True, shard=shard), **settings)
    items = share(work_list([Path(sys.argv[1])], options.out, options.recursive), options.shard)
    work = FakeWork(seconds=seconds, trace=Path(trace) if trace else None, broken=broken)
    sys.exit(run_batch(items, work, options).exit_code)


if __name__ == "__main__":
    main()
