"""Training: crops, schedule, and runs that can be killed at any moment and go on to the same result."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
import torch

from gigacount.datasets import Sample
from gigacount.errors import DataError, OutputError, UsageError, WeightsError
from gigacount.geometry import Window
from gigacount.networks import find_record, load
from gigacount.networks.base import Augmentation, Recipe
from gigacount.networks.light import Light
from gigacount.options import TrainOptions
from gigacount.train import train
from gigacount.train.checkpoint import load_checkpoint
from gigacount.train.crops import CropMaker, cut, place
from gigacount.train.loop import Trainer, schedule
from gigacount.train.sources import Picture, Source, open_sources, split_weight


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight pictures of 200 x 160 px with white heads on black, and their CSV labels."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    rows = ["image,x,y"]
    for number in range(8):
        pixels = np.zeros((160, 200, 3), np.uint8)
        for x, y in rng.integers(8, 150, (number + 3, 2)):
            pixels[y - 4 : y + 4, x - 4 : x + 4] = 255
            rows.append(f"{number}.png,{x},{y}")
        pyvips.Image.new_from_array(pixels).write_to_file(str(folder / f"{number}.png"))
    (folder / "heads.csv").write_text("\n".join(rows) + "\n")
    return folder


def options(photos: Path, out: Path, **more: Any) -> TrainOptions:
    settings: dict[str, Any] = {"steps": 4, "batch": 2, "validation": 0.25, "validate_every": 2, "save_every": 2}
    return TrainOptions("light", (f"csv:{photos}",), out, precision="fp32", **(settings | more))


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


def test_a_run_ends_with_weights_that_count_can_use(photos: Path, tmp_path: Path) -> None:
    entries: list[dict[str, Any]] = []
    record_path = train(options(photos, tmp_path / "run"), entries.append)
    record = find_record(str(record_path))
    assert load(record).training is False
    assert record.mean == (0.5, 0.5, 0.5)
    assert record.errors[0]["data"] == "csv, 2 held-out pictures"
    assert record.training["batch"] == 2
    assert [entry["step"] for entry in entries if "score" in entry] == [2, 4]
    held = (tmp_path / "run" / "validation.txt").read_text().splitlines()
    assert len(held) == 2
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert log == entries


def test_a_stopped_and_resumed_run_equals_an_unbroken_one(photos: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    train(options(photos, whole))

    class KilledError(Exception):
        pass

    def kill(entry: dict[str, Any]) -> None:
        if entry["step"] == 4:
            raise KilledError

    broken = options(photos, tmp_path / "broken")
    with pytest.raises(KilledError):
        train(broken, kill)
    assert load_checkpoint(broken.out)["position"]["step"] == 2
    train(replace(broken, resume=True))
    ours, theirs = load_checkpoint(broken.out), load_checkpoint(whole)
    for part in ("network", "average", "best"):
        assert same(ours[part], theirs[part]), part
    assert ours["position"]["step"] == theirs["position"]["step"] == 4


@pytest.mark.slow
def test_kill_9_and_resume_equals_an_unbroken_run(photos: Path, tmp_path: Path) -> None:
    arguments = ["--data", f"csv:{photos}", "--steps", "12", "--batch", "1", "--save-every", "2", "--precision", "fp32"]

    def start(out: Path, *more: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "gigacount", "train", "--out", str(out), *arguments, *more, "-q"]
        )

    assert start(tmp_path / "whole").wait(300) == 0
    process = start(tmp_path / "broken")
    while not (tmp_path / "broken" / "checkpoint.pt").exists():
        assert process.poll() is None
    process.kill()
    process.wait()
    assert start(tmp_path / "broken", "--resume").wait(300) == 0
    ours, theirs = load_checkpoint(tmp_path / "broken"), load_checkpoint(tmp_path / "whole")
    assert same(ours["network"], theirs["network"])


@pytest.mark.slow
def test_training_learns_to_count(photos: Path, tmp_path: Path) -> None:
    entries: list[dict[str, Any]] = []
    train(options(photos, tmp_path / "run", steps=150, batch=4, validate_every=150, ema=0.9), entries.append)
    losses = [entry["loss"] for entry in entries if "loss" in entry]
    assert losses[-1] < losses[0]
    validated = [entry for entry in entries if "csv" in entry]
    assert validated[-1]["csv"]["mae"] < 0.5 * validated[-1]["csv"]["truth_mean"]


def picture(photos: Path, points: list[tuple[float, float]], name: str = "0.png") -> Picture:
    return Picture(Sample(photos / name, np.array(points, np.float64).reshape(-1, 2)))


def test_crops_keep_heads_where_they_are(photos: Path) -> None:
    """A white square on black and its head: after any crop, scale and mirroring the head is on white."""
    pixels = np.zeros((160, 200, 3), np.uint8)
    pixels[70:90, 110:130] = 255
    pyvips.Image.new_from_array(pixels).write_to_file(str(photos / "square.png"))
    source = Source("csv", 1, [picture(photos, [(120, 80)], "square.png")], [])
    recipe = Recipe(
        crop_wh=(128, 96), batch=1, augmentation=Augmentation(flip=0.5, scale=(0.5, 2)), mean=(0, 0, 0), std=(1, 1, 1)
    )
    seen = 0
    for step in range(60):
        maker = CropMaker([source], HeadsOnly(), recipe, seed=1)
        images, targets = maker.batch(step)
        for x, y in targets["heads"][0].tolist():
            assert images[0, 0, int(y), int(x)] > 0.5
            seen += 1
    assert seen > 20


class HeadsOnly(Light):
    """Targets are the points themselves, so that a test sees where they went."""

    def targets(self, points_xy: np.ndarray, size_wh: tuple[int, int]) -> dict[str, np.ndarray]:
        assert (points_xy >= 0).all()
        assert (points_xy < size_wh).all()
        return {"heads": points_xy.astype(np.float32)}


def test_the_crops_of_a_step_follow_from_its_number_alone(photos: Path) -> None:
    sources = open_sources(options(photos, photos / "none"))
    recipe = replace(Light.recipe, batch=2, crop_wh=(64, 64))
    one, other = (CropMaker(sources, Light(), recipe, seed=3) for _ in range(2))
    for step in (5, 2):
        images, targets = one.batch(step)
        again, targets_again = other.batch(step)
        assert torch.equal(images, again)
        assert same(targets, targets_again)
    assert not torch.equal(one.batch(0)[0], one.batch(1)[0])
    assert not torch.equal(one.batch(0, rank=0)[0], one.batch(0, rank=1)[0])


def test_a_window_past_the_edge_is_grey_there(photos: Path) -> None:
    pixels = cut(picture(photos, []), Window(-50, 0, 100, 100), (100, 100))
    assert pixels.shape == (3, 100, 100)
    assert torch.allclose(pixels[:, :, :50], torch.tensor(127 / 255))
    assert not torch.allclose(pixels[:, :, 60:], torch.tensor(127 / 255))


def test_large_pictures_are_read_where_the_crop_falls(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = cut(picture(photos, []), Window(20, 10, 100, 80), (50, 40))
    monkeypatch.setattr("gigacount.train.sources.IN_MEMORY_PX", 100)
    windowed = picture(photos, [])
    part = cut(windowed, Window(20, 10, 100, 80), (50, 40))
    assert not windowed.in_memory
    assert (whole - part).abs().mean() < 0.02


def test_places_lie_inside_or_hang_over() -> None:
    rng = np.random.default_rng(0)
    assert {place(10, 8, rng) for _ in range(100)} == {0, 1, 2}
    assert {place(8, 10, rng) for _ in range(100)} == {0, -1, -2}


def test_borders_are_not_left_out() -> None:
    rng = np.random.default_rng(0)
    seen = np.zeros(100, int)
    for _ in range(4000):
        start = place(100, 40, rng)
        seen[start : start + 40] += 1
    assert seen.min() > 0.3 * seen.max()  # a fortieth of it where starts are drawn inside only


@pytest.mark.parametrize(
    ("name", "expected"), [("constant", 1.0), ("cosine", 0.5), ("polynomial", 0.5**0.9), ("exponential", 0.9**50)]
)
def test_schedules_half_way(name: Any, expected: float) -> None:
    decay = {"polynomial": 0.9, "exponential": 0.9}.get(name, 1.0)
    assert schedule(Recipe(schedule=name, decay=decay, epochs=100), 0.5) == pytest.approx(expected)


def test_a_share_of_each_set_is_held_out_by_the_seed(photos: Path) -> None:
    def names(seed: int) -> list[str]:
        return [p.sample.name for p in open_sources(options(photos, photos / "x", seed=seed))[0].held_out]

    assert names(0) == names(0)
    assert len(names(0)) == 2
    assert names(0) != names(1) or names(0) != names(2)


def test_weights_of_data_sets() -> None:
    assert split_weight("csv:a@b/c@0.4") == ("csv:a@b/c", 0.4)
    assert split_weight("csv:photos") == ("csv:photos", None)
    with pytest.raises(UsageError, match="above 0"):
        split_weight("csv:photos@0")
    assert split_weight("csv:photos@.5") == ("csv:photos", 0.5)


def test_the_held_out_pictures_of_an_earlier_run_are_held_out_again(photos: Path, tmp_path: Path) -> None:
    listed = tmp_path / "validation.txt"
    listed.write_text("csv\t3.png\ncsv\t5.png\nshanghaitech-a\t4.png\n")
    source = open_sources(options(photos, tmp_path, held_out=listed))[0]
    assert [picture.sample.image.name for picture in source.held_out] == ["3.png", "5.png"]
    assert len(source.train) == 6
    listed.write_text("csv\t3.png\n5.png\n")
    with pytest.raises(DataError, match=r"validation\.txt, line 2"):
        open_sources(options(photos, tmp_path, held_out=listed))


def test_native_crops_are_not_resampled(photos: Path) -> None:
    recipe = replace(Light.recipe, crop_wh=(64, 64), augmentation=Augmentation(flip=0, scale=(0.5, 2), native=1))
    sources = open_sources(options(photos, photos))
    images, _ = CropMaker(sources, Light(), recipe, 0).batch(0)
    assert set(images.unique().tolist()) == {-1, 1}  # black and white and nothing between


def test_a_loss_that_is_no_number_stops_with_the_step(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    train(options(photos, out, steps=2))
    monkeypatch.setattr(Light, "loss", lambda self, images, targets: self(images)[0].sum() * float("nan"))
    with pytest.raises(DataError, match=r"step 3: the loss is nan.*--resume"):
        train(options(photos, out, steps=9, resume=True))
    assert load_checkpoint(out)["position"]["step"] == 2


def test_an_earlier_run_is_not_overwritten(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    train(options(photos, out, steps=1))
    with pytest.raises(OutputError, match="--resume"):
        train(options(photos, out, steps=1))


def test_resuming_from_nothing_or_another_run_is_explained(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no checkpoint"):
        train(options(photos, tmp_path / "new", resume=True))
    train(options(photos, tmp_path / "run", steps=1))
    other = replace(options(photos, tmp_path / "run", resume=True), data=(f"csv:{photos}@2",))
    with pytest.raises(DataError, match="trained with data"):
        train(other)


def test_a_broken_checkpoint_is_explained(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(b"nothing")
    with pytest.raises(DataError, match="not a checkpoint"):
        load_checkpoint(tmp_path)


def test_backbone_weights_load_from_arrays(photos: Path, tmp_path: Path) -> None:
    encoder = Light().encoder
    arrays = {name: np.full(tensor.shape, 0.5, np.float32) for name, tensor in encoder.state_dict().items()}
    np.savez(tmp_path / "b.npz", **arrays, more=np.zeros(3))
    settings = options(photos, tmp_path / "run", backbone_weights=tmp_path / "b.npz")
    trainer = Trainer(settings, open_sources(settings), lambda entry: None)
    assert all((tensor == 0.5).all() for tensor in trainer.network.get_submodule("encoder").state_dict().values())
    (tmp_path / "bad.npz").write_bytes(b"x")
    with pytest.raises(WeightsError, match="cannot read these weights"):
        Trainer(replace(settings, backbone_weights=tmp_path / "bad.npz"), [], lambda entry: None)
