"""Options for many images."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from gigacount.errors import UsageError
from gigacount.options.option import EXPERTS, MANY, OUTPUT, option, require


def parse_gpus(text: str) -> tuple[int, ...]:
    """`0,1` -> (0, 1)."""
    if text and not re.fullmatch(r"\d{1,3}(,\d{1,3})*", text):
        raise UsageError(f"must be numbers such as 0,1,2, not '{text}'")
    return tuple(int(part) for part in text.split(",") if part)


def parse_shard(text: str) -> tuple[int, int]:
    """`2/8` -> (2, 8); `slurm`: this task of an array job; empty: all."""
    if text == "slurm":
        return slurm_shard(os.environ)
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text or "1/1")
    if not match:
        raise UsageError(f"must look like 2/8, or be slurm, not '{text}'")
    return int(match[1]), int(match[2])


def slurm_shard(environment: Mapping[str, str]) -> tuple[int, int]:
    """(i, n) of this task of a SLURM array; raises UsageError outside one, or where its numbers have gaps."""
    try:
        task, count = (int(environment[f"SLURM_ARRAY_TASK_{name}"]) for name in ("ID", "COUNT"))
        first = int(environment.get("SLURM_ARRAY_TASK_MIN", 0))
        step = int(environment.get("SLURM_ARRAY_TASK_STEP", 1)) or 1
    except (KeyError, ValueError) as error:
        raise UsageError(
            "must be I/N outside an array job; slurm needs SLURM_ARRAY_TASK_ID and _COUNT (sbatch --array=1-8)"
        ) from error
    index, rest = divmod(task - first, step)
    if rest or not 0 <= index < count:
        raise UsageError(f"must be I/N here: this is task {task} of {count}, and slurm needs an array without gaps")
    return index + 1, count


@dataclass(frozen=True)
class BatchOptions:
    """How many images are worked through; nothing here changes a count.

    out: folder for all results and the summary; None puts results beside the images, without a summary.
    shard: (i, n) takes the i-th of n parts of the list, from 1.
    """

    PANEL: ClassVar[str] = MANY

    out: Path | None = None
    overwrite: bool = option(False, "Replace existing results.", panel=OUTPUT)
    recursive: bool = option(False, "Also search the folders inside folders.", "-r")
    max_failures: int | None = option(None, "Stop when this many images have failed.")
    time_limit: float | None = option(None, "Give up on an image after this time.", metavar="SECONDS")
    workers: int = option(2, "Images in work at a time in each process: one is in the network while the next is read.")
    gpus: tuple[int, ...] = option(
        (), "Use these GPUs, such as 0,1,2: one process each, fed from one queue.", metavar="LIST", parse=parse_gpus
    )
    shard: tuple[int, int] = option(
        (1, 1), "Take part I of N of the list; slurm: the part of this array task.", metavar="I/N", parse=parse_shard
    )
    log: Path | None = option(None, "Append every event to this file, one JSON object a line.")
    engine: str = option("local", "local, or ray for a Ray cluster.", panel=EXPERTS)
    ray_address: str | None = option(
        None, "Address of a running Ray cluster, or auto. Default: this machine.", panel=EXPERTS
    )
    cores: int = option(4, "CPU cores of a worker on a Ray cluster without GPUs.", panel=EXPERTS)

    def __post_init__(self) -> None:
        part, parts = self.shard
        require(1 <= part <= parts, f"shard must be I/N with I from 1 to N, not {part}/{parts}")
        require(1 <= self.workers <= 64, f"workers must be between 1 and 64, not {self.workers}")
        require(self.cores >= 1, f"cores must be at least 1, not {self.cores}")
        different = len(set(self.gpus)) == len(self.gpus) and min(self.gpus, default=0) >= 0
        require(different, "gpus must be different numbers")
        require(self.max_failures is None or self.max_failures >= 1, "max-failures must be at least 1")
        require(self.time_limit is None or self.time_limit > 0, "time-limit must be above 0 seconds")
        require(self.engine in ("local", "ray"), f"engine must be local or ray, not '{self.engine}'")
