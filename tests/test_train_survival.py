"""Runs that are killed, that fill the disk, and that several processes share."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from train_fakes import add_fakes, options, same, write_photos

from gigacount.errors import OutputError
from gigacount.networks import find_record
from gigacount.train import train
from gigacount.train.checkpoint import FILE, Position, load_checkpoint, save_checkpoint
from gigacount.train.log import Log, open_tensorboard, scalars


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("photos"))


def entries(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


class full_disk:  # noqa: N801 - reads as a statement
    """Files cannot grow beyond so many bytes, as on a disk with that much left."""

    def __init__(self, size: int) -> None:
        self.size, self.before = size, resource.getrlimit(resource.RLIMIT_FSIZE)

    def __enter__(self) -> None:
        self.handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.size, self.before[1]))

    def __exit__(self, *error: object) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, self.before)
        signal.signal(signal.SIGXFSZ, self.handler)


def test_a_full_disk_leaves_the_last_checkpoint_intact(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, {"value": torch.ones(3), "position": asdict(Position())})
    with full_disk(100_000), pytest.raises(OutputError, match=r"cannot write \(File too large\).*--resume") as raised:
        save_checkpoint(tmp_path, {"value": torch.zeros(100_000)})
    assert "\n" not in str(raised.value)
    assert torch.equal(load_checkpoint(tmp_path)["value"], torch.ones(3))
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_a_disk_that_fills_up_stops_a_run_which_then_goes_on(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever file is the first that does not fit."""
    add_fakes(monkeypatch)
    for number, size in enumerate((10, 3000)):
        run = options(photos, tmp_path / f"run{number}")
        train(options(photos, run.out, steps=2))
        (run.out / "tiny.safetensors").unlink()
        with full_disk(size), pytest.raises(OutputError, match="intact"):
            train(options(photos, run.out, resume=True))
        assert load_checkpoint(run.out)["position"]["step"] in (2, 4)
        train(options(photos, run.out, resume=True))
        assert (run.out / "tiny.safetensors").exists()


def test_a_resumed_log_forgets_what_came_after_the_checkpoint(tmp_path: Path) -> None:
    Log(tmp_path, lambda entry: None).write({"step": 50, "loss": 2.0})
    log = tmp_path / "log.jsonl"
    log.write_text(log.read_text() + '{"step": 100, "loss": 1.0}\n{"step": 150, "lo')
    told: list[dict[str, Any]] = []
    Log(tmp_path, told.append, resumed=60).write({"step": 100, "loss": 1.5})
    assert entries(tmp_path) == [{"step": 50, "loss": 2.0}, {"step": 100, "loss": 1.5}]
    assert told == [{"step": 100, "loss": 1.5}]


def test_numbers_go_to_tensorboard_by_name() -> None:
    entry = {"step": 5, "score": 0.5, "stage": "counting", "mall": {"name": "mall", "mae": 3.0, "pictures": 2}}
    assert scalars(entry) == {"score": 0.5, "mall/mae": 3.0, "mall/pictures": 2.0}


def test_training_does_without_tensorboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    assert open_tensorboard(tmp_path, None) is None


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of its own dependencies
def test_tensorboard_gets_what_the_log_gets(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    log = Log(tmp_path, lambda entry: None)
    log.write({"step": 50, "loss": 2.0, "mall": {"mae": 3.0}})
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [(50, 2.0)]
    assert [(e.step, e.value) for e in events.Scalars("mall/mae")] == [(50, 3.0)]


ARGUMENTS = ["--network", "mcnn", "--batch", "1", "--save-every", "2", "--validate-every", "5", "--precision", "fp32"]
ARGUMENTS += ["--hints-from", "light"]


def start(photos: Path, out: Path, *more: str, processes: int = 1) -> subprocess.Popen[str]:
    """`gigacount train` on the CPU, under torchrun where several processes are asked for."""
    torchrun = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), "-m"]
    module = [*(torchrun if processes > 1 else []), "gigacount"]
    data = ["--data", f"csv:{photos}", "--validation", "0.25", "--device", "cpu", "--out", str(out)]
    command = [sys.executable, "-m", *module, "train", *data, *ARGUMENTS, *more]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=400)
    assert process.returncode == 0, err
    return out


@pytest.mark.slow
def test_kill_9_at_random_moments_and_resume_equals_an_unbroken_run(photos: Path, tmp_path: Path) -> None:
    """Killed three times, each at a random moment after a new checkpoint, at times in the midst of writing one."""
    steps = ["--steps", "60"]
    finish(start(photos, tmp_path / "whole", *steps))
    broken, moments, kills = tmp_path / "broken", random.Random(time.time_ns()), 0
    for _ in range(3):
        before = load_checkpoint(broken)["position"]["step"] if (broken / FILE).exists() else 0
        process = start(photos, broken, *steps, *(["--resume"] if before else []))
        while process.poll() is None:
            if (broken / FILE).exists() and load_checkpoint(broken)["position"]["step"] > before:
                break
            time.sleep(0.02)
        time.sleep(moments.random())
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
        kills += process.returncode == -signal.SIGKILL
    assert kills >= 1, "the run was over before it could be killed"
    finish(start(photos, broken, *steps, "--resume"))
    ours, theirs = load_checkpoint(broken), load_checkpoint(tmp_path / "whole")
    for part in ("network", "average", "best", "hints"):
        assert same(ours[part], theirs[part]), part
    assert (broken / "mcnn.safetensors").read_bytes() == (tmp_path / "whole" / "mcnn.safetensors").read_bytes()
    assert Counter(e["step"] for e in entries(broken)) == Counter(e["step"] for e in entries(tmp_path / "whole"))


@pytest.mark.slow
def test_two_processes_under_torchrun_train_one_network(photos: Path, tmp_path: Path) -> None:
    """One answer, one log, one set of weights; both processes' crops count; stopped and resumed, the same again."""
    whole, alone, parts = (tmp_path / name for name in ("whole", "alone", "parts"))
    often = ["--validate-every", "2"]
    out = finish(start(photos, whole, "--steps", "6", *often, processes=2))
    assert out.split() == [str(whole / "mcnn.toml")]
    assert [entry["step"] for entry in entries(whole)] == [2, 4, 6, 6]
    assert find_record(str(whole / "mcnn.toml")).training["batch"] == 2
    together = load_file(whole / "mcnn.safetensors")
    finish(start(photos, alone, "--steps", "6", *often))
    assert not same(load_file(alone / "mcnn.safetensors"), together)

    finish(start(photos, parts, "--steps", "4", *often, processes=2))
    finish(start(photos, parts, "--steps", "6", *often, "--resume", processes=2))
    assert same(load_file(parts / "mcnn.safetensors"), together)
    refused = start(photos, parts, "--steps", "8", *often, "--resume")
    _, err = refused.communicate(timeout=400)
    assert refused.returncode == 1
    assert "begun with processes 2, not 1" in err
