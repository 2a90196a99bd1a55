"""Crops: heads stay where they are, scales are the recipe's, and a step's crops follow from its number."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
import torch
from numpy.typing import NDArray
from train_fakes import RECIPE, Tiny, batch, options, same, write_photos

from gigacount.datasets import Sample
from gigacount.geometry import Window
from gigacount.train.crops import Colours, CropHeads, CropMaker, around, choose, cut, draw_scale, grid_cell, place
from gigacount.train.recipes import RECIPES, Augmentation, PeopleFree, Recipe
from gigacount.train.sources import TrainingPicture, TrainingSet, open_sources
from gigacount.train.validate import heads_in, views_of


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("photos"))


def picture(photos: Path, points: list[tuple[float, float]], name: str = "0.png") -> TrainingPicture:
    return TrainingPicture(Sample(photos / name, np.array(points, np.float64).reshape(-1, 2)))


def sized(tmp_path: Path, width: int, height: int, heads: int = 1) -> TrainingPicture:
    path = tmp_path / f"{width}x{height}.png"
    pyvips.Image.black(width, height, bands=3).write_to_file(str(path))
    return TrainingPicture(Sample(path, np.full((heads, 2), 5.0)))


class HeadsOnly(Tiny):
    """Targets are the points and boxes themselves, so that a test sees where they went."""

    def targets(
        self, points_xy: NDArray[np.float64], size_wh: tuple[int, int], boxes_xyxy: NDArray[np.float64] | None = None
    ) -> dict[str, NDArray[np.float32]]:
        super().targets(points_xy, size_wh)
        assert boxes_xyxy is not None
        return {"heads": points_xy.astype(np.float32), "boxes": boxes_xyxy.astype(np.float32)}


@pytest.mark.parametrize(
    "augmentation",
    [
        Augmentation(flip=0.5, scale=(0.5, 2)),
        Augmentation(flip=0.5, grid=1.0),
        Augmentation(flip=0.5, fill=True, scale=(0.2, 0.4)),
        Augmentation(flip=0.5, scales=(1.0, 0.25), fill=True),
        Augmentation(flip=0.5, scale=(0.5, 2), stretch=0.6, tint=0.5, gamma=(0.5, 2), crowd=0.5),
    ],
)
def test_crops_keep_heads_where_they_are(photos: Path, augmentation: Augmentation) -> None:
    """A white square on black, its head and box: after any crop, scale and mirroring the head is on white, and so is
    what lies in the box and nothing beside it."""
    pixels = np.zeros((160, 200, 3), np.uint8)
    pixels[70:90, 110:130] = 255
    pyvips.Image.new_from_array(pixels).write_to_file(str(photos / "square.png"))
    sample = Sample(photos / "square.png", np.array([[120.0, 80.0]]), np.array([[110.0, 70.0, 130.0, 90.0]]))
    source = TrainingSet("csv", 1, [TrainingPicture(sample)], [])
    recipe = Recipe(crop_wh=(128, 96), batch=1, augmentation=augmentation, mean=(0, 0, 0), std=(1, 1, 1))
    seen = 0
    for step in range(60):
        images, targets = batch(CropMaker([source], HeadsOnly(), recipe, seed=1), step)
        assert images.shape == (1, 3, 96, 128)
        for x, y in targets["heads"][0].tolist():
            assert images[0, 0, int(y), int(x)] > 0.5
            left, top, right, bottom = targets["boxes"][0, 0].tolist()
            assert left < x < right
            assert top < y < bottom
            inside, white = max(left, 0) + 1.5, max(top, 0) + 1.5
            assert images[0, 0, int(white), int(inside)] > 0.5
            if left >= 3:
                assert images[0, 0, int(y), int(left - 2)] < 0.5
            seen += 1
    assert seen > 10


def test_the_crops_of_a_step_follow_from_its_number_alone(photos: Path) -> None:
    sources = open_sources(options(photos, photos / "none"))
    one, other = (CropMaker(sources, Tiny(), RECIPE, seed=3) for _ in range(2))
    for step in (5, 2):
        images, targets = batch(one, step)
        again, targets_again = batch(other, step)
        assert torch.equal(images, again)
        assert same(targets, targets_again)
    assert not torch.equal(batch(one, 0)[0], batch(one, 1)[0])
    assert not torch.equal(batch(one, 0, rank=0)[0], batch(one, 0, rank=1)[0])


def test_a_window_past_the_edge_is_grey_there(photos: Path) -> None:
    pixels = cut(picture(photos, []), Window(-50, 0, 100, 100), (100, 100))
    assert pixels.shape == (3, 100, 100)
    assert pixels[:, :, :50].eq(127).all()
    assert not pixels[:, :, 60:].eq(127).all()


def test_large_pictures_are_read_where_the_crop_falls(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = cut(picture(photos, []), Window(20, 10, 100, 80), (50, 40))
    monkeypatch.setattr("gigacount.train.sources.SMALL_PX", 100)
    windowed = picture(photos, [])
    part = cut(windowed, Window(20, 10, 100, 80), (50, 40))
    assert not windowed.small
    assert (whole.float() - part.float()).abs().mean() < 5


def test_places_lie_inside_or_hang_over() -> None:
    rng = np.random.default_rng(0)
    assert {place(10, 8, rng) for _ in range(100)} == {0, 1, 2}
    assert {place(8, 10, rng) for _ in range(100)} == {0, -1, -2}


def test_a_crop_around_a_head_holds_it_anywhere(tmp_path: Path) -> None:
    lone = TrainingPicture(Sample(sized(tmp_path, 1000, 400).sample.image, np.array([[970.5, 200.2]])))
    rng = np.random.default_rng(0)
    recipe = Recipe(crop_wh=(100, 100), augmentation=Augmentation(crowd=1.0))
    windows = [choose(lone, recipe, rng)[0] for _ in range(300)]
    assert all(w.left <= 970 < w.right <= 1000 and w.top <= 200 < w.bottom for w in windows)
    assert min(w.top for w in windows) < 110
    assert max(w.top for w in windows) > 190
    assert {around(5, 8, 10, rng) for _ in range(100)} == {0, -1, -2}


def test_head_sizes_are_learned_from_crops_with_heads(tmp_path: Path) -> None:
    lone = TrainingPicture(Sample(sized(tmp_path, 1000, 400).sample.image, np.array([[970.5, 200.2]])))
    recipe = replace(RECIPES["head-sizes"].recipe, crop_wh=(64, 64))
    rng = np.random.default_rng(0)
    windows = [choose(lone, recipe, rng)[0] for _ in range(100)]
    assert all(w.left <= 970 < w.right and w.top <= 200 < w.bottom for w in windows)


def test_the_grid_is_that_of_deepcounts_inference() -> None:
    """1100 x 700 px in tiles of 512 x 384: 2 columns, and at that scale 651.6 px high, so 2 rows."""
    rng = np.random.default_rng(0)
    cells = {grid_cell((1100, 700), (512, 384), rng) for _ in range(100)}
    assert cells == {Window(x, y, 550, 350) for x in (0, 550) for y in (0, 350)}
    assert grid_cell((100, 60), (512, 384), rng) == Window(0, 0, 100, 60)


def test_zoom_levels_run_from_the_whole_picture_to_its_own_size(tmp_path: Path) -> None:
    """GigaZoom's exponential levels: 3840 x 2160 px into 384 x 216 is a tenth; the median is its root."""
    augmentation, rng, large = Augmentation(zoom_wh=(384, 216)), np.random.default_rng(0), sized(tmp_path, 3840, 2160)
    scales = np.array([draw_scale(large, augmentation, rng) for _ in range(500)])
    assert 0.1 <= scales.min() < 0.11
    assert 0.9 < scales.max() <= 1
    assert np.median(scales) == pytest.approx(0.1**0.5, rel=0.15)
    assert draw_scale(sized(tmp_path, 300, 200), augmentation, rng) == 1


def test_a_picture_is_shrunk_before_its_crops_are_cut(tmp_path: Path) -> None:
    recipe = Recipe(crop_wh=(100, 100), fit_wh=(200, 100), augmentation=Augmentation(flip=0))
    window, size = choose(sized(tmp_path, 800, 400), recipe, np.random.default_rng(0))
    assert size == (100, 100)
    assert (window.width, window.height) == (400, 400)
    whole = choose(sized(tmp_path, 800, 400), replace(recipe, crop_wh=None), np.random.default_rng(0))
    assert whole == (Window(0, 0, 800, 400), (200, 100))


def test_resized_crops_are_stretched_and_native_ones_are_not(tmp_path: Path) -> None:
    augmentation, rng = Augmentation(scales=(0.5, 1.0), stretch=0.4), np.random.default_rng(0)
    recipe = Recipe(crop_wh=(200, 100), augmentation=augmentation)
    windows = [choose(sized(tmp_path, 1200, 800), recipe, rng)[0] for _ in range(200)]
    shapes = np.array([(window.width, window.height) for window in windows if window.size_wh != (200, 100)])
    ratios = np.log(shapes[:, 0] / shapes[:, 1] / 2)
    assert len(shapes) == pytest.approx(100, abs=25)
    assert -0.42 < ratios.min() < -0.3
    assert 0.3 < ratios.max() < 0.42
    assert shapes.prod(1) == pytest.approx(400 * 200, rel=0.01)


def recoloured(pixels: torch.Tensor, seed: int = 0, **wanted: Any) -> torch.Tensor:
    changed = pixels.clone()
    Colours.draw(Augmentation(**wanted), np.random.default_rng(seed)).change(changed)
    return changed


def test_a_tint_changes_colours_each_by_itself() -> None:
    grey = torch.full((3, 2, 2), 0.5)
    gains = recoloured(grey, tint=0.2, gamma_probability=1.0)[:, 0, 0] / 0.5
    assert len(set(gains.tolist())) == 3
    assert ((gains.log().abs() > 0) & (gains.log().abs() < 0.2)).all()
    assert torch.equal(recoloured(grey, tint=0.2, gamma_probability=0.0), grey)


def test_colours_go_the_brightness_changes_and_noise_follows_from_its_seed() -> None:
    pixels = torch.rand(3, 40, 40, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(recoloured(pixels, grey=1.0), pixels.mean(0).expand(3, -1, -1))
    assert torch.allclose(recoloured(pixels, gamma=(2.0, 2.0), gamma_probability=1.0), pixels**2)
    soft = recoloured(pixels, soft=1.0)
    assert soft.shape == pixels.shape
    assert soft.std() < 0.7 * pixels.std()
    noisy = recoloured(torch.full((3, 40, 40), 0.5), noise=1.0)
    assert 2 / 255 < noisy.std() < 12 / 255
    assert torch.equal(noisy, recoloured(torch.full((3, 40, 40), 0.5), noise=1.0))
    assert not torch.equal(noisy, recoloured(torch.full((3, 40, 40), 0.5), 1, noise=1.0))


def test_small_pictures_are_enlarged_to_fill_a_crop_or_lie_in_grey(tmp_path: Path) -> None:
    small, rng = sized(tmp_path, 50, 80), np.random.default_rng(0)
    window, _ = choose(small, Recipe(crop_wh=(100, 100), augmentation=Augmentation(fill=True)), rng)
    assert (window.width, window.height) == (50, 50)
    window, _ = choose(small, Recipe(crop_wh=(100, 100)), rng)
    assert (window.width, window.height) == (100, 100)


def test_crops_are_resampled_by_the_kernels_of_the_recipe(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown, window, size = picture(photos, []), Window(20, 10, 50, 40), (150, 120)
    one, other = (cut(shown, window, size, kernel) for kernel in ("bilinear", "bicubic"))
    assert (one.float() - other.float()).abs().max() > 2
    used: set[str] = set()

    def told(picture: TrainingPicture, window: Window, size_wh: tuple[int, int], kernel: str) -> torch.Tensor:
        used.add(kernel)
        return cut(picture, window, size_wh, kernel)

    monkeypatch.setattr("gigacount.train.crops.cut", told)
    sources = open_sources(options(photos, photos / "none"))
    for kernels in (("bilinear",), ("bilinear", "bicubic")):
        augmentation = replace(RECIPE.augmentation, kernels=kernels)
        maker = CropMaker(sources, Tiny(), replace(RECIPE, augmentation=augmentation), seed=3)
        for step in range(8):
            maker.crops(step)
        assert used == set(kernels)


def test_people_free_pictures_are_enlarged_further(tmp_path: Path) -> None:
    augmentation = Augmentation(scale=(1.0, 2.0), people_free=PeopleFree(close_up=1.6))
    rng = np.random.default_rng(0)
    empty, crowd = sized(tmp_path, 60, 60, heads=0), sized(tmp_path, 61, 60)
    assert max(draw_scale(empty, augmentation, rng) for _ in range(300)) > 3
    assert max(draw_scale(crowd, augmentation, rng) for _ in range(300)) <= 2
    scales = np.array([draw_scale(empty, augmentation, rng) for _ in range(1000)])
    assert 0.75 < (scales >= 1.6).mean() < 0.85  # half of them, and 60 % of the others
    assert scales.min() < 1.1
    assert max(draw_scale(empty, replace(augmentation, people_free=PeopleFree()), rng) for _ in range(300)) <= 2


def black_and_grey(folder: Path) -> list[TrainingSet]:
    """A black picture with a head in its middle, and one without that is dark on the left and light on the right."""
    ramp = np.zeros((64, 64, 3), np.uint8)
    pyvips.Image.new_from_array(ramp).write_to_file(str(folder / "head.png"))
    ramp[:] = np.linspace(100, 200, 64)[None, :, None]
    pyvips.Image.new_from_array(ramp).write_to_file(str(folder / "nobody.png"))
    return [
        TrainingSet(name, 1.0, [picture(folder, points, f"{name}.png")], [])
        for name, points in (("head", [(32.0, 32.0)]), ("nobody", []))
    ]


def test_people_free_crops_are_turned_by_quarters(tmp_path: Path) -> None:
    _, nobody = black_and_grey(tmp_path)
    augmentation = Augmentation(flip=0.0, people_free=PeopleFree(turn=1.0))
    recipe = Recipe(crop_wh=(64, 64), batch=1, augmentation=augmentation, mean=(0, 0, 0), std=(1, 1, 1))
    ends = set()
    for step in range(20):
        made = batch(CropMaker([nobody], HeadsOnly(), recipe, seed=0), step)[0][0, 0]
        ends.add(tuple(bool(grey > 0.6) for grey in (made[0, 0], made[0, -1], made[-1, -1], made[-1, 0])))
    turned_once, half, thrice = (True, True, False, False), (True, False, False, True), (False, False, True, True)
    assert ends == {turned_once, half, thrice}


def test_a_mosaic_has_the_heads_of_its_tiles(tmp_path: Path) -> None:
    """2 x 2 whole pictures of 64 px in 129: every black tile has its head in its middle, and only there."""
    recipe = Recipe(
        crop_wh=(129, 129),
        batch=1,
        augmentation=Augmentation(mosaic=(0.0, 1.0), fill=True),
        mean=(0, 0, 0),
        std=(1, 1, 1),
    )
    maker, black = CropMaker(black_and_grey(tmp_path), HeadsOnly(), recipe, seed=0), 0
    for step in range(12):
        images, targets = batch(maker, step)
        heads = {(round(x / 32), round(y / 32)) for x, y in targets["heads"][0].tolist()}
        middles = {(x, y) for x in (1, 3) for y in (1, 3) if images[0, 0, 32 * y, 32 * x] < 0.1}
        assert heads == middles
        black += len(middles)
    assert 12 < black < 36


def test_a_head_on_the_edge_of_a_mosaic_stays_inside(tmp_path: Path) -> None:
    """Mirrored, a head at 0 lies just before the end of its tile, and moving the tile rounds that up."""
    edge = sized(tmp_path, 112, 112)
    edge = TrainingPicture(Sample(edge.sample.image, np.array([[0.0, 0.0], [0.0, 56.0]])))
    recipe = Recipe(crop_wh=(448, 448), batch=1, augmentation=Augmentation(flip=1.0, mosaic=(0, 0, 0, 1.0)))
    _, targets = batch(CropMaker([TrainingSet("csv", 1.0, [edge], [])], HeadsOnly(), recipe, seed=0), 0)
    assert targets["heads"].shape[1] == 32  # `targets` itself refuses any outside


def test_pictures_from_above_are_turned_by_any_angle(tmp_path: Path) -> None:
    """A white head on black stays under its point whatever the angle, and stands at all sides of the crop's middle."""
    pixels = np.zeros((300, 400, 3), np.uint8)
    pixels[90:110, 290:310] = 255
    pyvips.Image.new_from_array(pixels).write_to_file(str(tmp_path / "above.png"))
    sample = Sample(tmp_path / "above.png", np.array([[300.0, 100.0]]), np.array([[290.0, 90.0, 310.0, 110.0]]))
    source = TrainingSet("csv", 1.0, [TrainingPicture(sample)], [], from_above=True)
    augmentation = Augmentation(flip=0.0, above=1.0, kernels=("bilinear", "bicubic"))
    recipe = Recipe(crop_wh=(192, 128), batch=1, augmentation=augmentation, mean=(0, 0, 0), std=(1, 1, 1))
    corners, sides = 0, set()
    for step in range(80):
        images, targets = batch(CropMaker([source], HeadsOnly(), recipe, seed=1), step)
        for x, y in targets["heads"][0].tolist():
            assert images[0, 0, int(y), int(x)] > 0.6
            sides.add((x > 96, y > 64))
            centre = (targets["boxes"][0, 0, :2] + targets["boxes"][0, 0, 2:]) / 2
            assert centre.tolist() == pytest.approx([x, y], abs=0.01)
            row = images[0, 0].gt(0.5).nonzero().float()
            corners += bool((row - row.mean(0)).abs().amax(0).prod() > 1.5 * len(row) / 4)  # a square on its tip
    assert len(sides) == 4
    assert corners > 5


def test_a_crop_knows_the_boxes_of_some_heads_alone() -> None:
    boxed = CropHeads(np.array([[5.0, 5.0], [50.0, 50.0]]), np.array([[2.0, 2.0, 8.0, 8.0], [60.0, 60.0, 70.0, 70.0]]))
    both = CropHeads.joined([boxed, CropHeads.of(Sample(Path("a.png"), np.array([[3.0, 4.0]])))]).inside((55, 55))
    assert len(both.points_xy) == 3
    assert both.boxes_xyxy[0].tolist() == [2, 2, 8, 8]
    assert np.isnan(both.boxes_xyxy[1:]).all()  # one is labelled beside its head, the other has none
    mirrored = both.mirrored(55)
    assert mirrored.boxes_xyxy[0].tolist() == [47, 2, 53, 8]


def test_gigazooms_network_is_validated_in_the_windows_of_its_zoom_levels(tmp_path: Path) -> None:
    """The whole picture, and two zooms of ten levels into the dense places, down to its own size."""
    crowded = sized(tmp_path, 3840, 2160, heads=0)
    points = np.concatenate([np.random.default_rng(0).normal(at, 40, (50, 2)) for at in ((900, 700), (3000, 1500))])
    crowded = TrainingPicture(Sample(crowded.sample.image, points))
    views = views_of(crowded, Recipe(augmentation=Augmentation(zoom_wh=(384, 216))))
    assert [view.level for view in views] == [0] + [level for level in range(1, 11) for _ in range(2)]
    assert views[0].window == Window(0, 0, 3840, 2160)
    assert {view.window.size_wh for view in views[-2:]} == {(384, 216)}
    assert all(view.size_wh == (384, 216) for view in views)
    assert [heads_in(crowded, view.window) for view in views[-2:]] == [50, 50]
    assert [view.size_wh for view in views_of(crowded, Recipe())] == [(3840, 2160)]


def test_crops_lie_at_all_positions_one_as_likely_as_the_other(tmp_path: Path) -> None:
    """A picture with 101 x 1 positions for a crop, and one with a single position, is drawn as often as it has some."""
    source = TrainingSet("csv", 1, [sized(tmp_path, 200, 100), sized(tmp_path, 100, 100)], [])
    recipe = Recipe(crop_wh=(100, 100), batch=1, augmentation=Augmentation(everywhere=True))
    maker, rng = CropMaker([source], HeadsOnly(), recipe, seed=0), np.random.default_rng(0)
    drawn = [maker._draw_picture(source, recipe, rng) for _ in range(2000)]
    assert 0 < drawn.count(1) < 60  # 2,000 / 102
    lefts = np.array([choose(source.train[0], recipe, rng)[0].left for _ in range(2000)])
    assert (lefts.min(), lefts.max()) == (0, 100)
    assert np.histogram(lefts, 4, (0, 101))[0] == pytest.approx([500] * 4, rel=0.2)
