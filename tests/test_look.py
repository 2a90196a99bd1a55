"""The seam between strategies and pixels: order, reading ahead, batches, views seen once, points in full resolution."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from gigacount.errors import ImageError
from gigacount.geometry import Size, View, Window, whole
from gigacount.look import Locating, Looker
from gigacount.networks.record import NetworkRecord
from gigacount.options import StrategyOptions
from gigacount.predict import Found, Predictor
from gigacount.strategies import find_strategy
from gigacount.strategies.base import look_at_all, under_way

SIZE = (4000, 2000)


class FakeImage:
    """Pixels tell where they were read: the red channel is the window's left side divided by 100."""

    size_wh = SIZE
    ground: NDArray[np.float32] | None = None
    lost = 0.0

    def valid(self, window: Window, size_wh: Size) -> NDArray[np.float32] | None:
        return self.ground

    def missing(self, window: Window) -> float:
        return self.lost

    def __init__(self) -> None:
        self.reads: list[Window] = []
        self.second_read = threading.Event()

    def read(self, window: Window, size_wh: Size) -> NDArray[np.uint8]:
        self.reads.append(window)
        if len(self.reads) == 2:
            self.second_read.set()
        if window.left == 1300:
            raise ImageError("damaged there")
        picture = np.zeros((size_wh[1], size_wh[0], 3), np.uint8)
        picture[..., 0] = window.left // 100
        return picture


class FakePredictor:
    def __init__(self, image: FakeImage, people: float = 1.0, batch: int = 1) -> None:
        self.image, self.people, self.batch = image, people, batch
        self.overlapped = False
        self.batches: list[list[int]] = []
        self.locates = True
        self.record = NetworkRecord("fake", "light", "", "")

    def predict(self, pictures: Sequence[NDArray[np.uint8]], locate: bool = False) -> list[Found]:
        self.overlapped = self.overlapped or self.image.second_read.wait(0.5)
        assert len({picture.shape for picture in pictures}) == 1
        self.batches.append([int(picture[0, 0, 0]) for picture in pictures])
        points = np.array([[10, 20, 0.9]], np.float32) if locate else None
        return [Found(np.full((2, 3), left * self.people, np.float32), points) for left in self.batches[-1]]


def looker(image: FakeImage, batch: int = 1, **settings: Any) -> Looker:
    predictor = cast(Predictor, FakePredictor(image, batch=batch))
    return Looker(image, predictor, **settings)


def batches(look: Looker) -> list[list[int]]:
    return cast(FakePredictor, look.predictor).batches


def take(look: Looker, views: Sequence[View]) -> list[NDArray[np.float32]]:
    return [density for _, density in look_at_all(look, views)]


VIEWS = [View(Window(left, 0, 800, 400), (200, 100), 1) for left in (0, 1600, 800)]


def test_densities_come_in_the_order_of_the_views() -> None:
    look = looker(FakeImage())
    assert [density[0, 0] for density in take(look, VIEWS)] == [0, 16, 8]
    assert [looked.view for looked in look.looked] == VIEWS
    assert [looked.count for looked in look.looked] == [0, 96, 48]


def test_the_next_window_is_read_while_the_network_works() -> None:
    image = FakeImage()
    predictor = FakePredictor(image)
    look = Looker(image, cast(Predictor, predictor))
    take(look, VIEWS[:2])
    assert predictor.overlapped


def test_a_look_is_on_record_once_its_density_was_asked_for_in_the_order_of_beginning() -> None:
    look = looker(FakeImage())
    first, _, third = (look(view) for view in VIEWS)
    assert third.result()[0, 0] == 8
    assert [looked.view for looked in look.looked] == [VIEWS[2]]
    assert first.result()[0, 0] == 0
    first.result()
    assert [looked.view for looked in look.looked] == [VIEWS[0], VIEWS[2]]


def test_many_views_are_not_all_read_ahead() -> None:
    image = FakeImage()
    look = looker(image)
    views = (View(Window(8 * n, 0, 800, 400), (200, 100), 1) for n in range(50))
    seen = look_at_all(look, views)
    next(seen)
    assert len(image.reads) <= under_way(look) == 3
    assert len(list(seen)) == 49


def row(count: int, size: Size = (200, 100)) -> list[View]:
    return [View(Window(100 * n, 0, 800, 400), size, 1) for n in range(count)]


def test_windows_of_one_size_go_through_the_network_together() -> None:
    views = row(10)
    alone, together = looker(FakeImage()), looker(FakeImage(), batch=4)
    expected = take(alone, views)
    np.testing.assert_array_equal(take(together, views), expected)
    assert batches(alone) == [[n] for n in range(10)]
    assert batches(together) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert together.looked == alone.looked
    assert together.inferences == 10


def test_a_batch_is_of_one_size_for_one_network_and_ends_where_a_result_is_asked_for() -> None:
    look = looker(FakeImage(), batch=4)
    small, large = row(3), row(5, (400, 200))[3:]
    take(look, [small[0], large[0], *small[1:], large[1]])
    assert batches(look) == [[0, 1, 2], [3, 4]]
    look = looker(FakeImage(), batch=4)
    first, second = look(small[0]), look(small[1])
    assert second.result()[0, 0] == 1
    third = look(small[2])
    assert first.result()[0, 0] == 0
    assert batches(look) == [[0, 1]]
    assert third.result()[0, 0] == 2
    coarse = FakePredictor(look.image, people=0.0)  # type: ignore[arg-type]
    look = looker(FakeImage(), batch=4, coarse_predictor=cast(Any, coarse))
    views = [View(small[1].window, (200, 100), coarse=True), small[2]]
    assert [density.sum() for density in take(look, views)] == [0, 12]


def test_batches_do_not_depend_on_how_fast_windows_are_read() -> None:
    class Image(FakeImage):
        def read(self, window: Window, size_wh: Size) -> NDArray[np.uint8]:
            time.sleep(window.left * 7 % 300 / 10_000)
            return super().read(window, size_wh)

    look = looker(Image(), batch=3)
    assert [density[0, 0] for density in take(look, row(8))] == list(range(8))
    assert batches(look) == [[0, 1, 2], [3, 4, 5], [6, 7]]


def test_the_windows_of_a_batch_are_read_side_by_side() -> None:
    together = threading.Barrier(3, timeout=20)

    class Image(FakeImage):
        def read(self, window: Window, size_wh: Size) -> NDArray[np.uint8]:
            together.wait()
            return super().read(window, size_wh)

    assert len(take(looker(Image(), batch=3), row(3))) == 3


def test_batches_are_read_ahead_but_not_all_of_them() -> None:
    image = FakeImage()
    look = looker(image, batch=4)
    seen = look_at_all(look, (View(Window(8 * n, 0, 800, 400), (200, 100), 1) for n in range(39)))
    next(seen)
    assert len(image.reads) <= under_way(look) == 9
    assert len(list(seen)) == 38


def test_zooms_go_in_step() -> None:
    """Both zooms' windows of a level make one batch."""

    class Predictor(FakePredictor):
        def predict(self, pictures: Sequence[NDArray[np.uint8]], locate: bool = False) -> list[Found]:
            super().predict(pictures)
            density = np.zeros((12, 24), np.float32)
            density[4, 3] = density[8, 20] = 1
            return [Found(density, None)] * len(pictures)

    image = FakeImage()
    image.size_wh = 20_000, 10_000
    options, counts = StrategyOptions(levels=4, max_size=(192, 96)), []
    for batch in (1, 4):
        look = Looker(image, cast(Any, Predictor(image, batch=batch)))
        counts.append(find_strategy("gigazoom").run(look, image.size_wh, options).count)
        assert [len(one) for one in batches(look)] == ([1, 2, 2, 2, 2] if batch == 4 else [1] * 9)
    assert counts[0] == counts[1]


def test_an_error_in_a_batch_reaches_the_caller() -> None:
    look = looker(FakeImage(), batch=4)
    with pytest.raises(ImageError, match="damaged there"):
        take(look, [VIEWS[0], View(Window(1300, 0, 800, 400), (200, 100), 1), VIEWS[1]])


def test_the_next_window_of_a_zoom_is_read_while_the_network_is_at_another_zoom() -> None:
    """Two zooms of three levels; the network is at B until the reading of what A's last look led to has begun."""
    events: list[tuple[str, int]] = []
    progress = threading.Condition()

    def note(what: str, left: int) -> None:
        with progress:
            events.append((what, left))
            progress.notify_all()

    class Image(FakeImage):
        def read(self, window: Window, size_wh: Size) -> NDArray[np.uint8]:
            note("read", window.left)
            return super().read(window, size_wh)

    class Predictor(FakePredictor):
        def predict(self, pictures: Sequence[NDArray[np.uint8]], locate: bool = False) -> list[Found]:
            left = int(pictures[0][0, 0, 0]) * 100
            following = {2000: 100, 100: 2100, 2100: 200, 200: 2200}.get(left)  # of the other zoom
            with progress:
                assert following is None or progress.wait_for(lambda: ("read", following) in events, 20)
            note("network", left)
            return [Found(np.full((2, 3), left, np.float32), None)]

    image = Image()
    look = Looker(image, cast(Any, Predictor(image)))
    views = [View(Window(left, 0, 800, 400), (200, 100), 1) for left in (0, 2000)]
    zooms = deque((view, look(view)) for view in views)
    while zooms:
        view, pending = zooms.popleft()
        assert pending.result()[0, 0] == view.window.left
        if view.level < 3:
            window = Window(view.window.left + 100, 0, 800, 400)
            views.append(View(window, (200, 100), view.level + 1))
            zooms.append((views[-1], look(views[-1])))
    assert [left for what, left in events if what == "network"] == [0, 2000, 100, 2100, 200, 2200]
    assert [looked.view for looked in look.looked] == views


def test_zooms_that_meet_are_looked_at_once_but_reported_twice() -> None:
    image = FakeImage()
    look = looker(image)
    take(look, [VIEWS[1], VIEWS[1]])
    take(look, [VIEWS[1], VIEWS[2]])
    assert len(image.reads) == 2
    assert look.inferences == 2
    assert len(look.looked) == 4


def test_the_coarse_network_takes_the_look_that_is_marked_coarse_alone() -> None:
    image = FakeImage()
    coarse = cast(Predictor, FakePredictor(image, people=0.0))
    look = looker(image, coarse_predictor=coarse)
    views = [View(VIEWS[1].window, (200, 100), coarse=True), View(VIEWS[1].window, (200, 100)), VIEWS[1]]
    assert [density.sum() for density in take(look, views)] == [0, 96, 96]


def test_points_come_in_the_pixels_of_the_picture() -> None:
    look = looker(FakeImage(), heads=Locating())
    take(look, VIEWS[1:2])
    points = look.looked[0].points
    assert points is not None
    np.testing.assert_allclose(points, [[1600 + 10 * 4, 20 * 4, 0.9]])


def test_nobody_is_counted_or_located_where_there_is_no_ground() -> None:
    """Cells of 8 px: a whole one, a half one and none."""
    image = FakeImage()
    image.ground = np.zeros((16, 24), np.float32)
    image.ground[:, :12] = 1
    image.lost = 0.25
    look = looker(image, heads=Locating())
    (density,) = take(look, VIEWS[1:2])
    np.testing.assert_allclose(density, [[16, 8, 0], [16, 8, 0]])
    assert len(look.looked[0].points) == 1  # type: ignore[arg-type]
    assert look.looked[0].missing == 0.25
    image.ground[:] = 0
    look = looker(image, heads=Locating())
    take(look, VIEWS[1:2])
    assert len(look.looked[0].points) == 0  # type: ignore[arg-type]


def test_progress_is_told_window_by_window() -> None:
    told: list[tuple[int, int]] = []
    look = looker(FakeImage(), planned=2, progress=lambda done, planned: told.append((done, planned)))
    take(look, VIEWS)
    assert told == [(1, 2), (2, 2), (3, 3)]


def test_an_error_while_reading_ahead_reaches_the_caller() -> None:
    look = looker(FakeImage())
    with pytest.raises(ImageError, match="damaged there"):
        take(look, [VIEWS[0], View(Window(1300, 0, 80, 80), (80, 80), 1), VIEWS[1]])


def test_the_preview_uses_pixels_already_read() -> None:
    image = FakeImage()
    look = looker(image)
    take(look, [View(whole(SIZE), (2715, 1358))])
    reads = len(image.reads)
    assert look.preview().shape == (1358, 2715, 3)
    assert len(image.reads) == reads


def test_the_preview_is_read_where_no_look_saw_the_whole() -> None:
    image = FakeImage()
    look = looker(image)
    take(look, VIEWS)
    assert look.preview().shape == (1358, 2715, 3)
    assert image.reads[-1] == whole(SIZE)
