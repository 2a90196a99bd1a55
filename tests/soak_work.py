"""Counting and locating that note what their process takes, picture by picture; importable by worker processes."""

from __future__ import annotations

import os
from pathlib import Path

from processes import memory_bytes

from gigacount.batch import CountWork, Progress, Row, Task
from gigacount.batch.work import Say
from gigacount.image import source


def note(trace: Path) -> None:
    """Append the peak of this process's memory in bytes, what it has now, and how many files it holds open."""
    peak, now = memory_bytes()
    descriptors = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    with trace.open("a") as file:
        file.write(f"{peak} {now} {descriptors}\n")


class SoakedCount(CountWork):
    """As `CountWork`, with a trace beside the weights."""

    def prepare(self, say: Say) -> None:
        source.REDUCED_PIXELS = 200_000  # so that small pictures are streamed into a scratch file, as large ones are
        super().prepare(say)

    def process(self, task: Task, progress: Progress | None) -> Row:
        row = super().process(task, progress)
        note(Path(self.options.network).with_suffix(".trace"))
        return row
