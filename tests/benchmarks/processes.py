"""Commands run as a user runs them, with wall time, processor time and peak memory of the process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass

# A process begins with the peak memory of the one that it was forked from, and a benchmark's may be a fat one: a thin
# one in between reports on its only child.
WATCH = """
import json, os, resource, subprocess, sys
code = subprocess.run(sys.argv[2:]).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
os.write(int(sys.argv[1]), json.dumps([code, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 / 1e6]).encode())
"""


@dataclass(frozen=True)
class Run:
    seconds: float
    cpu_seconds: float
    peak_mb: float
    answer: str


def run(*arguments: str) -> Run:
    """A Python command (`-m gigacount count ...` or a script); SystemExit where it fails."""
    read, write = os.pipe()
    command = [sys.executable, "-I", "-S", "-c", WATCH, str(write), sys.executable, *arguments]
    start = time.perf_counter()
    answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, pass_fds=[write], check=True).stdout.strip()
    seconds = time.perf_counter() - start
    os.close(write)
    with os.fdopen(read) as report:
        code, cpu_seconds, peak_mb = json.loads(report.read())
    if code:
        raise SystemExit(f"{' '.join(arguments)} failed")
    return Run(seconds, cpu_seconds, peak_mb, answer)
