"""GigaImage reads the right pixels at the right place, from every kind of file, and decodes as little as it may."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import pyvips
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from image_files import Pixels, save, scene, shared_tiles, vips_image

from gigacount.errors import ImageError
from gigacount.geometry import Window, whole
from gigacount.image import GigaImage, ReadOptions, picture, source
from gigacount.image.orientation import ORIENTATIONS
from gigacount.image.resample import plan_axis

WIDTH, HEIGHT = 1300, 900

LOSSLESS: dict[str, dict[str, object]] = {
    "png": {},
    "strips.tif": {},
    "lzw.tif": {"compression": "lzw"},
    "tiles.tif": {"tile": True, "compression": "deflate", "tile_width": 256, "tile_height": 256},
    "odd tiles.tif": {"tile": True, "tile_width": 144, "tile_height": 80, "compression": "lzw"},
    "pyramid.tif": {"tile": True, "pyramid": True, "compression": "deflate"},
    "bigtiff.tif": {"tile": True, "pyramid": True, "bigtiff": True},
    "ome.tif": {"tile": True, "pyramid": True, "subifd": True, "compression": "deflate"},
    "webp": {"lossless": True, "effort": 0},
    "one strip.tif": {"rowsperstrip": HEIGHT, "compression": "zlib"},
    "planes.tif": {"planarconfig": "separate"},
}
LOSSY: dict[str, dict[str, object]] = {
    "jpg": {"Q": 98, "subsample_mode": "off"},
    "progressive.jpg": {"Q": 98, "subsample_mode": "off", "interlace": True},
    "jpeg tiles.tif": {"tile": True, "pyramid": True, "compression": "jpeg", "Q": 98},
}
FILES = {name: (options, 0) for name, options in LOSSLESS.items()} | {
    name: (options, 8) for name, options in LOSSY.items()
}


@pytest.fixture(scope="module")
def pixels() -> Pixels:
    return scene(WIDTH, HEIGHT)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, pixels: Pixels) -> Path:
    folder = tmp_path_factory.mktemp("files")
    for name, (options, _) in FILES.items():
        if {"rowsperstrip", "planarconfig"} & set(options):
            planes = pixels.transpose(2, 0, 1) if "planarconfig" in options else pixels
            tifffile.imwrite(folder / name, planes, photometric="rgb", **options)
        else:
            save(pixels, folder / _file(name), **options)
    return folder


def _file(name: str) -> str:
    return name if "." in name else f"scene.{name}"


@pytest.fixture(params=["in memory", "scratch"])
def storage(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Small pictures are held in memory; "scratch" treats these as large ones (reduction 4)."""
    if request.param == "scratch":
        monkeypatch.setattr(source, "REDUCED_PIXELS", 100_000)
    return str(request.param)


class TestPixels:
    @pytest.mark.parametrize("name", FILES)
    def test_windows_at_full_size_are_the_pixels(self, files: Path, pixels: Pixels, name: str, storage: str) -> None:
        tolerance = FILES[name][1]
        with GigaImage.open(files / _file(name)) as image:
            assert image.size_wh == (WIDTH, HEIGHT)
            for window in (Window(0, 0, 300, 200), Window(517, 333, 401, 399), Window(1299, 899, 1, 1)):
                read = image.read(window, window.size_wh)
                assert read.dtype == np.uint8
                assert read.flags.c_contiguous
                expected = pixels[window.top : window.bottom, window.left : window.right]
                assert read.shape == expected.shape
                assert np.abs(read.astype(int) - expected).max() <= tolerance

    @pytest.mark.parametrize("name", FILES)
    def test_shrunk_looks_agree_with_means_of_the_pixels(
        self, files: Path, pixels: Pixels, name: str, storage: str
    ) -> None:
        means = pixels.reshape(HEIGHT // 10, 10, WIDTH // 10, 10, 3).mean(axis=(1, 3))
        with GigaImage.open(files / _file(name)) as image:
            read = image.read(whole(image.size_wh), (WIDTH // 10, HEIGHT // 10))
        difference = np.abs(read - means)[2:-2, 2:-2]
        assert difference.max() <= 4 + FILES[name][1]
        assert difference.mean() <= 1.2

    def test_a_look_is_the_same_whatever_was_looked_at_before(self, files: Path, storage: str) -> None:
        looks = [(Window(0, 0, WIDTH, HEIGHT), (97, 61)), (Window(11, 7, 640, 480), (320, 240))]
        looks += [(Window(101, 200, 1000, 600), (150, 90)), (Window(5, 5, 40, 30), (200, 90))]
        for name in ("strips.tif", "tiles.tif", "pyramid.tif"):
            with GigaImage.open(files / name) as image, GigaImage.open(files / name) as other:
                image.prepare(9)
                other.prepare(9)
                forth = [image.read(*look) for look in looks]
                back = [other.read(*look) for look in reversed(looks)][::-1]
                again = [image.read(*look) for look in looks]
            for one, two, three in zip(forth, back, again, strict=True):
                assert np.array_equal(one, two)
                assert np.array_equal(one, three)

    def test_looks_may_be_taken_from_several_threads(self, files: Path, storage: str) -> None:
        windows = [Window(37 * i, 23 * i, 500, 300) for i in range(20)]
        sizes = [(500, 300), (123, 77)]
        looks = [(window, size_wh) for window in windows for size_wh in sizes]
        for name in ("jpg", "tiles.tif", "pyramid.tif"):
            with GigaImage.open(files / _file(name)) as image:
                alone = [image.read(*look) for look in looks]
            with GigaImage.open(files / _file(name)) as image, ThreadPoolExecutor(6) as pool:
                together = list(pool.map(lambda look: image.read(*look), looks))
            assert all(np.array_equal(one, two) for one, two in zip(alone, together, strict=True))

    def test_adjoining_looks_join_without_a_seam(self, files: Path, pixels: Pixels) -> None:
        with GigaImage.open(files / "pyramid.tif") as image:
            one = image.read(Window(0, 0, 1200, 800), (500, 400))
            parts = [image.read(Window(300 * i, 0, 300, 800), (125, 400)) for i in range(4)]
        assert np.abs(one.astype(int) - np.concatenate(parts, axis=1)).max() <= 3

    def test_pictures_one_pixel_wide(self, tmp_path: Path, storage: str) -> None:
        column = scene(1, 3000)
        for name, options in (("c.png", {}), ("c.tif", {"tile": True})):
            with GigaImage.open(save(column, tmp_path / name, **options)) as image:
                assert np.array_equal(image.read(Window(0, 100, 1, 50), (1, 50)), column[100:150])
                assert image.read(Window(0, 0, 1, 3000), (3, 100)).shape == (100, 3, 3)

    def test_enlarged_looks_pass_through_the_pixels(self, files: Path, pixels: Pixels) -> None:
        with GigaImage.open(files / "strips.tif") as image:
            read = image.read(Window(600, 400, 20, 10), (60, 30))
        assert np.abs(read[1::3, 1::3].astype(int) - pixels[400:410, 600:620]).max() <= 1  # centres of pixels

    def test_a_look_outside_the_picture_is_a_mistake_of_the_caller(self, files: Path) -> None:
        with GigaImage.open(files / "tiles.tif") as image:
            for window, size_wh in (
                (Window(0, 0, WIDTH + 1, 5), (5, 5)),
                (Window(-1, 0, 5, 5), (5, 5)),
                (Window(0, 0, 0, 5), (5, 5)),
                (Window(0, 0, 5, 5), (0, 5)),
            ):
                with pytest.raises(ValueError, match="no look"):
                    image.read(window, size_wh)


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


class TestOrientation:
    @pytest.mark.parametrize("number", range(1, 9))
    @pytest.mark.parametrize("name", ["o.jpg", "o.png", "o.webp", "o.tif", "tiles.tif"])
    def test_pictures_are_read_upright(self, tmp_path: Path, number: int, name: str, storage: str) -> None:
        upright = scene(640, 400)
        turns = {  # EXIF's words: where the 0th row and the 0th column of the stored picture are
            1: upright,
            2: upright[:, ::-1],
            3: upright[::-1, ::-1],
            4: upright[::-1],
            5: upright.swapaxes(0, 1),
            6: np.rot90(upright, 1),  # shown rotated by 90 degrees clockwise, so stored the other way round
            7: upright[::-1, ::-1].swapaxes(0, 1),
            8: np.rot90(upright, -1),
        }
        options: dict[str, object] = {"tile": True, "pyramid": True} if name == "tiles.tif" else {}
        path = save(np.ascontiguousarray(turns[number]), tmp_path / name, number, **options)
        tolerance = {"o.jpg": 30, "o.webp": 30}.get(name, 0)
        with GigaImage.open(path) as image:
            assert image.size_wh == (640, 400)
            assert image.info.orientation == number
            coarse = image.read(whole(image.size_wh), (160, 100))  # from a JPEG shrunk on load
            window = Window(130, 77, 201, 99)
            fine = image.read(window, window.size_wh)
        expected = upright[77:176, 130:331]
        assert np.abs(fine.astype(int) - expected).mean() <= tolerance / 10
        assert np.abs(fine.astype(int) - expected).max() <= tolerance
        means = upright.reshape(100, 4, 160, 4, 3).mean(axis=(1, 3))
        assert np.abs(coarse - means)[2:-2, 2:-2].mean() <= 1.5

    @given(
        number=st.integers(1, 8),
        window=st.tuples(st.integers(0, 20), st.integers(0, 10), st.integers(1, 20), st.integers(1, 10)),
    )
    def test_windows_go_where_pixels_come_from(self, number: int, window: tuple[int, int, int, int]) -> None:
        orientation = ORIENTATIONS[number]
        stored = np.arange(40 * 20, dtype=np.uint16).reshape(20, 40, 1)
        upright = orientation.upright(stored)  # type: ignore[arg-type]
        size_wh = orientation.size((40, 20))
        assert upright.shape == (size_wh[1], size_wh[0], 1)
        seen = Window(*window) if size_wh[0] == 40 else Window(window[1], window[0], window[3], window[2])
        place = orientation.stored(seen, size_wh)
        part = stored[place.top : place.bottom, place.left : place.right]
        assert np.array_equal(
            orientation.upright(part),  # type: ignore[arg-type]
            upright[seen.top : seen.bottom, seen.left : seen.right],
        )


class TestDecoding:
    """A stream is decoded once when looks are announced, at most twice when not; tiles are not decoded whole."""

    @pytest.fixture(autouse=True)
    def _large(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(source, "REDUCED_PIXELS", 100_000)

    @pytest.mark.parametrize("name", ["jpg", "png", "strips.tif", "webp", "progressive.jpg"])
    def test_announced_looks_take_one_decoding(self, files: Path, name: str, tmp_path: Path) -> None:
        said: list[str] = []
        options = ReadOptions(scratch_folder=tmp_path)
        with GigaImage.open(files / _file(name), options, said.append) as image:
            image.prepare(21)
            for i in range(10):
                image.read(Window(30 * i, 20 * i, 1000 - 90 * i, 700 - 60 * i), (200, 140))
            assert image.decodes == 1
            assert image.scratch == (tmp_path, WIDTH * HEIGHT * 3)
            assert len(said) == 1
            assert str(tmp_path) in said[0]
            assert "GB" in said[0]

    def test_unannounced_looks_take_two(self, files: Path) -> None:
        with GigaImage.open(files / "scene.jpg") as image:
            for _ in range(2):
                image.read(whole(image.size_wh), (130, 90))
                assert (image.decodes, image.scratch) == (1, None)
            for i in range(5):
                image.read(Window(10 * i, 10, 260, 180), (130, 90))
                image.read(whole(image.size_wh), (130, 90))
            assert image.decodes == 2
            assert image.scratch is not None

    def test_one_look_needs_no_scratch(self, files: Path) -> None:
        with GigaImage.open(files / "scene.jpg") as image:
            image.prepare(1)
            assert image.decodes == 0
            image.read(whole(image.size_wh), (325, 225))
            assert (image.decodes, image.scratch) == (1, None)

    def test_a_small_picture_needs_no_scratch(self, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(source, "REDUCED_PIXELS", WIDTH * HEIGHT)
        with GigaImage.open(files / "scene.jpg") as image:
            image.prepare(5)
            image.read(Window(3, 3, 50, 50), (50, 50))
            image.read(whole(image.size_wh), (90, 60))
            assert (image.decodes, image.scratch) == (1, None)

    def test_scratch_takes_at_most_three_bytes_a_pixel_and_one_if_grey(self, tmp_path: Path) -> None:
        grey = scene(800, 600)[:, :, :1]
        rgba = np.dstack([scene(800, 600), np.full((600, 800), 200, np.uint8)])
        for pixels, band_bytes in ((grey, 1), (rgba, 3)):
            with GigaImage.open(save(pixels, tmp_path / "x.png")) as image:
                image.read(Window(0, 0, 9, 9), (9, 9))
                assert image.scratch is not None
                assert image.scratch[1] == 800 * 600 * band_bytes

    def test_the_scratch_has_no_name(self, files: Path, tmp_path: Path) -> None:
        with GigaImage.open(files / "scene.jpg", ReadOptions(scratch_folder=tmp_path)) as image:
            image.read(Window(0, 0, 50, 50), (50, 50))
            assert list(tmp_path.iterdir()) == []

    def test_closing_gives_descriptors_and_threads_back(self, files: Path) -> None:
        script = """
import os, sys, threading
from pathlib import Path
from gigacount.geometry import Window
from gigacount.image import GigaImage, source
source.REDUCED_PIXELS = 100_000
def look(name):
    with GigaImage.open(Path(sys.argv[1]) / name) as image:
        image.prepare(2)
        image.read(Window(0, 0, 50, 50), (50, 50))
counts = []
for turn in range(4):
    for name in ("scene.jpg", "strips.tif", "tiles.tif", "scene.webp"):
        look(name)
    counts.append((len(os.listdir("/proc/self/fd")), threading.active_count()))
assert counts[-1] == counts[1], counts
"""
        subprocess.run([sys.executable, "-c", script, str(files)], check=True, timeout=60)

    def test_tiles_are_read_where_they_are_needed_only(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nearly all tiles of this file are garbage; the looks that need none of those succeed."""
        tile = scene(256, 256)
        garbage_at = 1
        path = shared_tiles(
            tmp_path / "mostly garbage.tif",
            (6400, 6400),
            [tile, tile],
            lambda col, row: np.where((col < 4) & (row < 4), 0, garbage_at).astype(np.intp),
        )
        data = bytearray(path.read_bytes())
        second = data.find(data[16:80], 80)
        data[second : second + 2000] = bytes(2000)
        path.write_bytes(data)
        with GigaImage.open(path) as image:
            assert np.array_equal(image.read(Window(256, 512, 512, 512), (512, 512))[:256, :256], tile)
            image.read(Window(0, 0, 900, 900), (300, 300))
            assert image.decodes == 0
            with pytest.raises(ImageError, match="damaged"):
                image.read(Window(0, 0, 1100, 1024), (1100, 1024))

    def test_a_file_without_pyramid_is_decoded_once_for_all_coarse_looks(self, files: Path) -> None:
        with GigaImage.open(files / "tiles.tif") as image:
            for i in range(5):
                image.read(Window(i, i, WIDTH - 50, HEIGHT - 50), (100, 70))
            assert image.decodes == 1

    def test_coarse_looks_come_from_the_pyramid(self, files: Path) -> None:
        with GigaImage.open(files / "pyramid.tif") as image:
            image.read(whole(image.size_wh), (100, 70))
            assert image.decodes == 0


class TestPyramids:
    def test_pages_of_other_shapes_are_no_copies(self, tmp_path: Path) -> None:
        path = tmp_path / "pages.tif"
        with tifffile.TiffWriter(path) as tiff:
            for pixels in (scene(1024, 768), scene(512, 300), scene(512, 384)[:, :, :1], scene(256, 192)):
                tiff.write(pixels, tile=(128, 128), photometric="rgb" if pixels.shape[2] == 3 else "minisblack")
        with GigaImage.open(path) as image:
            assert image.info.level_sizes == ((1024, 768), (256, 192))

    def test_pages_as_large_as_the_first_are_no_copies(self, tmp_path: Path) -> None:
        path = tmp_path / "stack.tif"
        tifffile.imwrite(path, np.stack([scene(512, 384)] * 3), tile=(128, 128), photometric="rgb")
        with GigaImage.open(path) as image:
            assert image.info.level_sizes == ((512, 384),)

    @pytest.mark.parametrize("size_wh", [(1001, 777), (1000, 70), (1303, 611)])
    def test_odd_sides(self, tmp_path: Path, size_wh: tuple[int, int]) -> None:
        pixels = scene(*size_wh)
        with GigaImage.open(
            save(pixels, tmp_path / "p.tif", tile=True, pyramid=True, tile_width=64, tile_height=64)
        ) as image:
            assert image.info.level_sizes[0] == size_wh
            assert len(image.info.level_sizes) >= 3
            read = image.read(whole(size_wh), (max(size_wh[0] // 5, 1), max(size_wh[1] // 5, 1)))
            assert np.abs(read.mean(axis=(0, 1)) - pixels.mean(axis=(0, 1))).max() < 2

    def test_levels_of_a_slide(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """openslide is not in every libvips; its metadata are what this relies on."""
        pixels = scene(1024, 768)
        tissue = {f"openslide.level[0].tile-{side}": "256" for side in ("width", "height")}
        tissue |= {"openslide.level-count": "3", "openslide.vendor": "aperio"}

        def load(path: Path, loader: str, trusted: bool, level: int = 0, **options: object) -> pyvips.Image:
            image = vips_image(pixels)
            image = image.shrink(4**level, 4**level).copy()
            for name, value in tissue.items():
                image.set_type(pyvips.GValue.gstr_type, name, value)
            return image

        monkeypatch.setattr(picture.vips, "find_loader", lambda path, trusted: "VipsForeignLoadOpenslideFile")
        monkeypatch.setattr(picture.vips, "load", load)
        path = tmp_path / "slide.svs"
        path.write_bytes(b"slide")
        with GigaImage.open(path) as image:
            assert image.info.format == "slide (aperio)"
            assert image.info.tile_wh == (256, 256)
            assert image.info.level_sizes == ((1024, 768), (256, 192), (64, 48))
            assert np.array_equal(image.read(Window(5, 6, 30, 20), (30, 20)), pixels[6:26, 5:35])


class TestInfo:
    def test_of_a_pyramid(self, files: Path) -> None:
        with GigaImage.open(files / "ome.tif") as image:
            info = image.info
        assert (info.format, info.colour, info.bands, info.bits) == ("TIFF", "RGB", 3, 8)
        assert info.tile_wh == (128, 128)
        assert info.level_sizes[:3] == ((1300, 900), (650, 450), (325, 225))
        assert (info.orientation, info.icc, info.progressive, info.floating_point) == (1, False, False, False)
        assert info.file_bytes == (files / "ome.tif").stat().st_size

    def test_of_streams(self, files: Path) -> None:
        with GigaImage.open(files / "scene.jpg") as image:
            assert (image.info.format, image.info.tile_wh) == ("JPEG", None)
            assert image.info.level_sizes == ((WIDTH, HEIGHT),)
        with GigaImage.open(files / "progressive.jpg") as image:
            assert image.info.progressive

    def test_importing_and_opening_are_light(self, files: Path) -> None:
        script = """
import sys
from pathlib import Path
from gigacount.image import GigaImage
assert "pyvips" not in sys.modules
with GigaImage.open(Path(sys.argv[1])) as image:
    assert image.size_wh == (1300, 900)
assert not {"torch", "scipy", "sklearn", "typer"} & set(sys.modules)
"""
        subprocess.run([sys.executable, "-c", script, str(files / "scene.jpg")], check=True, timeout=60)
