"""Commands run as a user runs them, with wall time, processor time and peak memory of the whole process tree's root."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Run:
    seconds: float
    cpu_seconds: float
    peak_mb: float
    answer: str


def run(*arguments: str) -> Run:
    """A Python command (`-m gigacount count ...` or a script); SystemExit where it fails."""
    read, write = os.pipe()
    start = time.perf_counter()
    pid = os.fork()
    if pid == 0:
        os.dup2(write, 1)
        os.execv(sys.executable, [sys.executable, *arguments])
    os.close(write)
    with os.fdopen(read) as answer:
        text = answer.read().strip()
    _, status, usage = os.wait4(pid, 0)
    seconds = time.perf_counter() - start
    if os.waitstatus_to_exitcode(status):
        raise SystemExit(f"{' '.join(arguments)} failed")
    return Run(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1000, text)
