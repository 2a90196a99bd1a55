"""Looks are sharp, free of aliasing, and show everything where it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_files import save

from gigacount.geometry import Window
from gigacount.image import GigaImage, source
from gigacount.image.resample import plan_axis


class TestPosition:
    """A dot stays where it is, whatever the window, the size and the level it is read from."""

    SPOT = (773.2, 401.7)

    @pytest.fixture(scope="class")
    @classmethod
    def dots(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, GigaImage]]:
        folder = tmp_path_factory.mktemp("dots")
        x, y = np.meshgrid(np.arange(1537) + 0.5, np.arange(1025) + 0.5)
        dot = 250 * np.exp(-((x - cls.SPOT[0]) ** 2 + (y - cls.SPOT[1]) ** 2) / (2 * 24.0**2))
        rgb = np.repeat(dot.round().astype(np.uint8)[:, :, None], 3, axis=2)
        save(rgb, folder / "strips.tif")
        save(rgb, folder / "tiles.tif", tile=True)
        save(rgb, folder / "pyramid.tif", tile=True, pyramid=True)
        save(rgb, folder / "photo.jpg", Q=98)
        images = {path.name: GigaImage.open(path) for path in folder.iterdir()}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(source, "REDUCED_PIXELS", 100_000)
            images |= {f"reduced {path.name}": GigaImage.open(path) for path in folder.iterdir()}
            images["reduced strips.tif"].prepare(2)
        yield images
        for image in images.values():
            image.close()

    @pytest.mark.parametrize("name", ["strips.tif", "tiles.tif", "pyramid.tif", "photo.jpg"])
    @pytest.mark.parametrize("kind", ["", "reduced "])
    @settings(max_examples=40)
    @given(data=st.data())
    def test_dot_stays(self, dots: dict[str, GigaImage], name: str, kind: str, data: st.DataObject) -> None:
        left, top = data.draw(st.integers(0, 600)), data.draw(st.integers(0, 250))
        right, bottom = data.draw(st.integers(950, 1537)), data.draw(st.integers(550, 1025))
        window = Window(left, top, right - left, bottom - top)
        size_wh = data.draw(st.integers(40, 1200)), data.draw(st.integers(40, 900))
        read = dots[kind + name].read(window, size_wh).astype(float)[:, :, 1]
        columns, rows = np.arange(size_wh[0]) + 0.5, np.arange(size_wh[1]) + 0.5
        found_x = (read.sum(axis=0) * columns).sum() / read.sum() * window.width / size_wh[0] + left
        found_y = (read.sum(axis=1) * rows).sum() / read.sum() * window.height / size_wh[1] + top
        # A seventh of an output pixel, and half a pixel of the picture for rounding to 8 bits and JPEG.
        assert abs(found_x - self.SPOT[0]) < 0.15 * window.width / size_wh[0] + 0.5
        assert abs(found_y - self.SPOT[1]) < 0.15 * window.height / size_wh[1] + 0.5


class TestSharpness:
    @pytest.mark.parametrize("ratio", [1.7, 2.3, 3, 3.9, 6.5, 13])
    @pytest.mark.parametrize("kind", ["strips.tif", "tiles.tif", "pyramid.tif"])
    def test_fine_patterns_turn_grey_without_moire(self, tmp_path: Path, ratio: float, kind: str) -> None:
        y, x = np.mgrid[0:780, 0:1040]
        board = np.repeat((((x + y) % 2) * 255).astype(np.uint8)[:, :, None], 3, axis=2)
        path = save(board, tmp_path / kind, tile="strips" not in kind, pyramid="pyramid" in kind)
        with GigaImage.open(path) as image:
            read = image.read(Window(0, 0, 1040, 780), (round(1040 / ratio), round(780 / ratio)))[3:-3, 3:-3]
        assert np.abs(read.astype(int) - 127).max() <= 6

    def test_contrast_that_the_size_can_hold_is_kept(self, tmp_path: Path) -> None:
        """Waves of 4 output pixels keep at least 0.7 of their contrast at every ratio."""
        for ratio in (1.3, 2, 2.9, 4, 7.5):
            x = np.arange(1200) + 0.5
            wave = (127.5 + 100 * np.sin(2 * np.pi * x / (4 * ratio))).astype(np.uint8)
            path = save(np.repeat(wave[None, :, None], 3, axis=2).repeat(64, axis=0), tmp_path / "wave.png")
            with GigaImage.open(path) as image:
                read = image.read(Window(0, 0, 1200, 64), (round(1200 / ratio), 8))[4, 8:-8, 0].astype(float)
            assert read.std() >= 0.7 * 100 / np.sqrt(2)


class TestAxis:
    def test_full_size(self) -> None:
        axis = plan_axis(100.0, 50.0, 50)
        assert (axis.step, axis.first, axis.count, axis.ratio, axis.lead, axis.offset) == (1, 100, 50, 1, 0, 0)

    def test_a_third(self) -> None:
        """30 pixels from 90 at 12: means of 2 (3 / 1.5), of which the kernel takes 1.5 a pixel.

        With 3 more outputs on each side, 54 boxes would lie around 28.5, which whole boxes cannot; with 4, 57 can.
        """
        axis = plan_axis(12.0, 90.0, 30)
        assert (axis.step, axis.ratio, axis.lead, axis.first, axis.count) == (2, 1.5, 4, 0, 57)

    def test_twice(self) -> None:
        """10 pixels from 5 at 20: from 2 pixels before to 2 after; the first centre is a quarter pixel in."""
        axis = plan_axis(20.0, 5.0, 10)
        assert (axis.step, axis.first, axis.count, axis.ratio) == (1, 18, 9, 0.5)
        assert axis.offset == pytest.approx(2 + 0.25 - 0.5)

    @given(start=st.floats(0, 1e5), length=st.floats(1, 1e5), size=st.integers(1, 4000))
    def test_kernel_keeps_the_centre(self, start: float, length: float, size: int) -> None:
        axis = plan_axis(start, length, size)
        if not axis.shrinks:
            assert axis.ratio <= 1.05
            return
        outputs = int(axis.count / axis.ratio + 0.5)  # as libvips rounds
        assert outputs >= size + axis.lead
        center_of_boxes = (axis.first + axis.count / 2) * axis.step
        center_of_outputs = start + (outputs / 2 - axis.lead) * length / size
        assert abs(center_of_boxes - center_of_outputs) <= 0.2 * axis.step + 1e-6 * (start + length)
