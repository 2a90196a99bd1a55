"""`gigacount localize` over many images: the batch of counting, with points."""

from __future__ import annotations

import csv
import inspect
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import pytest
import pyvips
import typer
from batch_tools import leftovers, summary
from command_line import gigacount
from untrained import untrained_light

from gigacount.cli.count import count, localize
from gigacount.cli.options import Counting, spread
from gigacount.options import CountOptions, StrategyOptions

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder `p` with three pictures, one of them damaged, and beside it weights that see heads somewhere."""
    folder = tmp_path_factory.mktemp("photos")
    untrained_light(folder)
    (folder / "p" / "deep").mkdir(parents=True)
    for seed, name in enumerate(("a.png", "deep/a.png")):
        pixels = np.random.default_rng(seed).integers(0, 256, (100, 160, 3), np.uint8)
        pyvips.Image.new_from_array(pixels).write_to_file(str(folder / "p" / name))
    (folder / "p" / "broken.png").write_text("no picture")
    return folder


@pytest.fixture
def run(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A command in a copy of the photos as the working folder: exit status, standard output, standard error."""
    shutil.copytree(photos, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")

    def call(command: str, *arguments: str) -> tuple[int, str, str]:
        done = gigacount(command, "--network", "tiny.toml", *arguments)
        return done.returncode, done.stdout, done.stderr

    return call


def heads(folder: str) -> list[dict[str, str]]:
    with (Path(folder) / "points.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_folder_gets_points_a_picture_and_a_summary_with_them_and_is_found_again(run: Run) -> None:
    status, out, err = run("localize", "p", "-r", "--out", "out", "--format", "csv,geojson,overlay")
    assert status == 1
    located = {line.split("\t")[0]: int(line.split("\t")[1]) for line in out.splitlines()}
    assert list(located) == ["p/a.png", "p/deep/a.png"]
    assert "gigacount: p/broken.png: not an image" in err
    assert err.endswith("3 images: 2 located, 1 failed; see out/summary.csv\n")
    for name in ("a.png", "deep/a.png"):
        folder = Path("out", f"{name}.gigacount")
        assert sorted(path.name for path in folder.iterdir()) == [
            "count.json",
            "overlay.jpg",
            "points.csv",
            "points.geojson",
        ]
        assert len(heads(str(folder))) == located[f"p/{name}"] > 10
        assert len(json.loads((folder / "points.geojson").read_text())["features"]) == located[f"p/{name}"]
        content = json.loads((folder / "count.json").read_text())
        assert content["located"] == located[f"p/{name}"]
        assert set(content["too_coarse"]) == {"share", "area", "people", "located"}
    rows = {row["path"]: row for row in summary(Path("out"))}
    assert {path: row["points"] for path, row in rows.items() if row["status"] == "done"} == located
    assert all(row["count"] > 0 for row in rows.values() if row["status"] == "done")
    assert leftovers(Path("out")) == []

    again = run("localize", "p", "-r", "--out", "out", "--format", "csv")
    assert again[:2] == (1, out)
    assert "2 located before, 1 failed" in again[2]
    other = run("localize", "p", "-r", "--out", "out", "--min-score", "0.99")
    assert other[:2] == (2, "")
    assert (
        "a.png.gigacount holds a result with other options (--min-score was not set, is 0.99 now); use --overwrite"
        in other[2]
    )
    assert {row["path"]: row["points"] for row in summary(Path("out")) if row["status"] == "done"} == located
    fewer = run("localize", "p", "-r", "--out", "out", "--min-score", "0.99", "--overwrite")
    assert "2 located, 1 failed" in fewer[2], "another threshold is another result"
    assert sum(int(line.split("\t")[1]) for line in fewer[1].splitlines()) < sum(located.values())


def test_a_count_in_the_folder_of_a_batch_is_that_of_counting(run: Run) -> None:
    run("localize", "p", "--out", "located")
    run("count", "p", "--out", "counted", "--format", "json")
    counts = [
        json.loads(Path(out, "a.png.gigacount/count.json").read_text())["count"] for out in ("located", "counted")
    ]
    assert counts[0] == pytest.approx(counts[1], rel=1e-6)


def test_one_folder_is_for_one_kind_of_work(run: Run) -> None:
    assert run("count", "p/a.png", "p/deep/a.png", "--out", "out", "--format", "json")[0] == 0
    before = sorted((str(path), path.stat().st_mtime_ns) for path in Path("out").rglob("*"))
    for pictures in (["p"], ["p/a.png"]):
        status, out, err = run("localize", *pictures, "--out", "out", "--overwrite")
        assert (status, out) == (2, "")
        assert err == "gigacount: out: the images in there were counted, not located; use another --out\n"
    assert sorted((str(path), path.stat().st_mtime_ns) for path in Path("out").rglob("*")) == before


def test_one_picture_goes_to_a_file_or_into_a_folder(run: Run) -> None:
    assert run("localize", "p/a.png")[0] == 0
    number = run("localize", "p/a.png", "--out", "h.txt")[1]
    assert Path("p/a.png.points.csv").read_text().count("\n") == int(number) + 1
    assert Path("h.txt").read_text().startswith(f"a {int(number)} ")
    assert run("localize", "p/a.png", "--out", "one")[:2] == (0, number)
    assert len(heads("one/a.png.gigacount")) == int(number)
    assert not Path("one/summary.csv").exists()
    _, out, err = run("localize", "p/a.png", "--out", "one", "--json")
    assert "p/a.png: already located; the result is in one/a.png.gigacount" in err
    assert json.loads(out)["located"] == int(number)
    Path("folder.csv").mkdir()
    assert run("localize", "p/a.png", "--out", "folder.csv")[:2] == (0, number)
    assert Path("folder.csv/a.png.gigacount/points.csv").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["p"], "give --out FOLDER"),
        (["p/a.png", "p/deep/a.png", "--out", "heads.csv"], "heads.csv would be a file of heads"),
        (["p", "--out", "out", "--overlay", "dots.jpg"], "--overlay is for one image"),
        (["p", "--out", "out", "--format", "shp"], "choose one of: json, tif, overlay, csv, geojson, gpkg, coco, nwpu"),
        (["p/a.png", "--format", "csv"], "the ending of --out picks the format"),
        (["p/a.png", "--log", "log"], "need a folder of results"),
        (["p/a.png", "--out", "heads.shp"], "choose one of: .csv, .geojson, .gpkg, .json, .txt"),
    ],
)
def test_what_does_not_go_together_is_said_before_the_work(run: Run, arguments: list[str], words: str) -> None:
    before = sorted(Path().rglob("*"))
    status, out, err = run("localize", *arguments)
    assert (status, out) == (2, "")
    assert words in err
    assert sorted(Path().rglob("*")) == before


def test_counting_and_locating_take_the_same_options() -> None:
    own = {"out", "format", "min_score", "overlay", "coordinates"}
    counting, locating = (
        {
            name: parameter.default
            for name, parameter in inspect.signature(command).parameters.items()
            if name not in own
        }
        for command in (count, localize)
    )
    assert list(counting) == list(locating)
    assert counting == locating
    assert {"strategy", "levels", "scratch", "region", "depth"} < set(counting)


def test_a_group_of_options_becomes_single_ones_and_comes_back_as_a_group() -> None:
    made: list[tuple[str, Counting]] = []

    @spread
    def command(name: Annotated[str, typer.Argument()], counting: Counting) -> int:
        made.append((name, counting))
        return 3

    assert next(iter(inspect.signature(command).parameters)) == "name"
    values = {name: parameter.default for name, parameter in inspect.signature(command).parameters.items()}
    assert command(**values | {"name": "a", "levels": 7}) == 3
    assert made == [("a", Counting(CountOptions(looking=StrategyOptions(levels=7))))]
