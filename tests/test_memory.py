"""Freed memory is kept for the next look, whichever thread takes it."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import resource, sys, threading
from gigacount.memory import keep_freed_memory

def faults_of_a_look():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for size in (200_000_000, 100_000_000):
        b"1" * size
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

faults = []
if "keep" in sys.argv:
    keep_freed_memory()
for look in range(3):
    thread = threading.Thread(target=faults_of_a_look)
    thread.start()
    thread.join()
print(faults[-1])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other C libraries are left as they are")
def test_a_thread_finds_the_memory_that_another_has_freed() -> None:
    faults = {}
    for how in ("keep", "leave"):
        run = subprocess.run([sys.executable, "-c", CODE, how], capture_output=True, text=True, check=True)
        faults[how] = int(run.stdout)
    assert faults["leave"] > 10_000  # 300 MB are 73,000 pages
    assert faults["keep"] < 2_000
