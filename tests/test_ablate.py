"""Ablation: the paper's tables, looks that rows share, what is on record, and the files at the end."""

from __future__ import annotations

import csv
import json
import math
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import pyvips
from untrained import untrained_light

from gigacount.ablate.measure import Account, SharedLooks, seen_by_level
from gigacount.ablate.run import FILE, Ablation, MeasurementFile
from gigacount.ablate.summary import by_level, markdown, write_tables
from gigacount.ablate.variants import TABLES, Variant
from gigacount.count import Counter
from gigacount.datasets import Sample
from gigacount.density import Density, DensityMap
from gigacount.errors import DataError, OutputError, UnknownNameError, UsageError
from gigacount.geometry import View, Window
from gigacount.look import Looker
from gigacount.options import AblateOptions, CountOptions, StrategyOptions

PANDA = (26_908, 15_024)
SMALL = StrategyOptions(levels=3, clusters=2, max_size=(96, 64), tile=(96, 64))
LEVELS_TESTED = ("zoom", "clusters")


def looks(table: str) -> list[int]:
    return [row.looks(PANDA) for row in TABLES[table][1](StrategyOptions())]


def test_the_tables_are_those_of_the_paper() -> None:
    # III-B: 204 looks on average over PANDA's sizes for Gigapixel CSRNet, k x L = 20 and D_0 for GigaZoom
    assert looks("methods") == [1, 16, 16, 215, 21, 16]
    assert looks("zoom") == [21, 21]
    assert looks("levels") == [6, 11, 21]
    assert looks("clusters") == [11, 11, 21, 51]
    assert looks("overzoom") == [11, 12, 13]
    exponential = TABLES["zoom"][1](StrategyOptions())[1]
    assert exponential.looking == TABLES["clusters"][1](StrategyOptions())[2].looking == StrategyOptions()
    alone = TABLES["levels"][1](StrategyOptions())[1].looking
    assert alone == TABLES["overzoom"][1](StrategyOptions())[0].looking == StrategyOptions(clusters=0)


def test_every_table_works_with_few_levels() -> None:
    for _, make in TABLES.values():
        rows = make(StrategyOptions(levels=2))
        assert len({row.label for row in rows}) == len(rows)


class CountingLooker:
    """In the place of a Looker: the density is the view's left edge; looks are numbered."""

    def __init__(self, coarse: bool = False) -> None:
        self.views: list[View] = []
        self.coarse_predictor = object() if coarse else None

    @property
    def inferences(self) -> int:
        return len(self.views)

    def __call__(self, view: View) -> Future[Density]:
        self.views.append(view)
        done: Future[Density] = Future()
        done.set_result(np.full((4, 5), view.window.left, np.float32))
        return done


def view(left: int, level: int = 0, read: int = 50, coarse: bool = False) -> View:
    return View(Window(left, 0, 100, 80), (read, 40), level, coarse=coarse)


def shared_looks(limit_bytes: int = 10_000, coarse: bool = False) -> tuple[CountingLooker, SharedLooks]:
    looker = CountingLooker(coarse)
    return looker, SharedLooks(cast(Looker, looker), limit_bytes)


def test_rows_share_looks_at_the_same_window_and_size() -> None:
    looker, shared = shared_looks()
    first, second = Account(shared), Account(shared)
    assert [first(seen).result()[0, 0] for seen in (view(8, 1), view(16, 1))] == [8, 16]
    later = [view(16, 3), view(16, 3, read=25), view(24, 3), view(24, 3)]
    assert [second(seen).result()[0, 0] for seen in later] == [16, 16, 24, 24]
    assert looker.inferences == 4
    assert len(first.seconds) == 2
    assert len(second.seconds) == 3  # as `count` would: the same view twice is one look
    assert second.seconds[view(16, 3)] == first.seconds[view(16, 1)]  # what it took when it was taken


def test_a_coarse_network_does_not_answer_for_the_other() -> None:
    looker, shared = shared_looks(coarse=True)
    views = [view(8, coarse=True), view(8), view(8, 2), view(8, coarse=True)]
    for one in views:
        shared.take(one)
    assert [seen.coarse for seen in looker.views] == [True, False]
    looker, shared = shared_looks()
    for one in views:
        shared.take(one)
    assert len(looker.views) == 1


def test_memory_is_bounded_and_the_longest_unused_goes_first() -> None:
    looker, shared = shared_looks(limit_bytes=2 * 80)
    for left in (8, 16, 8, 24, 8, 16):  # 16 is forgotten at 24
        assert shared.take(view(left))[0][0, 0] == left
    assert [seen.window.left for seen in looker.views] == [8, 16, 24, 16]
    looker, shared = shared_looks(limit_bytes=0)
    for _ in range(2):
        shared.take(view(8))
    assert len(looker.views) == 2


def test_who_was_last_seen_at_which_level() -> None:
    """A picture of 160 x 80: seen whole at half its size, its left half again at full size."""
    density = DensityMap.empty((160, 80))
    density.cells[:] = 0.1  # 20 x 10 cells
    heads, half = np.array([[10.0, 10.0], [79.9, 40.0], [80.0, 40.0]]), np.array([3, 5])
    boxes = np.hstack([heads - half, heads + half])
    sample = Sample(Path("a.tif"), heads, boxes)
    views = [View(Window(0, 0, 160, 80), (80, 40), 0), View(Window(0, 0, 80, 80), (80, 80), 2)]
    coarse, fine = seen_by_level(views, density, sample)
    assert (coarse.level, coarse.scale, coarse.area, coarse.truth) == (0, 0.5, 0.5, 1)
    assert (fine.level, fine.scale, fine.area, fine.truth) == (2, 1, 0.5, 2)
    assert coarse.count == pytest.approx(10)
    assert fine.count == pytest.approx(10)
    assert (coarse.head_px, fine.head_px) == (5, 10)
    (without,) = seen_by_level(views[:1], density, replace(sample, boxes_xyxy=None))
    assert without.head_px is None
    assert without.truth == 3


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights that have learned nothing."""
    return untrained_light(tmp_path_factory.mktemp("network"))


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Two pictures with 7 and 0 heads."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in ("a.png", "b.png"):
        coarse = pyvips.Image.new_from_array(rng.integers(0, 255, (20, 30, 3), dtype=np.uint8))
        coarse.resize(20).write_to_file(str(folder / name))
    lines = [f"a.png,{x:.1f},{y:.1f}" for x, y in rng.uniform(0, 400, (7, 2))]
    (folder / "heads.csv").write_text("\n".join(["image,x,y", *lines, "b.png,,"]) + "\n")
    return folder


def options(folder: Path, network: Path, /, tables: tuple[str, ...] = LEVELS_TESTED, **more: object) -> AblateOptions:
    return AblateOptions(
        f"csv:{folder}",
        folder.parent / "out",
        networks=(str(network),),
        tables=tables,
        looking=SMALL,
        device="cpu",
        precision="fp32",
        **more,  # type: ignore[arg-type]
    )


def test_rows_are_what_count_gives_and_shared_looks_are_taken_once(pictures: Path, network: Path) -> None:
    ablation = Ablation(options(pictures, network))
    measured = list(ablation.run())
    rows = {"linear", "exponential", "none", "k = 1", "k = 5"}  # k = 2 is exponential
    assert len(measured) == 2 * len(rows)
    for cell in ablation.cells():
        counter = Counter(CountOptions("gigazoom", str(network), None, "cpu", "fp32", cell.variant.looking))
        for one in cell.measured:
            alone = counter.count(pictures / one.image)
            assert one.count == alone.count
            assert one.inferences == alone.inferences
            assert one.pixels == sum(math.prod(look.view.size_wh) for look in alone.looked)
            assert np.sum(one.count_grid) == pytest.approx(one.count)
            assert sum(seen.area for seen in one.seen) == pytest.approx(1)
            assert sum(seen.count for seen in one.seen) == pytest.approx(one.count, rel=1e-4)
            assert sum(seen.truth for seen in one.seen) == one.truth == {"a.png": 7, "b.png": 0}[one.image]


def test_what_is_on_record_is_not_measured_again(pictures: Path, network: Path) -> None:
    asked = options(pictures, network)
    everything = Ablation(asked)
    run = everything.run()
    first = [next(run) for _ in range(6)]  # the first picture, and one row of the second
    run.close()  # stopped
    assert "cannot be compared" in markdown(everything, everything.cells())
    with (asked.out / FILE).open("a") as file:
        file.write('{"key": "torn by kill -9')
    rest = list(Ablation(asked).run())
    assert len(first) + len(rest) == 10
    assert not {one.key for one in first} & {one.key for one in rest}
    assert list(Ablation(asked).run()) == []
    assert "cannot be compared" not in markdown(Ablation(asked), Ablation(asked).cells())
    assert all(len(cell.measured) == 2 for cell in Ablation(asked).cells())
    assert list(Ablation(replace(asked, tables=("clusters",))).run()) == []


def test_a_changed_picture_truth_or_network_is_measured_again(pictures: Path, network: Path, tmp_path: Path) -> None:
    asked = options(pictures, network, ("zoom",), images=1)
    assert len(list(Ablation(asked).run())) == 2
    heads = pictures / "heads.csv"
    heads.write_text(heads.read_text() + "a.png,5,5\n")
    assert {one.truth for one in Ablation(asked).run()} == {8}
    os.utime(pictures / "a.png", (1, 1))
    assert len(list(Ablation(asked).run())) == 2
    other = tmp_path / "other.toml"
    other.write_text(network.read_text() + "\n")
    other.with_name("tiny.safetensors").write_bytes(network.with_name("tiny.safetensors").read_bytes())
    assert list(Ablation(replace(asked, networks=(str(other),))).run()) == []  # the same weights under another name
    other.write_text(network.read_text().replace("density_divisor = 1.0", "density_divisor = 2.0"))
    halved = list(Ablation(replace(asked, networks=(str(other),))).run())
    assert len(halved) == 2


def test_tables_and_plots(pictures: Path, network: Path) -> None:
    ablation = Ablation(options(pictures, network, ("methods", "peaks"), most_looks=50))
    measured = list(ablation.run())
    paths = {path.name: path for path in write_tables(ablation)}
    assert set(paths) == {"tables.md", "tables.csv", "tables.json", "images.csv", "methods.png", "peaks.png"}
    assert paths["methods.png"].read_bytes().startswith(b"\x89PNG")
    report = json.loads(paths["tables.json"].read_text())
    methods = {row["row"]: row for row in report["tables"][0]["rows"]}
    zoomed = methods["GigaZoom"]
    own = [one for one in measured if one.key in {ablation.key(c.variant, c.networks, s) for c in ablation.cells()
           if c.variant.label == "GigaZoom" for s in ablation.samples}]  # fmt: skip
    assert zoomed["mae"] == pytest.approx(np.mean([abs(one.count - one.truth) for one in own]))
    a = next(one for one in own if one.image == "a.png")
    assert zoomed["relative_error"] == pytest.approx(abs(a.count - 7) / 7)  # b.png has nobody to be relative to
    assert zoomed["grid_error"] == pytest.approx(np.abs(np.subtract(a.count_grid, a.truth_grid)).sum() / 7)
    full = methods["Gigapixel CSRNet: sliding at 1, 1/4, 1/8, averaged"]
    assert full["left_out"]
    assert full["mae"] is None
    page = paths["tables.md"].read_text()
    assert "left out: too many looks" in page
    assert f"| GigaZoom | {network} | 2 | {zoomed['mae']:.1f} |" in page
    with paths["tables.csv"].open() as file:
        lines = list(csv.DictReader(file))
    assert [line["row"] for line in lines[:6]] == list(methods)
    assert float(lines[4]["mae"]) == pytest.approx(zoomed["mae"])
    with paths["images.csv"].open() as file:
        assert sum(line["row"] == "GigaZoom" for line in csv.DictReader(file)) == 2
    assert [seen["level"] for seen in by_level(own)] == [0, 1, 2, 3]


def test_rows_of_table_i_may_have_networks_of_their_own(pictures: Path, network: Path, tmp_path: Path) -> None:
    """As in the paper: GigaZoom with two networks, PromptMix with the first of them. `light` is not loaded."""
    half = tmp_path / "half.toml"
    half.write_text(network.read_text().replace("density_divisor = 1.0", "density_divisor = 2.0"))
    half.with_name("tiny.safetensors").write_bytes(network.with_name("tiny.safetensors").read_bytes())
    texts = (f"PromptMix=downsample:{network}", f"GigaZoom=gigazoom:{half}:{network}", f"alone=gigazoom:{half}")
    asked = options(pictures, network, ("methods",), methods=texts)
    asked = replace(asked, networks=("none",))
    ablation = Ablation(asked)
    list(ablation.run())
    first, both, alone = ablation.cells()
    assert [cell.variant.label for cell in (first, both, alone)] == ["PromptMix", "GigaZoom", "alone"]
    assert first.measured[0].inferences == 1
    level0 = [cell.measured[0].seen[0] for cell in (both, alone)]
    assert level0[0].count == pytest.approx(2 * level0[1].count, rel=1e-4)  # the same look, the divisor the first's
    paths = {path.name: path for path in write_tables(ablation)}
    assert f"| GigaZoom | {half}, first look {network} | 2 |" in paths["tables.md"].read_text()
    assert json.loads(paths["tables.json"].read_text())["tables"][0]["rows"][1]["coarse_network"] == str(network)


@pytest.mark.parametrize("text", ["gigazoom:light", "a=gigazoom", "a=gigazoom:", "a=gigazoom:b:c:d", "=gigazoom:a"])
def test_a_method_that_is_none_says_how_one_is_written(text: str) -> None:
    with pytest.raises(UsageError, match="LABEL=STRATEGY:NETWORK"):
        Variant.parse(text, StrategyOptions())


def test_refusals(pictures: Path, network: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="methods, zoom"):
        Ablation(options(pictures, network, ("methods", "zooms")))
    for values in ({"images": 0}, {"most_looks": 0}, {"cache_mb": -1}):
        with pytest.raises(UsageError):
            options(pictures, network, **values)
    with pytest.raises(OutputError, match="no earlier ablation"):
        MeasurementFile(pictures)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / FILE).write_text('{"key": 1}\n')
    with pytest.raises(DataError, match="line 1"):
        MeasurementFile(tmp_path / "broken")


@pytest.mark.slow
def test_killed_at_any_moment_it_goes_on(pictures: Path, network: Path) -> None:
    out = pictures.parent / "killed"
    command = [sys.executable, "-m", "gigacount", "ablate", "--data", f"csv:{pictures}", "--out", str(out),
               "--network", str(network), "--max-size", "96x64", "--tile", "96x64", "--levels", "3", "--precision",
               "fp32", "--tables", "zoom,clusters", "-q"]  # fmt: skip
    for lines in (1, 4, 7):
        process = subprocess.Popen(command)
        while process.poll() is None and (not (out / FILE).exists() or (out / FILE).read_text().count("\n") < lines):
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    keys = [json.loads(line)["key"] for line in (out / FILE).read_text().splitlines()]
    assert len(keys) == len(set(keys)) == 10
    assert str(out / "tables.md") in done.stdout
