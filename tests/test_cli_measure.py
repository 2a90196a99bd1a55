"""`gigacount synthesize`, `evaluate` and `data` from outside, on tiny scenes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from gigacount.networks.light import Light
from gigacount.networks.record import NetworkRecord, hash_file, write_record
from gigacount.networks.weights import save_weights


def run(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gigacount", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=240)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two drawn scenes and their truth, and weights that have learned nothing."""
    folder = tmp_path_factory.mktemp("scenes")
    done = run(
        folder, "synthesize", "--size", "480x320", "--people", "12", "--scenes", "2", "--seed", "5", "--out", "made"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["made/scene-5.tif\t12", "made/scene-6.tif\t12"]
    torch.manual_seed(0)
    save_weights(Light(), folder / "tiny.safetensors")
    record = NetworkRecord("tiny", "light", "tiny.safetensors", hash_file(folder / "tiny.safetensors"))
    write_record(record, folder / "tiny.toml")
    return folder


def test_a_scene_is_not_overwritten(scenes: Path) -> None:
    again = run(scenes, "synthesize", "--size", "480x320", "--people", "12", "--seed", "6", "--out", "made")
    assert again.returncode == 1
    assert "exists already" in again.stderr


def test_scenes_are_checked_counted_and_measured(scenes: Path) -> None:
    panda = f"panda:{scenes / 'made'}"
    checked = run(scenes, "data", "check", panda, "--json")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    done = run(scenes, "evaluate", "count", "--data", panda, "--split", "all", "--network", "tiny.toml", "--json",
               "--out", "report", "-q")  # fmt: skip
    assert done.returncode == 0, done.stderr
    metrics = json.loads(done.stdout)["metrics"]
    assert metrics["images"] == 2
    assert metrics["truth_total"] == 24
    names = sorted(path.name for path in (scenes / "report").iterdir())
    assert names == ["pictures.csv", "report.json", "scatter.png"]


def test_points_against_themselves_are_perfect(scenes: Path) -> None:
    truth = scenes / "made" / "scene-5.csv"
    done = run(scenes, "evaluate", "points", "--truth", truth, "--predictions", truth, "--metrics", "fixed", "--json")
    assert done.returncode == 0, done.stderr
    scores = json.loads(done.stdout)["metrics"]["fixed"]
    assert [score["score"]["f1"] for score in scores] == [1, 1]


def test_an_unknown_metric_lists_the_choices(scenes: Path) -> None:
    truth = scenes / "made" / "scene-5.csv"
    done = run(scenes, "evaluate", "points", "--truth", truth, "--predictions", truth, "--metrics", "f2")
    assert done.returncode == 2
    assert "nwpu" in done.stderr
    assert done.stderr.count("\n") == 1
