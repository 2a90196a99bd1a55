"""Ctrl-C, SIGTERM and SIGHUP at any moment: one line, the right status, nothing half written, no picture lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from batch_tools import FAKE, leftovers, pictures, summary, wait_for
from campaign.interruptions import heed, heeds

STOPS = [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]


def start(command: list[str], folder: Path, before: Callable[[], None] = heed) -> subprocess.Popen[str]:
    """In a process group of its own, as a terminal has it, which sends Ctrl-C to all of the group."""
    return subprocess.Popen(
        command, cwd=folder, text=True, stderr=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
        preexec_fn=before,
    )  # fmt: skip


def batch(folder: Path, before: Callable[[], None] = heed, **settings: object) -> subprocess.Popen[str]:
    return start([sys.executable, str(FAKE), "in", "out", json.dumps(settings)], folder, before)


def test_signals_are_seen_to_before_anything_slow_is_imported() -> None:
    code = "import sys; import gigacount.__main__; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    assert not {"typer", "rich", "numpy", "torch"} & set(loaded)


@pytest.mark.skipif(sys.platform != "linux", reason="asks the system which signals have handlers")
@pytest.mark.parametrize("moment", [0.0, 0.1, 0.3, 0.8])
def test_no_traceback_from_the_first_moment_on(tmp_path: Path, moment: float) -> None:
    """One signal at each moment: they share a handler, and each process imports for a second or two."""
    number, status = STOPS[round(moment * 10) % len(STOPS)]
    pictures(tmp_path, {"a.jpg": "no picture"})
    process = start([sys.executable, "-m", "gigacount", "count", "a.jpg"], tmp_path)
    wait_for(lambda: heeds(process.pid))
    time.sleep(moment)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert out == ""
    # It may have answered, and be so far in its end that Python has taken its handlers away: a shell says 128 + number.
    assert process.returncode in (status, 1, -number)
    lines = err.splitlines()
    assert all(line.startswith("gigacount: ") for line in lines)
    assert (lines[-1:] == ["gigacount: stopped"]) == (process.returncode == status)
    assert 1 <= len(lines) <= 2
    assert "Traceback" not in err
    assert os.listdir(tmp_path) == ["a.jpg"]  # noqa: PTH208


@pytest.mark.parametrize(("number", "status"), STOPS)
def test_workers_leave_signals_to_the_batch_and_finish_what_they_have(tmp_path: Path, number: int, status: int) -> None:
    pictures(tmp_path / "in", {"0.jpg": "fine", "1.jpg": "deaf", "2.jpg": "deaf", "3.jpg": "fine"})
    process = batch(tmp_path)
    wait_for((tmp_path / "out" / "0.jpg.gigacount").exists)
    time.sleep(0.3)
    os.killpg(process.pid, number)
    assert process.communicate(timeout=30) == ("", "")
    assert process.returncode == status
    done = [Path(row["path"]).name for row in summary(tmp_path / "out") if row["status"] == "done"]
    assert set(done) >= {"0.jpg", "1.jpg", "2.jpg"}
    assert leftovers(tmp_path / "out") == []


def test_a_second_signal_waits_for_nobody(tmp_path: Path) -> None:
    pictures(tmp_path / "in", {"0.jpg": "fine", "1.jpg": "hang", "2.jpg": "hang"})
    process = batch(tmp_path, grace=1000)
    wait_for((tmp_path / "out" / "0.jpg.gigacount").exists)
    time.sleep(0.5)
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
    assert process.communicate(timeout=30) == ("", "")
    assert process.returncode == 130
    assert leftovers(tmp_path / "out") == []


def test_what_was_started_to_survive_its_terminal_does(tmp_path: Path) -> None:
    """As by nohup, and as shells start commands in the background of a script."""

    def nohup() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    pictures(tmp_path / "in", {"0.jpg": "fine", "1.jpg": "slow"})
    process = batch(tmp_path, nohup)
    wait_for((tmp_path / "out" / "0.jpg.gigacount").exists)
    os.killpg(process.pid, signal.SIGHUP)
    assert process.communicate(timeout=30) == ("", "")
    assert process.returncode == 0
    assert len(summary(tmp_path / "out")) == 2
