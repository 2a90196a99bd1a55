"""Freed memory is kept for the next look, whichever thread takes it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import pyvips
from benchmarks.processes import run

from gigacount.describe import describe
from gigacount.options import CountOptions

CODE = """
import resource, sys, threading
from gigacount.memory import keep_freed_memory, share_one_arena

def faults_of_a_look():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for size in (200_000_000, 100_000_000):
        b"1" * size
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

faults = []
if "keep" in sys.argv:
    share_one_arena()
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
        done = subprocess.run([sys.executable, "-c", CODE, how], capture_output=True, text=True, check=True)
        faults[how] = int(done.stdout)
    assert faults["leave"] > 10_000  # 300 MB are 73,000 pages
    assert faults["keep"] < 2_000


@pytest.mark.slow
@pytest.mark.weights
@pytest.mark.skipif(sys.platform != "linux", reason="the estimate was measured with glibc")
@pytest.mark.parametrize("size_wh", [(1280, 720), (2560, 1440), (6000, 4000)])
def test_info_estimates_the_memory_of_a_run(tmp_path: Path, size_wh: tuple[int, int]) -> None:
    path = tmp_path / "crowd.tif"
    pixels = np.random.default_rng(0).integers(0, 256, (size_wh[1] // 8, size_wh[0] // 8, 3), np.uint8)
    pyvips.Image.new_from_array(pixels).zoom(8, 8).tiffsave(str(path), tile=True, compression="jpeg")
    estimate = describe(path, CountOptions()).memory_bytes
    peak = run("-m", "gigacount", "count", str(path), "--device", "cpu", "--quiet").peak_mb * 1e6
    assert 0.5 * estimate < peak < 1.15 * estimate
