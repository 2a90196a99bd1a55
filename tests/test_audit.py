"""Audits: patches that partition the picture, unbiased totals, intervals that hold, a trail that loses nothing."""

from __future__ import annotations

import csv
import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner
from view_results import CROWD, stored_result

from gigacount.cli import app, explanation
from gigacount.density import DensityMap, points_to_density
from gigacount.errors import DataError, EntryError, ExistsError, GigacountError, NoSpaceError, UsageError
from gigacount.geometry import Window, whole
from gigacount.output.opened import open_result
from gigacount.view import opening, trail
from gigacount.view.audit import HEADS, LONGEST_PX, Plan, draw, estimate, make_plan, predicted_in, split
from gigacount.view.opening import open_regions
from gigacount.view.sheets import export_patches, import_patches

SCENES = json.loads((Path(__file__).parent / "audit_scenes.json").read_text())
"""People in patches as the default network predicts and as they are, of pictures that it had not seen;
docs/experiments/audit.md says how they were made."""


def open_audit(folder: Path, **how: Any) -> trail.Audit:
    return opening.open_audit(open_result(folder), **how)


def scene_plan(scene: dict[str, list[float]], seed: int) -> Plan:
    windows = tuple(Window(0, 8 * row, 8, 8) for row in range(len(scene["true"])))
    return draw(windows, np.array(scene["predicted"]), seed)


def simulate(scene: dict[str, list[float]], audits: int, heads: int) -> tuple[float, float]:
    """Mean half-width as a share of the true total, and coverage, of audits that stop after so many clicked heads."""
    true = np.array(scene["true"], np.float64)
    halves, holds = [], []
    for seed in range(audits):
        plan = scene_plan(scene, seed)
        found = true[plan.order]
        made = estimate(plan, found[: int((found.cumsum() < heads).sum()) + 1].tolist())
        assert made.low is not None
        assert made.high is not None
        halves.append((made.high - made.low) / 2 / true.sum())
        holds.append(made.low <= true.sum() <= made.high)
    return float(np.mean(halves)), float(np.mean(holds))


@pytest.mark.parametrize("name", SCENES)
def test_500_heads_give_9_percent_either_way(name: str) -> None:
    half, coverage = simulate(SCENES[name], audits=250, heads=500)
    assert half <= 0.09
    assert coverage >= 0.94 - 2 * np.sqrt(0.94 * 0.06 / 250)  # by chance: 250 audits are few


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENES)
def test_2000_audits_of_500_heads_hold_what_they_promise(name: str) -> None:
    half, coverage = simulate(SCENES[name], audits=2000, heads=500)
    assert half <= 0.09
    assert coverage >= 0.94


@pytest.mark.slow
@pytest.mark.weights
def test_a_scene_that_is_drawn_and_counted_anew_is_audited_as_well(tmp_path: Path) -> None:
    run, size = CliRunner(), ["--size", "13454x7512", "--people", "4000", "--seed", "12"]
    assert run.invoke(app, ["synthesize", *size, "--out", str(tmp_path), "-q"]).exit_code == 0
    assert run.invoke(app, ["count", str(tmp_path / "scene-12.tif"), "-q"]).exit_code == 0
    density = open_result(tmp_path / "scene-12.tif").density
    heads = np.loadtxt(tmp_path / "scene-12.csv", delimiter=",", skiprows=1, usecols=(1, 2))
    cells = np.floor(heads / density.cell_px).astype(int)
    true = DensityMap.empty(density.size_wh, density.cell_px)
    np.add.at(true.cells, (cells[:, 1], cells[:, 0]), 1)
    windows = split(density)
    scene = {"predicted": [density.sum_in(w) for w in windows], "true": [true.sum_in(w) for w in windows]}
    assert sum(scene["true"]) == 4000
    half, coverage = simulate(scene, audits=1000, heads=500)
    assert half <= 0.09
    assert coverage >= 0.94


@pytest.mark.parametrize("patches", [1, 8, 21])
def test_the_total_is_unbiased_after_every_patch(patches: int) -> None:
    """In the mean over many audits, to within what chance allows."""
    rng = np.random.default_rng(1)
    predicted = rng.gamma(2, 5, 40)
    true = rng.poisson(predicted * 1.3).astype(float)
    scene = {"predicted": predicted.tolist(), "true": true.tolist()}
    totals = []
    for seed in range(300):
        plan = scene_plan(scene, seed)
        totals.append(estimate(plan, true[plan.order[:patches]].tolist()).people)
    error = np.mean(totals) - true.sum()
    assert abs(error) <= 4 * np.std(totals) / np.sqrt(len(totals)) + 1e-6


def test_counting_every_patch_is_counting_the_picture() -> None:
    scene = next(iter(SCENES.values()))
    plan = scene_plan(scene, 5)
    made = estimate(plan, np.array(scene["true"], float)[plan.order].tolist())
    assert made.low == made.people == made.high == pytest.approx(sum(scene["true"]))


def test_patches_partition_the_picture_and_hold_few_people() -> None:
    windows = split(CROWD)
    covered = np.zeros(CROWD.cells.shape, int)
    for window in windows:
        rows, cols = CROWD._cells_of(window)
        covered[rows, cols] += 1
        assert CROWD.sum_in(window) <= HEADS
        assert max(window.size_wh) <= LONGEST_PX
    assert (covered == 1).all()
    assert sum(window.pixels for window in windows) == whole(CROWD.size_wh).pixels


def test_patches_of_a_spike_that_no_cut_divides_end() -> None:
    density = DensityMap.empty((64, 48))
    density.cells[2, 3] = 1e6
    assert sum(w.pixels for w in split(density)) == 64 * 48


def test_the_same_seed_gives_the_same_plan_and_another_one_another() -> None:
    one, same, other = make_plan(CROWD, 3), make_plan(CROWD, 3), make_plan(CROWD, 4)
    assert one.order.tolist() == same.order.tolist() != other.order.tolist()
    assert sorted(one.order) == list(range(len(one.windows)))


def test_five_empty_patches_do_not_prove_a_picture_empty() -> None:
    plan = make_plan(DensityMap.empty((16_000, 9_000)), 0)
    made = estimate(plan, [0] * 5)
    assert made.people == pytest.approx(0)
    assert made.high is not None
    assert made.high > 5


def test_one_patch_gives_no_interval() -> None:
    plan = make_plan(CROWD, 0)
    assert estimate(plan, []).people == pytest.approx(plan.total)
    assert estimate(plan, [3]).low is None


def truth_of(density: DensityMap) -> NDArray[np.float64]:
    """Heads (N, 2) that lie as the density says, drawn by chance."""
    rng = np.random.default_rng(0)
    rows, cols = np.nonzero(rng.poisson(np.maximum(density.cells, 0)))
    return (np.stack([cols, rows], axis=1) + rng.random((len(rows), 2))) * density.cell_px


def test_an_audit_from_start_to_interval_by_clicks_and_again(tmp_path: Path) -> None:
    folder = stored_result(tmp_path)
    people = truth_of(CROWD)
    audit = open_audit(folder, seed=7)
    for _ in range(12):
        patch = audit.next
        assert patch is not None
        window = audit.window(patch)
        inside = points_to_density(people, window, (1, 1)).sum()
        within = (people >= (window.left, window.top)) & (people < (window.right, window.bottom))
        audit.add(patch, None, people[within.all(axis=1)].tolist(), by="ann")
        assert audit.counted[patch].people == inside
    made = audit.estimate()
    again = open_audit(folder)  # resumed: seed and counts come from the trail
    assert again.estimate() == made
    assert again.next == audit.next == 13
    lines = [json.loads(line) for line in audit.path.read_text().splitlines()]
    assert len(lines) == 13
    assert lines[0]["plan"]["seed"] == 7
    assert all(line["by"] == "ann" and line["when"] for line in lines[1:])


def test_a_patch_counted_again_keeps_both_counts_and_the_last_holds(tmp_path: Path) -> None:
    audit = open_audit(stored_result(tmp_path))
    audit.add(1, 5, None)
    audit.add(1, 7, None)
    assert audit.counted[1].people == 7
    assert [line["people"] for line in trail.read_lines(audit.path)[1:]] == [5, 7]


def test_two_auditors_of_one_result_see_each_others_counts(tmp_path: Path) -> None:
    folder = stored_result(tmp_path)
    one, other = open_audit(folder), open_audit(folder)
    one.add(1, 5, None)
    other.add(2, 6, None)
    one.refresh()
    assert {patch: found.people for patch, found in one.counted.items()} == {1: 5, 2: 6}


def test_clicks_outside_the_patch_and_in_zones_that_do_not_count_are_nobody(tmp_path: Path) -> None:
    folder = stored_result(tmp_path)
    zone = tmp_path / "zone.geojson"
    window = open_audit(folder).window(1)
    ring = [[window.left, window.top], [window.left + 20, window.top], [window.left + 20, window.top + 20]]
    zone.write_text(json.dumps({"type": "Polygon", "coordinates": [[*ring, ring[0]]]}))
    audit = open_audit(folder, exclude=zone)
    corner = [window.left + 15, window.top + 5]  # in the zone
    audit.add(1, None, [corner, [window.left + 2, window.top + 18], [window.right, window.top], [-5, 3]])
    assert audit.counted[1].people == 1


def test_a_region_gets_its_own_interval_from_clicks(tmp_path: Path) -> None:
    folder = stored_result(tmp_path)
    width, height = CROWD.size_wh
    left_half = [[0, 0], [width / 2, 0], [width / 2, height], [0, height], [0, 0]]
    file = tmp_path / "half.geojson"
    file.write_text(
        json.dumps(
            {
                "type": "Feature",
                "properties": {"name": "left"},
                "geometry": {"type": "Polygon", "coordinates": [left_half]},
            }
        )
    )
    audit = open_audit(folder)
    (region,) = open_regions(audit.result, file).regions
    assert audit.estimate_in(region).low is None  # nothing counted
    by_cells = CROWD.cells[:, : CROWD.cells.shape[1] // 2].sum()
    assert predicted_in(audit.plan, CROWD, region).sum() == pytest.approx(by_cells, rel=1e-2)
    people = truth_of(CROWD)
    for patch in range(1, audit.patches + 1):
        w = audit.window(patch)
        within = ((people >= (w.left, w.top)) & (people < (w.right, w.bottom))).all(axis=1)
        audit.add(patch, None, people[within].tolist())
    made = audit.estimate_in(region)
    assert 0 < made.patches < audit.patches
    assert made.people == pytest.approx((people[:, 0] < width / 2).sum())
    assert made.low == made.high


def test_exported_patches_come_back_filled_in(tmp_path: Path) -> None:
    from gigacount.image import GigaImage

    audit, out = open_audit(stored_result(tmp_path)), tmp_path / "sheets"
    with GigaImage.open(audit.result.image) as image:
        assert export_patches(audit, image, out, 3) == [1, 2, 3]
    rows = list(csv.DictReader((out / "patches.csv").read_text().splitlines()))
    assert all((out / row["image"]).stat().st_size > 1000 for row in rows)
    rows[0]["heads"], rows[1]["heads"] = "4", "0"
    with (out / "patches.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    assert import_patches(audit, out, by="bo") == 2
    assert import_patches(audit, out) == 0  # the same again is nothing new
    assert (audit.estimate().patches, audit.estimate().heads) == (2, 4)
    rows[2].update(heads="3", left="1")
    (out / "patches.csv").write_text(",".join(rows[2]) + "\n" + ",".join(rows[2].values()) + "\n")
    with pytest.raises(EntryError, match="line 2: patch 3 belongs to another audit"):
        import_patches(audit, out)


def fill_in(table: Path, heads: str) -> None:
    """Write so many heads into each row of an exported table."""
    header, *rows = table.read_text().splitlines()
    table.write_text("\n".join([header, *(row + heads for row in rows)]) + "\n")


@pytest.mark.parametrize("patches", ["-3", "0"])
def test_fewer_than_one_patch_to_export_is_refused(tmp_path: Path, patches: str) -> None:
    folder, out = stored_result(tmp_path), tmp_path / "sheets"
    done = CliRunner().invoke(app, ["audit", str(folder), "--export", str(out), "--patches", patches])
    assert isinstance(done.exception, UsageError)
    assert f"--patches must be at least 1, not {patches}" in str(done.exception)
    assert not out.exists()


def test_no_estimate_is_negative_or_less_than_the_heads_found() -> None:
    """Of a region that has a large part in a patch that is seldom drawn: its error is expanded by a lot."""
    plan = draw(tuple(Window(0, 8 * row, 8, 8) for row in range(8)), np.array([1.0] * 4 + [30.0] * 4), 0)
    drawn = int(plan.order[0])
    region = np.where(np.arange(8) == drawn, 1.0, 0.0)
    made = estimate(plan, [0.0], region)
    assert str(made) == "0 people by 1 patch, too few for an interval"
    assert estimate(plan, [0.0, 0.0], region).people >= 0


def test_a_region_names_the_counted_patches_that_lie_in_it(tmp_path: Path) -> None:
    audit = open_audit(stored_result(tmp_path))
    file, (width, height) = tmp_path / "left.geojson", CROWD.size_wh
    ring = [[0, 0], [width / 2, 0], [width / 2, height], [0, height], [0, 0]]
    file.write_text(json.dumps({"type": "Polygon", "coordinates": [ring]}))
    (region,) = open_regions(audit.result, file).regions
    for patch in range(1, 16):
        audit.add(patch, 9, None)
    inside = sum(audit.window(patch).left < width / 2 for patch in range(1, 16))
    made = audit.estimate_in(region)
    assert trail.LEAST_PATCHES <= made.patches == inside < 15
    assert made.low is not None


def test_a_region_in_which_the_machine_sees_nobody_names_the_patches_with_people(tmp_path: Path) -> None:
    density = DensityMap.empty(CROWD.size_wh)
    density.cells[:, -1] = 1
    audit, file = open_audit(stored_result(tmp_path, density)), tmp_path / "corner.geojson"
    file.write_text(json.dumps({"type": "Polygon", "coordinates": [[[0, 0], [40, 0], [40, 40], [0, 40], [0, 0]]]}))
    (region,) = open_regions(audit.result, file).regions
    for patch in range(1, audit.patches + 1):
        audit.add(patch, None, [[5, 5]] if audit.window(patch).left == audit.window(patch).top == 0 else [])
    made = audit.estimate_in(region)
    assert (made.people, made.low, made.high, made.patches) == (1, 1, 1, 1)


def test_overwriting_a_table_keeps_counts_that_were_not_imported(tmp_path: Path) -> None:
    folder, out = stored_result(tmp_path), tmp_path / "sheets"
    run, export = CliRunner(), ["audit", str(folder), "--export", str(out), "--patches", "2", "--overwrite"]
    assert run.invoke(app, export).exit_code == 0
    fill_in(out / "patches.csv", "7")
    filled = (out / "patches.csv").read_text()
    for again in (export, [*export, "--anew", "--seed", "5"]):  # theirs, and another audit's
        refused = run.invoke(app, again)
        assert isinstance(refused.exception, ExistsError)
        assert (out / "patches.csv").read_text() == filled
    assert f"counts of 2 patches not imported; --import {out} first" in str(run.invoke(app, export).exception)
    (out / "mine.jpg").write_bytes(b"x")
    assert run.invoke(app, ["audit", str(folder), "--import", str(out)]).exit_code == 0
    assert run.invoke(app, export).exit_code == 0
    assert sorted(path.name for path in out.glob("*.jpg")) == ["mine.jpg", "patch-0003.jpg", "patch-0004.jpg"]


def test_the_line_after_an_export_is_the_command_that_imports_it(tmp_path: Path) -> None:
    folder, out = stored_result(tmp_path), tmp_path / "my sheets"
    run, begin = CliRunner(), ["audit", str(folder), "--anew", "--seed", "3", "--heads", "12.5"]
    said = run.invoke(app, [*begin, "--export", str(out), "--patches", "2"]).stderr
    fill_in(out / "patches.csv", "7")
    command = shlex.split(next(line for line in said.splitlines() if "then: " in line).partition("then: ")[2])
    assert command[0] == "gigacount"
    done = run.invoke(app, command[1:])
    assert done.exit_code == 0, done.exception
    assert "2 patches imported" in done.stderr
    assert open_audit(folder).begun["seed"] == 3


def test_a_full_disk_loses_no_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk takes half a line, then nothing."""
    audit = open_audit(stored_result(tmp_path))
    audit.add(1, 5, None)
    kept = audit.path.read_bytes()
    real, calls = trail.os.write, []

    def full(file: int, data: bytes) -> int:
        calls.append(data)
        if len(calls) > 1:
            raise OSError(28, "No space left on device")
        return real(file, data[: len(data) // 2])

    with monkeypatch.context() as patched:
        patched.setattr(trail.os, "write", full)
        with pytest.raises(NoSpaceError):
            audit.add(2, 6, None)
    assert audit.path.read_bytes() == kept
    audit.add(2, 6, None)
    assert open_audit(audit.result.folder).done == 2


def test_a_line_that_a_crash_cut_off_is_passed_over(tmp_path: Path) -> None:
    audit = open_audit(stored_result(tmp_path))
    audit.add(1, 5, None)
    with audit.path.open("ab") as file:
        file.write(b'{"patch": 2, "peop')
    again = open_audit(audit.result.folder)
    again.add(2, 6, None)
    assert {patch: found.people for patch, found in open_audit(audit.result.folder).counted.items()} == {1: 5, 2: 6}


def test_another_count_of_the_picture_begins_another_audit(tmp_path: Path) -> None:
    folder = stored_result(tmp_path)
    open_audit(folder).add(1, 5, None)
    stored_result(tmp_path, replace(CROWD, cells=CROWD.cells * 2))
    with pytest.raises(DataError, match="--anew"):
        open_audit(folder)
    audit = open_audit(folder, anew=True)
    audit.add(1, 8, None)
    assert len(trail.read_lines(audit.path)) == 4  # the first audit is kept
    with pytest.raises(UsageError, match="begun with seed 0"):
        open_audit(folder, seed=9)


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda folder: (folder / "density.tif").unlink(), "density.tif is missing; count again with --format tif"),
        (lambda folder: (folder / "density.tif").write_bytes(b"x"), "not the density map of this image"),
        (lambda folder: (folder / "count.json").write_text("{}"), "no finished result there"),
        (lambda folder: (folder.parent / "crowd.png").unlink(), "say where it is with --image"),
    ],
)
def test_a_damaged_result_is_refused_in_a_line(tmp_path: Path, harm: object, words: str) -> None:
    folder = stored_result(tmp_path)
    harm(folder)  # type: ignore[operator]
    done = CliRunner().invoke(app, ["audit", str(folder)])
    assert isinstance(done.exception, GigacountError)
    assert words in explanation(done.exception)[0]


def test_the_command_exports_imports_and_prints_the_total(tmp_path: Path) -> None:
    folder, out = stored_result(tmp_path), tmp_path / "sheets"
    run = CliRunner()
    begun = run.invoke(app, ["audit", str(folder.parent / "crowd.png"), "--export", str(out), "--patches", "2"])
    assert begun.exit_code == 0, begun.output
    table = out / "patches.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join([lines[0], *(line + "7" for line in lines[1:])]) + "\n")
    done = run.invoke(app, ["audit", str(folder), "--import", str(out), "--json", "--by", "cy", "--quiet"])
    answer = json.loads(done.stdout)
    assert (answer["patches"], answer["heads"]) == (2, 14)
    assert answer["low"] < answer["people"] < answer["high"]
    assert run.invoke(app, ["audit", str(folder), "-q"]).stdout == f"{answer['people']:.1f}\n"
