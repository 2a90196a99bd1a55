"""GigaImage reads the right pixels at the right place, from every kind of file, and decodes as little as it may."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import pyvips
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from image_files import Pixels, save, scene, vips_image

from gigacount.geometry import Window, whole
from gigacount.image import GigaImage, imagefile, source
from gigacount.image.info import ORIENTATIONS

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
        for name, announced in [("strips.tif", 9), ("tiles.tif", 1), ("pyramid.tif", 1), ("jpg", 9), ("jpg", 1)]:
            with GigaImage.open(files / _file(name)) as image, GigaImage.open(files / _file(name)) as other:
                image.prepare(announced)
                other.prepare(announced)
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

        monkeypatch.setattr(imagefile.vips, "find_loader", lambda path, trusted: "VipsForeignLoadOpenslideFile")
        monkeypatch.setattr(imagefile.vips, "load", load)
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
