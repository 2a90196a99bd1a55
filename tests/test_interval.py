"""How sure a count is: the curve that calibration measures, and the range that follows from it."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from gigacount.appearance import Appearance, appearance_of
from gigacount.cli.show import result_lines
from gigacount.density import DensityMap, spread_of
from gigacount.errors import WeightsError
from gigacount.evaluate.calibrate import CalibrationImage, ImagesAtScales, fit_resolution
from gigacount.geometry import Size, View, Window, whole
from gigacount.interval import interval_of
from gigacount.networks.record import NetworkRecord, read_record, write_record
from gigacount.resolution import Resolution, deviation
from gigacount.results import Interval, Looked

MEASURED = Resolution((8.0, 32.0), (-0.3, 0.0), (0.5, 0.1), resolved_px=20, kinds=0.24)


def evenly(size_wh: Size, step: int) -> DensityMap:
    """One person every `step` pixels along both axes, in cells of 8 px."""
    canvas = DensityMap.empty(size_wh)
    canvas.cells[:] = (8 / step) ** 2
    return canvas


def seen_whole(canvas: DensityMap, size_wh: Size) -> list[Looked]:
    return [Looked(View(whole(canvas.size_wh), size_wh), canvas.count)]


def test_spacing_is_what_a_ruler_says() -> None:
    people, spacing = spread_of(evenly((1024, 512), 16).cells, 4)  # blocks of 32 px, squares of 128
    assert people.shape == (4, 8)
    assert people == pytest.approx(64)
    assert spacing * 32 == pytest.approx(16)
    alone = np.zeros((16, 16), np.float32)
    alone[3, 3] = 1
    assert spread_of(alone, 4) == (pytest.approx(1), pytest.approx(1))
    assert np.isinf(spread_of(np.zeros((16, 16), np.float32), 4)[1]).all()


def test_the_range_by_hand() -> None:
    canvas = evenly((1024, 1024), 32)  # 1024 people, 32 px apart
    interval = interval_of(canvas, seen_whole(canvas, (1024, 1024)), lambda view: MEASURED)
    factor = math.exp(math.hypot(math.sqrt(64 * 1.6**2) / 1024, 0.24))  # 64 squares of 16 people, a tenth off each
    assert (interval.low, interval.high) == (pytest.approx(1028 / factor - 4), pytest.approx(1028 * factor - 4))
    assert interval.basis == "1% by how close people stand, 24% by the kind of image"
    assert interval.doubts == ()


@pytest.mark.parametrize(("count", "told"), [(-0.4, False), (-0.6, True), (-514.0, True)])
def test_fewer_than_nobody_speaks_against_a_count(count: float, told: bool) -> None:
    canvas = DensityMap.empty((256, 256))
    canvas.cells[:] = count / canvas.cells.size
    doubts = interval_of(canvas, seen_whole(canvas, (256, 256)), lambda view: MEASURED).doubts
    assert doubts == (("fewer than nobody: the network was not trained for images like this",) if told else ())


def test_people_seen_too_coarsely_widen_the_range_and_are_told() -> None:
    canvas = evenly((1024, 1024), 32)
    wide = interval_of(canvas, seen_whole(canvas, (256, 256)), lambda view: MEASURED)  # 8 read px apart
    places = math.hypot(0.3, math.sqrt(4 * 128**2) / 1024)  # bias, and 4 squares of 256 people, half of them off each
    assert wide.high == pytest.approx(1028 * math.exp(math.hypot(places, 0.24)) - 4)
    assert wide.doubts == ("100% of the people were seen too coarsely to count well",)
    wider = interval_of(canvas, seen_whole(canvas, (128, 128)), lambda view: MEASURED)
    assert "100% stand closer together than any that the network was measured on" in wider.doubts


def test_a_closer_look_makes_part_of_a_picture_surer() -> None:
    canvas = evenly((1024, 1024), 32)
    coarse = seen_whole(canvas, (256, 256))
    left = Looked(View(Window(0, 0, 512, 1024), (512, 1024), 1), canvas.count / 2)
    interval = interval_of(canvas, [*coarse, left], lambda view: MEASURED)
    assert interval.basis.startswith("23% by how close people stand")
    assert interval.doubts == ("50% of the people were seen too coarsely to count well",)


def test_an_empty_picture_and_a_network_without_a_curve_have_a_range() -> None:
    canvas = DensityMap.empty((640, 480))
    interval = interval_of(canvas, seen_whole(canvas, (640, 480)), lambda view: None)
    assert interval.low == 0
    assert 0 < interval.high < 5
    assert interval.basis.endswith("not measured")
    assert any("gigacount networks calibrate" in doubt for doubt in interval.doubts)


@pytest.mark.parametrize(
    ("ends", "words"),
    [
        ((3903.2, 4851.0), "3,900 to 4,900"),
        ((0.0, 2.2), "0 to 3"),
        ((96.0, 104.0), "96 to 110"),
        ((9.9, 10.0), "9 to 10"),
    ],
)
def test_a_range_is_told_in_two_digits_and_outwards(ends: tuple[float, float], words: str) -> None:
    interval = Interval(*ends, 0.9, "somehow", ("it rained",))
    assert str(interval) == words
    content = {"count": 4376.0, "interval": vars(interval) | {"doubts": ["it rained"]}}
    said = f"4,376 people ({words}); expected error somehow; it rained"
    assert list(result_lines(content)) == [said]
    assert list(result_lines(content | {"notes": ["black"]})) == [said, "note: black"]
    assert list(result_lines({"count": 1.0, "notes": 3})) == []
    assert list(result_lines({"count": 1.0, "interval": {"low": "x"}})) == []


def photographs(number: int, sigma: float, steps: tuple[int, ...], seed: int = 0) -> list[CalibrationImage]:
    """Pictures of 512 x 512 px with people in a lattice, counted with a factor of their own from exp(N(0, sigma))."""
    chance, found = np.random.default_rng(seed), []
    for index in range(number):
        step = steps[index % len(steps)]
        canvas, truth = evenly((512, 512), step), lattice(step)
        cells = torch.from_numpy(canvas.cells * np.float32(math.exp(chance.normal(0, sigma))))
        found.append(
            CalibrationImage(f"{index}", float(cells.sum()), truth, np.zeros((0, 3), np.float32), (512, 512), cells)
        )
    return found


def lattice(step: int) -> NDArray[np.float64]:
    at = np.arange(step / 2, 512, step)
    return np.stack(np.meshgrid(at, at), axis=-1).reshape(-1, 2)


def coarser(seen: list[CalibrationImage], loses: float) -> list[CalibrationImage]:
    """The same pictures at half the size, where the network loses a share of the people."""
    return [
        CalibrationImage(
            one.name, one.count * (1 - loses), one.truth_xy, one.points, one.size_hw, halved(one) * (1 - loses)
        )
        for one in seen
    ]


def halved(one: CalibrationImage) -> torch.Tensor:
    rows, cols = one.density.shape
    return one.density.reshape(rows // 2, 2, cols // 2, 2).sum(dim=(1, 3))


def test_nine_of_ten_pictures_lie_in_their_ranges() -> None:
    looks: ImagesAtScales = {1.0: [photographs(600, 0.2, (16, 32)), photographs(300, 0.3, (24,), 1)]}
    resolution = fit_resolution(looks, 1.0, 8)
    assert resolution is not None
    assert resolution.pictures == 900
    others = [photographs(400, 0.2, (16, 32), 2), photographs(400, 0.3, (24,), 3)]
    held = [[np.mean([covered(one, resolution) for one in seen]) for seen in sets] for sets in (looks[1.0], others)]
    measured, unseen = held
    assert 0.9 <= np.mean(measured) <= 0.905  # each kind with the same weight
    assert 0.85 <= np.mean(unseen) <= 0.95


def covered(one: CalibrationImage, resolution: Resolution) -> bool:
    canvas = DensityMap(one.density.numpy(), (512, 512), 8)
    interval = interval_of(canvas, seen_whole(canvas, (512, 512)), lambda view: resolution)
    return interval.low <= len(one.truth_xy) <= interval.high


def test_people_are_resolved_where_a_closer_look_saves_nobody() -> None:
    exact = [*photographs(4, 0, (16,)), *photographs(4, 0, (64,))]
    looks: ImagesAtScales = {1.0: [exact], 0.5: [coarser(exact[:4], 0.36) + coarser(exact[4:], 0)]}
    resolution = fit_resolution(looks, 1.0, 8)
    assert resolution is not None
    assert resolution.resolved_px == pytest.approx(4 * 2**1.5, abs=0.1)  # seen 8 / sqrt(0.64) = 10 px apart
    errors = dict(zip(resolution.spacing_px, resolution.error, strict=True))
    assert errors[10.0] == pytest.approx(0.36 / 0.64, abs=0.001)
    assert errors[32.0] == pytest.approx(0, abs=0.01)
    assert resolution.bias_at(np.array([10.0]))[0] == pytest.approx(-0.36 / 0.64, abs=0.001)


def test_pictures_without_people_measure_nothing() -> None:
    nobody = CalibrationImage("a", 0.0, np.zeros((0, 2)), np.zeros((0, 3), np.float32), (64, 64), torch.zeros(8, 8))
    assert fit_resolution({1.0: [[nobody]]}, 1.0, 8) is None


def test_few_people_more_or_less_are_little() -> None:
    assert deviation(100, 100) == 0
    assert deviation(0, 1) == pytest.approx(math.log(5 / 4))
    assert deviation(1000, 2000) == pytest.approx(math.log(2), abs=0.01)
    assert deviation(-3, 0) == 0


def test_a_record_keeps_its_resolution(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    write_record(NetworkRecord("a", "light", "a.safetensors", "0", resolution=MEASURED), path)
    assert read_record(path).resolution == MEASURED


@pytest.mark.parametrize(
    "table",
    [
        "spacing_px = [2, 1]\nbias = [0, 0]\nerror = [0, 0]",
        "spacing_px = [1]\nbias = [0, 0]\nerror = [0]",
        "resolved_px = nan",
        "kinds = 'x'",
        "error = [['a']]",
        "sharpness = [1]",
        "brightness = [9, 3]",
        "colour = 3",
        "bias = 3",
    ],
)
def test_a_damaged_resolution_is_named_with_its_record(tmp_path: Path, table: str) -> None:
    path = tmp_path / "a.toml"
    write_record(NetworkRecord("a", "light", "a.safetensors", "0"), path)
    path.write_text(f"{path.read_text()}\n[resolution]\n{table}\n")
    with pytest.raises(WeightsError, match=r"a\.toml.*resolution"):
        read_record(path)


def test_damage_speaks_against_a_count() -> None:
    density = DensityMap.empty((1600, 800))
    density.cells[:] = 0.01
    halves = [
        Looked(View(Window(left, 0, 800, 800), (800, 800)), 1.0, None, missing)
        for left, missing in ((0, 0.0), (800, 0.5))
    ]
    interval = interval_of(density, halves, lambda view: Resolution())
    assert interval.doubts[0] == "25% of the image is damaged, and people there are not counted"


def textured(size: int = 256, seed: int = 0) -> NDArray[np.uint8]:
    """Detail of all sizes, as photographs have it: (size, size, 3)."""
    chance, total = np.random.default_rng(seed), np.zeros((size, size))
    for block in (1, 2, 4, 8, 16, 32):
        total += np.kron(
            chance.normal(0, math.sqrt(block) * 4, (size // block, size // block)), np.ones((block, block))
        )
    return np.repeat(np.clip(total + 120, 0, 255).astype(np.uint8)[:, :, None], 3, axis=2)


def blurred(pixels: NDArray[np.uint8], sigma: float) -> NDArray[np.uint8]:
    return gaussian_filter(pixels.astype(np.float32), (sigma, sigma, 0)).astype(np.uint8)


def test_sharpness_falls_with_blur_and_rises_with_noise() -> None:
    sharp = textured()
    noise = np.random.default_rng(1).normal(0, 60, sharp.shape)
    noisy = np.clip(sharp + noise, 0, 255).astype(np.uint8)
    found = [appearance_of(pixels).sharpness or 0 for pixels in (blurred(sharp, 4), blurred(sharp, 1), sharp, noisy)]
    assert found == sorted(found)
    assert 0.2 < found[0] < 0.35
    assert found[3] > 1.2 * found[2]
    assert appearance_of((sharp * 0.5).astype(np.uint8)).sharpness == pytest.approx(found[2], rel=0.03)
    assert appearance_of(np.repeat(np.repeat(sharp, 2, 0), 2, 1), enlarged=2.0).sharpness == pytest.approx(found[2])
    assert appearance_of(np.full((64, 64, 3), 9, np.uint8)) == Appearance(9.0, None)
    assert appearance_of(np.full((1, 1, 3), 9, np.uint8)) == Appearance(9.0, None)
    large = appearance_of(np.tile(sharp, (4, 4, 1)))
    assert (large.brightness, large.sharpness) == (pytest.approx(sharp.mean(), 0.03), pytest.approx(found[2], 0.2))


@pytest.mark.parametrize(
    ("appearance", "said"),
    [
        (Appearance(20, 0.5), "darker"),
        (Appearance(220, 0.5), "brighter"),
        (Appearance(100, 0.3), "more blurred"),
        (Appearance(100, 1.3), "noisier"),
        (Appearance(100, 0.5), None),
        (Appearance(100, None), None),
        (None, None),
    ],
)
def test_an_image_unlike_those_measured_is_told(appearance: Appearance | None, said: str | None) -> None:
    measured = replace(MEASURED, brightness=(40.0, 200.0), sharpness=(0.4, 1.2))
    for canvas in (evenly((512, 512), 32), DensityMap.empty((512, 512))):
        looked = [replace(look, appearance=appearance) for look in seen_whole(canvas, (512, 512))]
        doubts = interval_of(canvas, looked, lambda view: measured).doubts
        assert doubts == ((f"the image is {said} than any that the network was measured on",) if said else ())


def test_a_dark_part_is_told_by_its_people() -> None:
    canvas, measured = evenly((512, 512), 32), replace(MEASURED, brightness=(40.0, 200.0))
    day, night = Appearance(90, 0.5), Appearance(9, 0.5)
    part = Looked(View(Window(0, 0, 128, 512), (128, 512), 1), 64.0, appearance=night)
    looked = [replace(seen_whole(canvas, (512, 512))[0], appearance=day), part]
    (doubt,) = interval_of(canvas, looked, lambda view: measured).doubts
    assert doubt == "25% of the people are where the image is darker than any that the network was measured on"
    assert interval_of(canvas, looked[:1], lambda view: measured).doubts == ()


def test_calibration_keeps_how_light_and_sharp_its_images_are() -> None:
    seen = photographs(3, 0, (16,))
    nobody = replace(seen[0], truth_xy=np.zeros((0, 2)), appearance=Appearance(1, 9.0))
    seen = [
        replace(one, appearance=Appearance(light, sharp))
        for one, light, sharp in zip(seen, (60.00049, 99, 180), (0.5, None, 0.9), strict=True)
    ]
    resolution = fit_resolution({1.0: [[*seen, nobody]]}, 1.0, 8)
    assert resolution is not None
    assert (resolution.brightness, resolution.sharpness) == ((60.0, 180.0), (0.5, 0.9))
