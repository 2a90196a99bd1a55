"""Scenes: the truth is exact and repeatable, and whatever is painted is where the truth says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from gigacount.datasets import read
from gigacount.datasets.entries import Sample
from gigacount.errors import DataError, OutputError, UsageError
from gigacount.geometry import Window, whole
from gigacount.image.vips import load_drawing, to_array
from gigacount.synthesize import (
    Scene,
    SceneOptions,
    Truth,
    compose_scene,
    draw_image,
    draw_scene,
    write_panda,
    write_scene,
    write_truth,
)
from gigacount.synthesize.composed import Composition, estimate_head_px
from gigacount.synthesize.crowd import Build, Person, make_build, visible
from gigacount.synthesize.overhead import HEAD_WH, THINGS, make_sun
from gigacount.synthesize.painting import HALO, PERSON, SHADOW, Drawing
from gigacount.synthesize.wardrobe import Taste, person_svg

SMALL = SceneOptions(size_wh=(900, 600), people=60, seed=5, head_px=(5.0, 40.0))
ABOVE = replace(SMALL, head_px=(10.0, 14.0), view="above")
MAN = Build(stature=7.2, width=1.0, view="front", hair="short", hat="", pose="down", flag=False, skirt=False)
PHOTO_WH = (160, 120)


@pytest.fixture(scope="module")
def drawn() -> Scene:
    return draw_scene(SMALL)


@pytest.fixture(scope="module")
def above() -> Scene:
    return draw_scene(ABOVE)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    """Pictures with structure at every pixel, and heads at known places with boxes."""
    folder = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(0)
    samples = []
    for i in range(4):
        coarse = pyvips.Image.new_from_array(rng.integers(0, 255, (15, 20, 3), dtype=np.uint8))
        coarse.resize(PHOTO_WH[0] / 20).write_to_file(str(folder / f"{i}.png"))
        points = rng.uniform((10, 10), (150, 110), (12 + i, 2))
        samples.append(Sample(folder / f"{i}.png", points, np.concatenate([points - 4, points + 4], 1)))
    return samples


@pytest.fixture(scope="module")
def composed(photographs: list[Sample]) -> Scene:
    return compose_scene(replace(SMALL, people=50), photographs)


def painter(scene: Scene) -> Any:
    """What paints it."""
    return getattr(scene.paint, "__self__")  # noqa: B009


def texts(truth: Truth, folder: Path) -> list[bytes]:
    folder.mkdir()
    return [path.read_bytes() for path in [*write_truth(truth, folder / "a.tif"), write_panda({"a": truth}, folder)]]


@pytest.fixture(params=[SMALL, ABOVE], ids=["side", "above"])
def view(request: pytest.FixtureRequest, drawn: Scene, above: Scene) -> tuple[SceneOptions, Scene]:
    return request.param, drawn if request.param is SMALL else above


def test_same_seed_same_bytes_of_truth(view: tuple[SceneOptions, Scene], tmp_path: Path) -> None:
    options, scene = view
    first, again = texts(scene.truth, tmp_path / "1"), texts(draw_scene(options).truth, tmp_path / "2")
    assert first == again
    assert first != texts(draw_scene(replace(options, seed=6)).truth, tmp_path / "3")


def test_composed_truth_repeats(composed: Scene, photographs: list[Sample], tmp_path: Path) -> None:
    again = compose_scene(replace(SMALL, people=50), photographs)
    assert texts(composed.truth, tmp_path / "1") == texts(again.truth, tmp_path / "2")


def test_asked_for_heads_are_all_inside(view: tuple[SceneOptions, Scene]) -> None:
    truth = view[1].truth
    assert truth.boxes_xyxy is not None
    assert len(truth.points_xy) == SMALL.people
    assert (truth.boxes_xyxy >= 0).all()
    assert (truth.boxes_xyxy <= (900, 600, 900, 600)).all()
    assert truth.points_xy == pytest.approx((truth.boxes_xyxy[:, :2] + truth.boxes_xyxy[:, 2:]) / 2)


def test_heads_grow_towards_the_front() -> None:
    truth = draw_scene(SceneOptions(size_wh=(4000, 3000), people=400, seed=1, head_px=(8.0, 100.0))).truth
    assert truth.boxes_xyxy is not None
    height = truth.boxes_xyxy[:, 3] - truth.boxes_xyxy[:, 1]
    assert np.corrcoef(height, truth.points_xy[:, 1])[0, 1] > 0.9
    assert height.min() < 10
    assert height.max() > 80


@pytest.mark.parametrize("options", [SMALL, ABOVE], ids=["side", "above"])
def test_nobody_means_nobody(options: SceneOptions) -> None:
    assert len(draw_scene(replace(options, people=0)).truth.points_xy) == 0


@pytest.mark.parametrize("view", ["side", "above"])
def test_as_many_as_there_is_room_for(view: str) -> None:
    crowded = draw_scene(SceneOptions(size_wh=(200, 300), people=3000, head_px=(10.0, 20.0), view=view))
    assert 15 < len(crowded.truth.points_xy) < 300
    with pytest.raises(UsageError, match="smaller heads"):
        draw_scene(SceneOptions(size_wh=(40, 40), people=50, head_px=(60.0, 70.0), view=view))


@pytest.mark.parametrize("seed", range(4))
def test_from_above_heads_are_alike_and_apart(seed: int) -> None:
    truth = draw_scene(replace(ABOVE, seed=seed, people=200)).truth
    assert truth.boxes_xyxy is not None
    sides = truth.boxes_xyxy[:, 2:] - truth.boxes_xyxy[:, :2]
    length = sides.max(1)
    assert length.max() < 1.6 * np.median(length)
    assert length.min() > 0.5 * np.median(length)
    assert 10 * HEAD_WH[0] < np.median(length) < 14
    apart = cKDTree(truth.points_xy).query(truth.points_xy, k=2)[0][:, 1]
    assert apart.min() > 16.0  # nobody stands in another's place


def test_from_above_people_look_every_way(above: Scene) -> None:
    turns = np.array([figure.turn for figure in painter(above).figures if figure.kind == PERSON])
    assert len(np.unique(np.floor(turns % (2 * np.pi) / (np.pi / 2)))) > 2


def test_shadows_fall_one_way_and_do_not_add_up() -> None:
    """People of one scene against the same without shadows: what is darker lies on one side of the feet."""
    drawing = painter(next(scene for seed in range(9) if deep_shadows(scene := draw_scene(replace(ABOVE, seed=seed)))))
    window = whole(drawing.size_wh)
    casts = np.array([figure.kind.startswith(SHADOW) for figure in drawing.figures])
    assert np.count_nonzero(casts) >= ABOVE.people
    bare = replace(drawing, figures=tuple(f for f in drawing.figures if not f.kind.startswith(SHADOW)))
    bare = replace(bare, boxes=drawing.boxes[~casts])
    lit, shaded = bare.paint(window).astype(int), drawing.paint(window).astype(int)
    assert (lit - shaded > 15).any(2).mean() > 0.01
    first = drawing.figures[int(np.flatnonzero(casts)[0])]
    box = drawing.boxes[np.flatnonzero(casts)[:1]]
    once = replace(drawing, figures=(first,), boxes=box).paint(window)
    twice = replace(drawing, figures=(first, first), boxes=np.concatenate([box, box])).paint(window)
    assert np.array_equal(once, twice)


def deep_shadows(scene: Scene) -> bool:
    return bool(painter(scene).svg.args[2].dark > 0.3)


def test_a_sun_is_always_up() -> None:
    for seed in range(50):
        sun = make_sun(np.random.default_rng(seed))
        assert 0 < np.hypot(*sun.shift) < 2.2
        assert 0 < sun.dark < 0.6


@pytest.mark.parametrize("kind", THINGS)
def test_things_from_above_stay_within_their_reach(kind: str) -> None:
    """All that is painted, and every outline that casts a shadow."""
    thing = THINGS[kind](np.random.default_rng(3))
    reach, side = thing.reach, 200
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" fill="none" width="{side}" height="{side}" '
        f'viewBox="{-2 * reach} {-2 * reach} {4 * reach} {4 * reach}">{thing.svg}</svg>'
    )
    opaque = to_array(load_drawing(svg.encode()))[..., 3] > 0
    y, x = np.nonzero(opaque)
    assert len(x)
    assert np.hypot(x + 0.5 - side / 2, y + 0.5 - side / 2).max() < side / 4 + 2
    for outline, low, high in thing.solids:
        assert np.hypot(*outline.T).max() <= reach + 1e-9
        assert 0 <= low < high


def test_default_heads_suit_the_picture() -> None:
    assert SceneOptions(view="above").heads_px == (4.0, 40.0)
    assert SceneOptions(size_wh=(400, 400), people=400, view="above").heads_px == (4.0, 5.0)
    assert SceneOptions().heads_px == (8.0, 160.0)
    assert SceneOptions(size_wh=(100_000, 60_000)).heads_px == (8.0, 160.0)
    assert SceneOptions(size_wh=(6000, 3600)).heads_px == (4.0, 60.0)


def test_heads_are_painted_where_the_truth_says(view: tuple[SceneOptions, Scene]) -> None:
    """Against the same drawing without its people: changed at every head, unchanged where nobody reaches."""
    scene = view[1]
    drawing, window = painter(scene), whole(scene.size_wh)
    assert isinstance(drawing, Drawing)
    is_thing = np.array([not figure.kind.endswith(PERSON) for figure in drawing.figures])
    things = tuple(figure for figure in drawing.figures if not figure.kind.endswith(PERSON))
    deserted = replace(drawing, figures=things, boxes=drawing.boxes[is_thing])
    change = np.abs(drawing.paint(window).astype(int) - deserted.paint(window)).max(2)
    truth = scene.truth
    assert truth.boxes_xyxy is not None
    for (x, y), (left, top, right, bottom) in zip(truth.points_xy, truth.boxes_xyxy, strict=True):
        reach_x, reach_y = max(int((right - left) / 4), 1), max(int((bottom - top) / 4), 1)
        middle = change[int(y) - reach_y : int(y) + reach_y + 1, int(x) - reach_x : int(x) + reach_x + 1]
        assert np.percentile(middle, 90) > 15, (x, y)
    reached = np.zeros((600, 900), bool)
    for left, top, right, bottom in drawing.boxes[~is_thing]:
        reached[max(top - HALO, 0) : bottom + HALO, max(left - HALO, 0) : right + HALO] = True
    assert 0.1 < reached.mean() < 0.9
    assert not change[~reached].any()


@pytest.fixture(scope="module")
def wholes(drawn: Scene, above: Scene, composed: Scene) -> list[tuple[Scene, np.ndarray]]:
    return [(scene, scene.paint(whole(scene.size_wh))) for scene in (drawn, above, composed)]


@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_any_window_is_a_part_of_the_whole(data: st.DataObject, wholes: list[tuple[Scene, np.ndarray]]) -> None:
    scene, pixels = data.draw(st.sampled_from(wholes))
    left, top = data.draw(st.integers(0, 890)), data.draw(st.integers(0, 590))
    width, height = data.draw(st.integers(1, min(900 - left, 300))), data.draw(st.integers(1, min(600 - top, 300)))
    part = scene.paint(Window(left, top, width, height))
    assert np.array_equal(part, pixels[top : top + height, left : left + width])


def test_blocks_meet_without_a_seam() -> None:
    """A picture and figures larger than the blocks that are painted at once."""
    scene = draw_scene(SceneOptions(size_wh=(1060, 1040), people=4, seed=3, head_px=(140.0, 150.0), horizon=-7.0))
    top, bottom = scene.paint(Window(0, 0, 1060, 333)), scene.paint(Window(0, 333, 1060, 707))
    assert np.array_equal(np.concatenate([top, bottom]), scene.paint(whole(scene.size_wh)))


@pytest.mark.parametrize(
    ("offset", "expected"),
    [((0.0, 0.0), 1), ((0.1, 0.1), 1), ((0.9, 0.0), 2), ((0.0, -1.1), 2), ((0.0, 3.0), 1), ((0.5, 2.0), 1)],
    ids=["same place", "mostly hidden", "beside", "looks over", "behind the chest", "behind the shoulder"],
)
def test_hidden_heads_do_not_count(offset: tuple[float, float], expected: int) -> None:
    near = Person((500.0, 500.0), 20.0, 700.0, 1, MAN)
    far = Person((500.0 + 20 * offset[0], 500.0 + 20 * offset[1]), 20.0, 690.0, 2, MAN)
    seen = visible([far, near], mirrored=False)
    assert len(seen) == expected
    assert seen[0] is near


def test_a_raised_arm_hides_only_on_its_side() -> None:
    waving = replace(MAN, pose="wave")
    hand = np.array(waving.arm(1)[2])
    assert waving.covers(hand)
    assert not waving.covers(hand * (-1, 1))
    assert not MAN.covers(hand)


@pytest.mark.parametrize("seed", range(4))
def test_outline_is_what_is_painted(seed: int) -> None:
    """What the outline says is covered is opaque in the drawing, but for a few corners; what it leaves out is not."""
    rng = np.random.default_rng(seed)
    build = make_build(rng, 6.5, 0.3)
    left, top, right, bottom = build.bounds
    unit = 40
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" fill="none" width="{(right - left) * unit}" '
        f'height="{(bottom - top) * unit}" viewBox="{left} {top} {right - left} {bottom - top}">'
        f"{person_svg(build, rng, unit, Taste(1.0, 0.0, '#000000'))}</svg>"
    )
    opaque = to_array(load_drawing(svg.encode()))[..., 3] > 200
    y, x = np.indices(opaque.shape)
    outline = build.covers(np.stack([x / unit + left, y / unit + top], -1))
    assert (opaque & outline).sum() / (opaque | outline).sum() > 0.75


def test_photograph_is_found_at_its_place(composed: Scene, photographs: list[Sample]) -> None:
    composition = painter(composed)
    assert isinstance(composition, Composition)
    by_path = {sample.image: sample for sample in photographs}
    placed = []
    for patch in composition.patches:
        photo = pyvips.Image.new_from_file(str(patch.image))
        core = patch.core
        for x, y in by_path[patch.image].points_xy:
            (cx, cy) = patch.place(np.array([[x, y]]))[0]
            placed.append((cx, cy))
            scale = core.width / PHOTO_WH[0]
            assert cx == pytest.approx(core.left + (PHOTO_WH[0] - x if patch.mirrored else x) * scale, abs=1.0)
            assert cy == pytest.approx(core.top + y * core.height / PHOTO_WH[1], abs=1e-9)
        scaled = photo.thumbnail_image(core.width, height=core.height, size="force")
        expected = (scaled.fliphor() if patch.mirrored else scaled).numpy().astype(float)
        seen = composed.paint(core).astype(float)
        assert np.corrcoef(expected.ravel(), seen.ravel())[0, 1] > 0.98
    assert np.sort(placed, 0) == pytest.approx(np.sort(composed.truth.points_xy, 0))


def test_a_placed_point_shows_what_it_showed(tmp_path: Path) -> None:
    """One white pixel block at a labelled head, in a dark photograph, is white at the point of the scene."""
    pixels = np.full((120, 160, 3), 30, np.uint8)
    pixels[46:51, 66:71] = 255
    pyvips.Image.new_from_array(pixels).write_to_file(str(tmp_path / "dot.png"))
    dot = Sample(tmp_path / "dot.png", np.array([[68.5, 48.5]]))
    for seed in range(3):
        scene = compose_scene(replace(SMALL, people=1, seed=seed), [dot])
        ((x, y),) = scene.truth.points_xy
        around = scene.paint(Window(int(x) - 15, int(y) - 15, 31, 31)).astype(float)[..., 1]
        bright = np.argwhere(around > 150).mean(0) + 0.5 + (int(y) - 15, int(x) - 15)
        assert bright == pytest.approx((y, x), abs=0.6)


def test_photographs_do_not_touch(composed: Scene) -> None:
    composition = painter(composed)
    assert isinstance(composition, Composition)
    assert len(composition.patches) > 1
    covered = np.zeros((600, 900), int)
    for patch in composition.patches:
        assert whole((900, 600)).contains(patch.core)
        covered[patch.core.top : patch.core.bottom, patch.core.left : patch.core.right] += 1
    assert covered.max() == 1


def test_from_above_photographs_are_of_one_size(photographs: list[Sample]) -> None:
    composed = compose_scene(replace(ABOVE, people=50), photographs)
    assert composed.truth.boxes_xyxy is not None
    heights = composed.truth.boxes_xyxy[:, 3] - composed.truth.boxes_xyxy[:, 1]
    assert len(heights) > 20
    assert 9.5 < heights.min() <= heights.max() < 14.5
    assert heights.max() / heights.min() < 1.05


def test_composed_boxes_follow_their_heads(composed: Scene) -> None:
    truth = composed.truth
    assert truth.boxes_xyxy is not None
    assert truth.points_xy == pytest.approx((truth.boxes_xyxy[:, :2] + truth.boxes_xyxy[:, 2:]) / 2)
    assert (truth.boxes_xyxy[:, 2:] > truth.boxes_xyxy[:, :2]).all()


def test_photographs_without_boxes_give_points(photographs: list[Sample]) -> None:
    bare = [replace(sample, boxes_xyxy=None) for sample in photographs]
    assert compose_scene(SMALL, bare).truth.boxes_xyxy is None


def test_repeated_photographs_are_mirrored(photographs: list[Sample]) -> None:
    options = SceneOptions(size_wh=(3000, 2000), people=24, seed=1, head_px=(5.0, 40.0))
    composition = painter(compose_scene(options, photographs[:1]))
    assert isinstance(composition, Composition)
    assert [patch.mirrored for patch in composition.patches] in ([True, False], [False, True])


def test_composing_needs_people(photographs: list[Sample]) -> None:
    empty = [replace(sample, points_xy=np.zeros((0, 2)), boxes_xyxy=None) for sample in photographs]
    with pytest.raises(DataError, match="no head is labelled"):
        compose_scene(SMALL, empty)


def test_people_free_backgrounds_add_nobody(photographs: list[Sample]) -> None:
    options = SceneOptions(size_wh=(3000, 2000), people=20, seed=1, head_px=(5.0, 40.0))
    plain, filled = (compose_scene(options, photographs, extra) for extra in ([], [photographs[0].image]))
    assert np.array_equal(plain.truth.points_xy, filled.truth.points_xy)
    assert isinstance(painter(plain), Composition)
    assert isinstance(painter(filled), Composition)
    assert len(painter(filled).patches) == len(painter(plain).patches) + 1


def test_head_height_is_estimated_from_spacing() -> None:
    grid = np.stack(np.meshgrid(np.arange(6) * 30.0, np.arange(6) * 30.0), -1).reshape(-1, 2)
    sample = Sample(Path("x.jpg"), grid)
    assert estimate_head_px(sample) == pytest.approx(12.0)  # 0.4 of 30
    assert estimate_head_px(replace(sample, points_xy=grid[:3])) == 25.0
    boxes = np.concatenate([grid - 5, grid + np.array([5, 9])], 1)
    assert estimate_head_px(replace(sample, boxes_xyxy=boxes)) == 14.0


def test_tiff_holds_the_scene_in_tiles_and_levels(drawn: Scene, tmp_path: Path) -> None:
    path, steps = tmp_path / "scene.tif", []
    write_scene(drawn, path, progress=lambda done, total: steps.append((done, total)))
    picture = pyvips.Image.new_from_file(str(path))
    assert (picture.width, picture.height, picture.bands) == (900, 600, 3)
    assert picture.get("tile-width") == 256
    assert picture.get("n-pages") >= 2
    assert np.abs(picture.numpy().astype(int) - drawn.paint(whole(drawn.size_wh))).mean() < 4
    assert steps[-1] == (600, 600)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["scene.tif"]


def test_jpeg_holds_the_scene(drawn: Scene, tmp_path: Path) -> None:
    write_scene(drawn, tmp_path / "scene.jpg")
    picture = pyvips.Image.new_from_file(str(tmp_path / "scene.jpg"))
    assert (picture.width, picture.height) == (900, 600)
    assert np.abs(picture.numpy().astype(int) - drawn.paint(whole(drawn.size_wh))).mean() < 4


def test_many_bands_make_one_picture(drawn: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_scene(drawn, tmp_path / "one.tif")
    monkeypatch.setattr("gigacount.synthesize.write.BAND_BYTES", 3 * 900 * 70)
    monkeypatch.setattr("gigacount.synthesize.write.STRIP", 250)
    write_scene(drawn, tmp_path / "many.tif", workers=3)
    one, many = (pyvips.Image.new_from_file(str(tmp_path / name)).numpy() for name in ("one.tif", "many.tif"))
    assert np.array_equal(one, many)


def test_unknown_suffix_and_oversized_jpeg(drawn: Scene, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.tif or \.jpg"):
        write_scene(drawn, tmp_path / "scene.png")
    wide = Scene(Truth((70000, 100), np.zeros((0, 2))), drawn.paint)
    with pytest.raises(UsageError, match="65535"):
        write_scene(wide, tmp_path / "scene.jpg")


def test_failure_leaves_what_was_there(drawn: Scene, tmp_path: Path) -> None:
    def broken(window: Window) -> np.ndarray:
        raise RuntimeError("paint has run out")

    path = tmp_path / "scene.tif"
    path.write_text("precious")
    with pytest.raises(RuntimeError, match="paint has run out"):
        write_scene(Scene(drawn.truth, broken), path)
    assert path.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_written_is_told(drawn: Scene, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OutputError, match="file"):
        write_scene(drawn, tmp_path / "file" / "scene.tif")
    (tmp_path / "scene.tif").write_text("precious")
    (tmp_path / "scene.csv").write_text("precious")
    with pytest.raises(OutputError, match="exists already"):
        write_scene(drawn, tmp_path / "scene.tif", overwrite=False)
    with pytest.raises(OutputError, match="exists already"):
        write_truth(drawn.truth, tmp_path / "scene.tif", overwrite=False)
    assert (tmp_path / "scene.tif").read_text() == (tmp_path / "scene.csv").read_text() == "precious"


def test_truth_files_say_the_same(drawn: Scene, tmp_path: Path) -> None:
    names = [path.name for path in write_truth(drawn.truth, tmp_path / "scene.tif")]
    assert names == ["scene.csv", "scene.geojson"]
    assert (tmp_path / "scene.csv").read_text().startswith("image,x,y,left,top,right,bottom\nscene.tif,")
    heads = np.loadtxt(tmp_path / "scene.csv", delimiter=",", skiprows=1, usecols=range(1, 7))
    assert heads[:, :2] == pytest.approx(drawn.truth.points_xy, abs=6e-4)
    assert heads[:, 2:] == pytest.approx(drawn.truth.boxes_xyxy, abs=6e-4)
    features = json.loads((tmp_path / "scene.geojson").read_text())["features"]
    assert np.array([f["geometry"]["coordinates"] for f in features]) == pytest.approx(heads[:, :2])


@pytest.mark.parametrize("people", [60, 0])
def test_data_set_readers_read_the_truth(people: int, tmp_path: Path) -> None:
    truth = draw_scene(replace(SMALL, people=people)).truth
    pyvips.Image.black(*SMALL.size_wh, bands=3).write_to_file(str(tmp_path / "scene.tif"))
    write_truth(truth, tmp_path / "scene.tif")
    (table,), (geojson,) = read(f"csv:{tmp_path}", "all"), read(f"geojson:{tmp_path}", "all")
    assert table.image == geojson.image == tmp_path / "scene.tif"
    assert table.points_xy == pytest.approx(truth.points_xy, abs=6e-4)
    assert table.boxes_xyxy == pytest.approx(truth.boxes_xyxy, abs=6e-4)
    assert geojson.points_xy == pytest.approx(truth.points_xy, abs=6e-4)


def test_panda_reader_reads_panda_annotations(drawn: Scene, tmp_path: Path) -> None:
    write_scene(drawn, tmp_path / "scene.jpg")
    path = write_panda({"scene.jpg": drawn.truth}, tmp_path)
    assert path.name == "head_bbox_annotations.json"
    (sample,) = read(f"panda:{tmp_path}", "all")
    assert sample.image == tmp_path / "scene.jpg"
    assert sample.boxes_xyxy == pytest.approx(drawn.truth.boxes_xyxy)
    assert sample.points_xy == pytest.approx(drawn.truth.points_xy)


def test_panda_points_where_boxes_are_unknown(drawn: Scene, tmp_path: Path) -> None:
    write_scene(drawn, tmp_path / "scene.jpg")
    points = replace(drawn.truth, boxes_xyxy=None)
    assert write_panda({"scene.jpg": points}, tmp_path).name == "head_point_annotations.json"
    (sample,) = read(f"panda:{tmp_path}", "all")
    assert sample.boxes_xyxy is None
    assert sample.points_xy == pytest.approx(drawn.truth.points_xy)


@pytest.mark.parametrize(
    "change",
    [
        {"size_wh": (10, 10)},
        {"people": -1},
        {"seed": -1},
        {"head_px": (50.0, 20.0)},
        {"head_px": (0.5, 20.0)},
        {"horizon": 0.95},
        {"view": "below"},
    ],
    ids=str,
)
def test_absurd_options(change: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        replace(SMALL, **change)


def test_pictures_to_train_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gigacount.synthesize.drawn.MAX_PIXELS", 1.3e6)  # no zoom: quick
    several = [draw_image(seed) for seed in range(2)]
    for pixels, points in several:
        height, width, bands = pixels.shape
        assert (bands, pixels.dtype) == (3, np.uint8)
        assert 500 <= width < 1300
        assert 500 <= height < 1000
        assert ((points > 0) & (points < (width, height))).all()
    again = draw_image(1)
    assert np.array_equal(again[0], several[1][0])
    assert np.array_equal(again[1], several[1][1])
    assert len({points.size for _, points in several}) > 1


@pytest.mark.slow
@pytest.mark.parametrize("view", ["side", "above"])
def test_gigapixel_scene_needs_little_memory(view: str, tmp_path: Path) -> None:
    """26,908 x 15,024 with 5,000 people, drawn and written under 1 GB."""
    code = (
        "import sys; from pathlib import Path; from processes import memory_bytes;"
        "from gigacount.synthesize import SceneOptions, draw_scene, write_scene;"
        "write_scene(draw_scene(SceneOptions(people=5000, view=sys.argv[2])), Path(sys.argv[1]));"
        "print(memory_bytes()[0])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "scene.tif"), view],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent)},
        capture_output=True,
        check=True,
        text=True,
    )
    assert int(ran.stdout) < 1e9
