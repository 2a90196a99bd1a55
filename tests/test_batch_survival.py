"""Batches that are killed, interrupted, shared and out of space."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from batch_fakes import FakeWork
from batch_tools import leftovers, pictures, run, start, summary, wait_for, wait_for_more

from gigacount.atomic import is_alive
from gigacount.batch import work_list
from gigacount.errors import NoSpaceError


def kill_at_random(tmp_path: Path, kills: int, count: int) -> None:
    """Kill a batch `kills` times, then let it end: the same summary as without, and each picture worked on at most
    once more than it was killed under way."""
    words = {0: "bad", 5: "odd"}
    folder = pictures(tmp_path / "in", {f"{n % 3}/{n:02}.jpg": words.get(n, "x" * n) for n in range(count)})
    assert start(folder, tmp_path / "whole").wait() == 1
    out, trace, chance = tmp_path / "out", tmp_path / "trace", random.Random(1)
    killed = 0
    for _ in range(kills):
        process = start(folder, out, seconds=0.02, trace=str(trace))
        wait_for_more(trace)
        time.sleep(chance.uniform(0.0, 0.2))
        killed += process.poll() is None
        process.kill()
        process.wait()
        if (out / "summary.json").exists():
            summary(out)
    assert killed > kills / 2, "the batch is too short to be killed"
    assert start(folder, out, trace=str(trace)).wait() == 1
    assert summary(out) == summary(tmp_path / "whole")
    assert leftovers(out) == []
    fine = [line.split()[1] for line in trace.read_text().splitlines() if Path(line).stem not in ("00", "05")]
    assert len(fine) <= len(set(fine)) + 2 * killed, "at most the two pictures under way are lost"


def test_killed_at_random_moments_the_summary_is_the_same(tmp_path: Path) -> None:
    kill_at_random(tmp_path, kills=3, count=100)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_killed_twenty_times_the_summary_is_the_same(tmp_path: Path) -> None:
    kill_at_random(tmp_path, kills=20, count=500)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_cleanly_with_what_is_done_saved(tmp_path: Path, number: int, status: int) -> None:
    folder = pictures(tmp_path / "in", {"0.jpg": "fine"} | {f"{n}.jpg": "slow" for n in range(1, 9)})
    process = start(folder, tmp_path / "out")
    wait_for((tmp_path / "out" / "0.jpg.gigacount").exists)
    process.send_signal(number)
    assert process.wait(20) == status
    assert (tmp_path / "stderr").read_text() == ""
    assert 1 <= len(summary(tmp_path / "out")) < 9
    assert leftovers(tmp_path / "out") == []


def test_several_processes_share_an_output_folder(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "in", {f"{n:02}.jpg": "bad" if n == 3 else "fine" for n in range(12)})
    trace = tmp_path / "trace"
    processes = [start(folder, tmp_path / "out", seconds=0.3, trace=str(trace)) for _ in range(3)]
    assert [process.wait() for process in processes] == [1, 1, 1], "each of them knows of the bad picture"
    lines = [line.split() for line in trace.read_text().splitlines()]
    names = sorted(name for _, name in lines if name != "03.jpg")
    assert names == [f"{n:02}.jpg" for n in range(12) if n != 3], "each picture once"
    # A process that starts after another has failed at a picture tries it again, as a later run would.
    assert 1 <= len(lines) - len(names) <= 3
    assert len({process for process, _ in lines}) > 1
    assert len(summary(tmp_path / "out")) == 12
    assert leftovers(tmp_path / "out") == []


def test_a_process_waits_for_the_pictures_of_others_and_takes_over_from_the_dead(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "in", {"a.jpg": "fine", "b.jpg": "fine"})
    (item, _) = work_list([folder], tmp_path / "out")
    other = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, time; from pathlib import Path; from gigacount.batch.claims import Claims\n"
            "Claims(Path(sys.argv[1])).take(sys.argv[2]); print('claimed', flush=True); time.sleep(60)",
            str(tmp_path / "out" / ".gigacount" / "claims"),
            item.key,
        ],
        stdout=subprocess.PIPE,
    )
    assert other.stdout is not None
    with other.stdout as line:
        line.readline()
    process = start(folder, tmp_path / "out")
    wait_for((tmp_path / "out" / "b.jpg.gigacount").exists)
    time.sleep(0.3)
    assert process.poll() is None
    assert not item.folder.exists()
    other.kill()
    other.wait()
    assert process.wait(20) == 0
    assert item.folder.exists()
    assert leftovers(tmp_path / "out") == []


def test_shards_together_make_the_whole(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "in", {f"{n}.jpg": "fine" for n in range(5)})
    for part in (1, 2, 3):
        assert start(folder, tmp_path / "out", shard=[part, 3]).wait() == 0
        assert len(summary(tmp_path / "out")) == [2, 4, 5][part - 1]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a worker looks for its parent before it loads networks")
def test_workers_that_are_loading_networks_die_with_the_batch(tmp_path: Path) -> None:
    folder, trace = pictures(tmp_path / "in", {"a.jpg": "fine"}), tmp_path / "trace"
    process = start(folder, tmp_path / "out", broken="asleep", trace=str(trace))
    wait_for(lambda: trace.exists() and trace.read_text() != "")
    worker = int(trace.read_text())
    assert is_alive(worker)
    process.kill()
    process.wait()
    wait_for(lambda: not is_alive(worker))


def test_a_process_whose_parent_is_dead_already_ends_at_once() -> None:
    code = "import os; from gigacount.signals import die_with_parent; die_with_parent(os.getppid() + 1); print('alive')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 400 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(disk)], capture_output=True)
    if made.returncode != 0:
        pytest.skip("no permission to mount a small disk")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_is_said_and_nothing_is_lost(tmp_path: Path, small_disk: Path) -> None:
    folder = pictures(tmp_path / "in", {f"{n:02}.jpg": "fine" for n in range(30)})
    out = small_disk / "out"
    trace = tmp_path / "trace"
    with pytest.raises(NoSpaceError, match="no space left on the disk"):
        run(folder, FakeWork(trace=trace), out=out)
    finished = [path for path in out.glob("*.jpg.gigacount") if (path / "density.bin").stat().st_size == 5000]
    assert finished == list(out.glob("*.jpg.gigacount"))
    assert 5 < len(finished) < 30
    assert len(trace.read_text().splitlines()) <= len(finished) + 4, "it ends at once, with what is under way"
    assert list(out.glob(".*.gigacount.*")) == []
    subprocess.run(["mount", "-o", "remount,size=2m", str(small_disk)], check=True)
    tally, _ = run(folder, out=out)
    assert (tally.reused, tally.done) == (len(finished), 30 - len(finished))
    assert len(summary(out)) == 30
    assert leftovers(out) == []


def test_a_killed_process_is_dead_before_its_parent_has_heard() -> None:
    process = subprocess.Popen(["sleep", "60"])
    assert is_alive(process.pid)
    process.kill()
    wait_for(lambda: not is_alive(process.pid))
    assert process.wait() == -signal.SIGKILL
