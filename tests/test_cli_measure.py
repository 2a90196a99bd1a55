"""`gigacount synthesize`, `evaluate` and `data` from outside, on tiny scenes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import Done, gigacount
from untrained import untrained_light


def run(folder: Path, *arguments: str | Path) -> Done:
    return gigacount(*arguments, cwd=folder)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two drawn scenes and their truth, and weights that have learned nothing."""
    folder = tmp_path_factory.mktemp("scenes")
    done = run(
        folder, "synthesize", "--size", "480x320", "--people", "12", "--scenes", "2", "--seed", "5", "--out", "made"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["made/scene-5.tif\t12", "made/scene-6.tif\t12"]
    untrained_light(folder)
    return folder


def test_a_scene_is_not_overwritten(scenes: Path) -> None:
    again = run(scenes, "synthesize", "--size", "480x320", "--people", "12", "--seed", "6", "--out", "made")
    assert again.returncode == 2
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
    assert names == ["images.csv", "report.json", "scatter.png"]


def test_points_against_themselves_are_perfect(scenes: Path) -> None:
    truth = scenes / "made" / "scene-5.csv"
    done = run(scenes, "evaluate", "points", "--truth", truth, "--predictions", truth, "--metrics", "fixed", "--json")
    assert done.returncode == 0, done.stderr
    scores = json.loads(done.stdout)["metrics"]["fixed"]
    assert [score["score"]["f1"] for score in scores] == [1, 1]


def test_points_located_by_a_network_are_measured_and_kept(scenes: Path) -> None:
    """The kept predictions, measured as a file, give the same report."""
    network = ("--network", "tiny.toml", "--min-score", "0.1", "--precision", "fp32")
    done = run(scenes, "evaluate", "points", "--data", "csv:made/scene-5.csv", *network, "--metrics", "fixed,nwpu",
               "--json", "--out", "located", "-q")  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["images"] == 1
    assert report["heads"] == 12
    assert report["predictions"] > 0
    again = run(scenes, "evaluate", "points", "--truth", "made/scene-5.csv", "--predictions", "located/predictions.csv",
                "--metrics", "fixed,nwpu", "--json")  # fmt: skip
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout) == report
    assert json.loads((scenes / "located" / "report.json").read_text()) == report


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--truth", "made/scene-5.csv"],
        ["--data", "csv:made/scene-5.csv", "--predictions", "made/scene-5.csv"],
    ],
)
def test_points_are_of_two_files_or_of_a_data_set(scenes: Path, arguments: list[str]) -> None:
    done = run(scenes, "evaluate", "points", *arguments)
    assert done.returncode == 2
    assert done.stderr == "gigacount: give either --truth and --predictions, or --data NAME:PATH\n"


def test_scenes_are_composed_of_listed_pictures_alone(scenes: Path) -> None:
    """Of two labelled pictures the list names one: all its heads come in dozens, and no other picture is opened."""
    (scenes / "list.txt").write_text("csv\tscene-6.tif\n")
    (scenes / "made" / "both.csv").write_text(
        "image,x,y\n" + "".join(f"{name},{x},{x}\n" for name in ("scene-5.tif", "scene-6.tif") for x in (50, 60, 70))
    )
    compose = ["synthesize", "--size", "1200x800", "--people", "9", "--photos", "csv:made/both.csv", "--seed", "1"]
    done = run(scenes, *compose, "--only", "list.txt", "--out", "composed", "-q")
    assert done.returncode == 0, done.stderr
    (scenes / "made" / "scene-5.tif").rename(scenes / "made" / "away.tif")
    (scenes / "made" / "scene-5.tif").write_bytes(b"not a picture")
    try:
        again = run(scenes, *compose, "--only", "list.txt", "--out", "again", "-q")
    finally:
        (scenes / "made" / "away.tif").replace(scenes / "made" / "scene-5.tif")
    assert again.returncode == 0, again.stderr
    assert again.stdout.split("\t")[1] == done.stdout.split("\t")[1] != "0\n"
    (scenes / "list.txt").write_text("csv\tother.tif\n")
    refused = run(scenes, *compose, "--only", "list.txt", "--out", "none", "-q")
    assert refused.returncode == 1
    assert "none of the images in list.txt" in refused.stderr


def test_an_ablation_from_outside(scenes: Path) -> None:
    command = ["ablate", "--data", "csv:made/scene-5.csv", "--out", "tables", "--network", "tiny.toml", "--tables",
               "methods", "--most-looks", "50", "--max-size", "96x64", "--tile", "96x64"]  # fmt: skip
    done = run(scenes, *command)
    assert done.returncode == 0, done.stderr
    written = ("tables.md", "tables.csv", "tables.json", "images.csv", "methods.png")
    assert done.stdout.splitlines() == [f"tables/{name}" for name in written]
    assert "scene-5.tif" in done.stderr
    wrong = run(scenes, *command[:-8], "--tables", "method")
    assert wrong.returncode == 2
    assert "methods" in wrong.stderr


def test_an_unknown_metric_lists_the_choices(scenes: Path) -> None:
    truth = scenes / "made" / "scene-5.csv"
    done = run(scenes, "evaluate", "points", "--truth", truth, "--predictions", truth, "--metrics", "f2")
    assert done.returncode == 2
    assert "nwpu" in done.stderr
    assert done.stderr.count("\n") == 1
