"""The network that tells head sizes: it learns them where boxes are known, and gives boxes to points."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from gigacount.cli import app
from gigacount.datasets import load
from gigacount.errors import ExistsError, UsageError
from gigacount.networks import build
from gigacount.networks.head_sizes import HeadSizes
from gigacount.options import LabelOptions
from gigacount.train.pseudo_labels import with_boxes
from gigacount.train.recipes import RECIPES


def network() -> HeadSizes:
    found = build("head-sizes")
    assert isinstance(found, HeadSizes)
    return found.eval()


def test_targets_are_mean_log_areas_where_boxes_are_known() -> None:
    points = np.array([(4.0, 4.0), (5.0, 5.0), (20.0, 4.0), (12.0, 12.0)])
    boxes = np.array([(0, 0, 8, 8), (1, 1, 9, 17), (np.nan,) * 4, (8, 8, 12, 16)], np.float64)
    (log_area,) = network().targets(points, (24, 16), boxes).values()
    assert log_area.shape == (2, 3)
    assert log_area[0, 0] == pytest.approx((np.log(64) + np.log(128)) / 2)
    assert log_area[1, 1] == pytest.approx(np.log(32))
    assert np.isnan(log_area[0, 2])
    assert np.isnan(network().targets(points, (24, 16))["log_area"]).all()


def test_loss_is_of_cells_with_heads_alone() -> None:
    sizes, images = network(), torch.zeros(1, 3, 16, 16)
    truth = torch.full((1, 2, 2), torch.nan)
    assert sizes.loss(images, {"log_area": truth}).item() == 0
    truth[0, 1, 0] = 9
    assert sizes.loss(images, {"log_area": truth}).item() == pytest.approx(9 - sizes(images)[0, 1, 0].item())


def test_boxes_follow_the_public_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = network()
    log_area = torch.tensor([[[2 * np.log(10.5), 2 * np.log(20.5), 0.0, 2 * np.log(30.5), 2 * np.log(40.5), 0.0]]])
    monkeypatch.setattr(sizes, "forward", lambda image: log_area.float())
    image = torch.zeros(1, 3, 8, 48)
    few = np.array([(4.0, 4.0), (12.0, 4.0), (20.0, 4.0)])
    assert np.array_equal(
        sizes.boxes(image, few)[:, 2:] - sizes.boxes(image, few)[:, :2], [[10] * 2, [20] * 2, [7] * 2]
    )
    many = np.array([(4.0, 4.0), (12.0, 4.0), (20.0, 4.0), (28.0, 4.0), (36.0, 4.0)])
    left = sizes.boxes(image, many)[0]  # itself and the next three, less the smallest
    assert left[2] - left[0] == np.floor((10.5 * 20.5 * 30.5) ** (1 / 3))
    assert sizes.boxes(image, np.zeros((0, 2))).shape == (0, 4)


def test_it_counts_nobody() -> None:
    with pytest.raises(UsageError, match="counts nobody"):
        network().predict(torch.zeros(1, 3, 16, 16))


def test_sizes_are_learnt_where_boxes_are_and_given_to_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Discs of 8 px on black and of 24 px on grey: told of in some pictures, and to be told in others."""
    draw(tmp_path / "boxed", seed=0, boxes=True)
    draw(tmp_path / "points", seed=1, boxes=False)
    recipe = replace(RECIPES["head-sizes"].recipe, crop_wh=(64, 64), batch=2, lr=1e-4, backbone_lr=1e-4)
    recipe = replace(recipe, schedule="constant", augmentation=replace(recipe.augmentation, scale=(1.0, 1.0)))
    monkeypatch.setitem(RECIPES, "head-sizes", replace(RECIPES["head-sizes"], recipe=recipe))
    torch.manual_seed(0)
    words = ["--network", "head-sizes", "--data", f"csv:{tmp_path / 'boxed'}", "--steps", "30", "--device", "cpu"]
    run("train", *words, "--out", str(tmp_path / "run"), "--precision", "fp32", "-q")
    record, out = tmp_path / "run" / "head-sizes.toml", tmp_path / "boxes.csv"
    run("data", "boxes", f"csv:{tmp_path / 'points'}", "--network", str(record), "--out", str(out), "--device", "cpu")
    found = load(f"csv:{out}", "train", print, LabelOptions(trust_paths=True))
    side = {s.name: np.median(s.boxes_xyxy[:, 2] - s.boxes_xyxy[:, 0]) for s in found if s.boxes_xyxy is not None}
    assert len(side) == 4
    assert max(side["0"], side["1"]) < 13 < 16 < min(side["2"], side["3"])
    points = load(f"csv:{tmp_path / 'points'}", "train", print)
    np.testing.assert_allclose(found[0].points_xy, points[0].points_xy, atol=1e-3)
    again = CliRunner().invoke(app, ["data", "boxes", "csv:x", "--network", "x", "--out", str(out)])
    assert isinstance(again.exception, ExistsError)


@pytest.mark.weights
def test_another_network_gives_no_boxes() -> None:
    with pytest.raises(UsageError, match="head-sizes"):
        next(with_boxes([], "light"))


def run(*words: str) -> None:
    result = CliRunner().invoke(app, list(words))
    assert result.exit_code == 0, f"{' '.join(words)}: {result.output} {result.exception!r}"


def draw(folder: Path, seed: int, boxes: bool) -> None:
    folder.mkdir()
    rng = np.random.default_rng(seed)
    rows, (y, x) = [], np.mgrid[0:64, 0:64] + 0.5
    for number in range(4):
        side = 8 if number < 2 else 24
        pixels = np.full((64, 64, 3), 0 if number < 2 else 110, np.uint8)
        for cx, cy in np.array([(16, 16), (48, 16), (16, 48), (48, 48), (32, 32)][: 5 if side == 8 else 4]):
            cx, cy = cx + rng.uniform(-2, 2), cy + rng.uniform(-2, 2)
            pixels[np.hypot(x - cx, y - cy) < side / 2] = 250
            box = [cx - side / 2, cy - side / 2, cx + side / 2, cy + side / 2]
            rows.append([f"{number}.png", cx, cy, *(box if boxes else ())])
        Image.fromarray(pixels).save(folder / f"{number}.png")
    with (folder / "heads.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "x", "y", *(("left", "top", "right", "bottom") if boxes else ())])
        writer.writerows(rows)
