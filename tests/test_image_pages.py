"""Which picture of a file is read, and which smaller copies of it are used."""

from __future__ import annotations

import math
import struct
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import tifffile
from image_files import Pixels, save, scene, shared_tiles, vips_image

from gigacount.errors import ImageError, UsageError
from gigacount.geometry import Window, whole
from gigacount.image import GigaImage, source, vips
from gigacount.image.tags import read_directories
from gigacount.options import ReadOptions

TILES = {"tile": (128, 128), "photometric": "rgb", "metadata": None}


@pytest.fixture(scope="module")
def pixels() -> Pixels:
    """A scene with grain, so that every place of it shows something."""
    grain = np.random.default_rng(3).integers(0, 60, (96, 128, 3)).repeat(8, axis=0).repeat(8, axis=1)
    return (scene(1024, 768) // 2 + grain).astype(np.uint8)


def shrunk(pixels: Pixels, step: int) -> Pixels:
    rows, cols = pixels.shape[0] // step, pixels.shape[1] // step
    means = pixels[: rows * step, : cols * step].reshape(rows, step, cols, step, -1).mean(axis=(1, 3))
    return means.round().astype(np.uint8)


def write_pages(path: Path, *pages: tuple[Pixels, int]) -> Path:
    with tifffile.TiffWriter(path) as tiff:
        for page, kind in pages:
            tiff.write(page, subfiletype=kind, **TILES)
    return path


def look(path: Path, step: int = 1, **options: object) -> tuple[Pixels, tuple[str, ...]]:
    with GigaImage.open(path, ReadOptions(**options)) as image:  # type: ignore[arg-type]
        size_wh = image.size_wh[0] // step, image.size_wh[1] // step
        return image.read(whole(image.size_wh), size_wh), image.notes


class TestWhichPicture:
    def test_a_preview_on_the_first_page(self, tmp_path: Path, pixels: Pixels) -> None:
        for kind in (0, 1):
            path = write_pages(tmp_path / f"{kind}.tif", (shrunk(pixels, 4), kind), (pixels, 0))
            read, notes = look(path)
            assert np.array_equal(read, pixels)
            assert any("page 2" in note for note in notes)

    @pytest.mark.parametrize("options", [{}, {"compression": "zstd"}, {"planarconfig": "separate"}])
    def test_a_picture_in_a_sub_directory(self, tmp_path: Path, pixels: Pixels, options: dict[str, object]) -> None:
        path = tmp_path / "sub.tif"
        stored = np.ascontiguousarray(pixels.transpose(2, 0, 1)) if "planarconfig" in options else pixels
        with tifffile.TiffWriter(path) as tiff:
            tiff.write(shrunk(pixels, 8), subfiletype=1, subifds=1, photometric="rgb", metadata=None)
            tiff.write(stored, **TILES, **options)
        read, notes = look(path)
        assert np.array_equal(read, pixels)
        assert any("inner image 1" in note for note in notes)
        assert look(path, page=1)[0].shape == (96, 128, 3)

    def test_two_scenes(self, tmp_path: Path, pixels: Pixels) -> None:
        """The second is no copy of the first, although its size would fit."""
        other = shrunk(pixels, 2)[::-1].copy()
        path = write_pages(tmp_path / "two.tif", (pixels, 0), (other, 0))
        read, notes = look(path, 2)
        assert np.abs(read.astype(int) - shrunk(pixels, 2)).mean() < 2
        assert any("page 2" in note and "--page" in note for note in notes)
        assert np.array_equal(look(path, page=2)[0], other)
        with pytest.raises(ImageError, match="has 2 pages, no page 3"):
            look(path, page=3)
        with pytest.raises(UsageError, match="page"):
            ReadOptions(page=0)

    def test_pages_of_one_size(self, tmp_path: Path, pixels: Pixels) -> None:
        path = write_pages(tmp_path / "stack.tif", (pixels, 0), (pixels[::-1].copy(), 0))
        read, notes = look(path)
        assert np.array_equal(read, pixels)
        assert notes == ("the file has 2 pages; page 1 is read, choose another with --page",)

    def test_masks_are_no_pictures(self, tmp_path: Path, pixels: Pixels) -> None:
        path = tmp_path / "mask.tif"
        with tifffile.TiffWriter(path) as tiff:
            tiff.write(np.ones((2000, 2000), bool), subfiletype=4, photometric="mask", metadata=None)
            tiff.write(pixels, **TILES)
        assert np.array_equal(look(path)[0], pixels)

    @pytest.mark.parametrize("photometric", [34892, 32803])
    def test_camera_raw_is_never_its_preview(self, tmp_path: Path, pixels: Pixels, photometric: int) -> None:
        """LibRaw develops what the sensor saw, or the file is refused."""
        pytest.importorskip("rawpy")
        path = tmp_path / "raw.tif"
        raw = pixels[:, :, 0].astype(np.uint16) if photometric == 32803 else pixels.astype(np.uint16)
        with tifffile.TiffWriter(path) as tiff:
            tiff.write(shrunk(pixels, 4), photometric="rgb", subfiletype=1, subifds=1, metadata=None)
            tiff.write(raw, photometric=photometric, metadata=None)
        if photometric == 32803:
            assert look(path)[0].shape == pixels.shape
        else:
            with pytest.raises(ImageError, match="camera raw"):
                look(path)

    def test_frames_of_an_animation(self, tmp_path: Path, pixels: Pixels) -> None:
        frames = np.concatenate([shrunk(pixels, 8), shrunk(pixels, 8)[::-1]])
        image = vips_image(frames).copy()
        image.set_type(vips.library().GValue.gint_type, "page-height", 96)
        image.webpsave(str(tmp_path / "a.webp"), lossless=True)
        read, notes = look(tmp_path / "a.webp")
        assert np.array_equal(read, frames[:96])
        assert any("2 pages or frames" in note for note in notes)
        assert np.array_equal(look(tmp_path / "a.webp", page=2)[0], frames[96:])


class TestOverviews:
    @pytest.mark.parametrize("nearest", [False, True])
    @pytest.mark.parametrize("kind", [0, 1])
    def test_good_ones_are_used(self, tmp_path: Path, pixels: Pixels, nearest: bool, kind: int) -> None:
        """Whether the file says that they are copies or not; means as well as every second pixel."""
        half, quarter = (pixels[::n, ::n].copy() if nearest else shrunk(pixels, n) for n in (2, 4))
        path = write_pages(tmp_path / "good.tif", (pixels, 0), (half, kind), (quarter, kind))
        read, notes = look(path, 2)
        assert np.array_equal(read, half)
        assert [note for note in notes if "overview" in note] == []

    @pytest.mark.parametrize("change", ["black", "stale", "shifted", "turned"])
    @pytest.mark.parametrize("compression", [None, "zstd"])
    def test_others_are_passed_over(
        self, tmp_path: Path, pixels: Pixels, change: str, compression: str | None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(source, "REDUCED_PIXELS", 300_000)
        full, half = pixels.copy(), shrunk(pixels, 2)
        if change == "black":
            half = np.zeros_like(half)
        elif change == "stale":
            full[:, 700:] = 110
        else:
            half = np.roll(half, 4, axis=1) if change == "shifted" else half[::-1].copy()
        path = tmp_path / "bad.tif"
        with tifffile.TiffWriter(path) as tiff:
            tiff.write(full, compression=compression, **TILES)
            tiff.write(half, subfiletype=1, compression=compression, **TILES)
        said: list[str] = []
        with GigaImage.open(path, notify=said.append) as image:
            read = image.read(whole(image.size_wh), (512, 384))
            assert image.info.level_sizes == ((1024, 768), (512, 384))
            assert any("is not used" in note for note in image.notes)
        assert np.abs(read.astype(int) - shrunk(full, 2)).mean() < 2
        assert any("is not used" in line for line in said)

    def test_copies_are_judged_by_the_next_finer_good_one(self, tmp_path: Path, pixels: Pixels) -> None:
        half, quarter = np.zeros_like(shrunk(pixels, 2)), shrunk(pixels, 4)
        path = write_pages(tmp_path / "mixed.tif", (pixels, 0), (half, 1), (quarter, 1))
        assert np.array_equal(look(path, 4)[0], quarter)


class TestOddTiffs:
    """Nothing is wrong with these files but their form."""

    @staticmethod
    def change(path: Path, tag: int, value: int | None = None, to: int | None = None) -> None:
        """Give a tag of the first directory another value, or another number (to)."""
        data = bytearray(path.read_bytes())
        (at,) = struct.unpack_from("<I", data, 4)
        (count,) = struct.unpack_from("<H", data, at)
        for entry in range(at + 2, at + 2 + 12 * count, 12):
            if struct.unpack_from("<H", data, entry)[0] == tag:
                if to is not None:
                    struct.pack_into("<H", data, entry, to)
                if value is not None:
                    struct.pack_into("<I", data, entry + 8, value)
        path.write_bytes(data)

    @pytest.mark.parametrize("tile", [True, False])
    @pytest.mark.parametrize(
        ("tag", "value", "to"),
        [
            (274, 0, None),  # orientations that there are not
            (274, 9, None),
            (297, 7, None),  # a page number of no page
            (282, None, 65000),  # a tag that nobody knows, out of order
            (282, None, 256),  # a tag that occurs twice
        ],
    )
    def test_odd_tags(
        self, tmp_path: Path, pixels: Pixels, tile: bool, tag: int, value: int | None, to: int | None
    ) -> None:
        path = tmp_path / "odd.tif"
        layout: dict[str, object] = {"tile": (128, 128)} if tile else {"rowsperstrip": 64}
        tags = [(274, 3, 1, 1, True), (297, 3, 2, (0, 0), True)]
        tifffile.imwrite(path, pixels, photometric="rgb", metadata=None, extratags=tags, **layout)
        self.change(path, tag, value, to)
        assert np.array_equal(look(path)[0], pixels)

    @pytest.mark.parametrize("value", [math.nan, math.inf, -1e30, 1e30])
    @pytest.mark.parametrize("tag", [279, 330, 34735])  # StripByteCounts, SubIFDs, GeoKeyDirectory
    def test_whole_numbers_that_are_none(self, tmp_path: Path, pixels: Pixels, tag: int, value: float) -> None:
        path = tmp_path / "a.tif"
        tags = [(331, 4, 1, 8, True), (34735, 4, 1, 1, True)]  # tifffile writes no 330
        tifffile.imwrite(path, pixels, photometric="rgb", metadata=None, rowsperstrip=768, extratags=tags)
        content = bytearray(path.read_bytes())
        first = struct.unpack_from("<I", content, 4)[0] + 2
        stands = 331 if tag == 330 else tag
        entry = next(at for at in range(first, len(content), 12) if struct.unpack_from("<H", content, at)[0] == stands)
        content[entry : entry + 12] = struct.pack("<HHIf", tag, 11, 1, value)
        path.write_bytes(content)
        with warnings.catch_warnings(), suppress(ImageError):
            warnings.simplefilter("error")
            look(path)
        numbers = [one.whole_numbers(tag) for one in read_directories(path)]
        assert numbers[0].tolist() == [0]

    def test_four_bands_that_are_not_explained(self, tmp_path: Path, pixels: Pixels) -> None:
        path = tmp_path / "four.tif"
        four = np.dstack([pixels, pixels[:, :, 0]])
        tifffile.imwrite(path, four, photometric="rgb", extrasamples=[0], metadata=None, tile=(128, 128))
        self.change(path, 338, to=65001)
        with GigaImage.open(path) as image:
            assert image.size_wh == (1024, 768)
            image.read(whole(image.size_wh), (128, 96))

    @pytest.mark.parametrize("dtype", [np.float16, np.int8])
    def test_small_numbers(self, tmp_path: Path, pixels: Pixels, dtype: type) -> None:
        path = tmp_path / "small.tif"
        stored = (pixels / 255).astype(dtype) if dtype is np.float16 else (pixels // 2).astype(dtype)
        tifffile.imwrite(path, stored, photometric="rgb", metadata=None, tile=(128, 128))
        read, _ = look(path, 8)
        assert read.std() > 10

    def test_more_bands_than_any_camera_has(self, tmp_path: Path, pixels: Pixels) -> None:
        """Nothing is allocated for what a damaged tag declares."""
        path = tmp_path / "bands.tif"
        tifffile.imwrite(path, pixels, compression="zstd", **TILES)
        self.change(path, 277, value=9999)
        with pytest.raises(ImageError, match="9999 bands"):
            look(path)

    def test_twelve_thousand_pages(self, tmp_path: Path, pixels: Pixels) -> None:
        """libtiff would take 20 seconds for each time that the file is opened."""
        path = tmp_path / "many.tif"
        tifffile.imwrite(path, pixels, **TILES)  # type: ignore[arg-type]
        data = bytearray(path.read_bytes())
        (first,) = struct.unpack_from("<I", data, 4)
        (count,) = struct.unpack_from("<H", data, first)
        directory = bytes(data[first : first + 2 + 12 * count])
        at = first
        for _ in range(12_000):
            struct.pack_into("<I", data, at + 2 + 12 * count, len(data))
            at = len(data)
            data += directory + bytes(4)
        path.write_bytes(data)
        began = time.monotonic()
        read, notes = look(path)
        assert time.monotonic() - began < 8
        assert np.array_equal(read, pixels)
        assert any("more than 1000 pages" in note for note in notes)


class TestLeftOut:
    """Sparse files: tiles and strips without any bytes."""

    def test_a_file_of_nothing_costs_nothing(self, tmp_path: Path) -> None:
        tile = scene(256, 256)
        path = shared_tiles(
            tmp_path / "sparse.tif",
            (400_000, 400_000),
            [tile],
            lambda col, row: np.where((col == 700) & (row < 9), 0, 1).astype(np.intp),
        )
        began = time.monotonic()
        with GigaImage.open(path) as image:
            image.prepare(9)
            assert image.read(whole(image.size_wh), (2000, 2000)).any()
            assert np.array_equal(image.read(Window(700 * 256, 256, 256, 256), (256, 256)), tile)
        assert time.monotonic() - began < 30

    def test_strips(self, tmp_path: Path, pixels: Pixels) -> None:
        path = tmp_path / "strips.tif"
        tifffile.imwrite(path, pixels, photometric="rgb", rowsperstrip=64, compression="zlib", metadata=None)
        with tifffile.TiffFile(path) as tiff:
            tag = tiff.pages[0].tags["StripByteCounts"]
            at, size = tag.valueoffset, tag.valuebytecount // tag.count
        data = bytearray(path.read_bytes())
        data[at + 2 * size : at + 3 * size] = bytes(size)
        path.write_bytes(data)
        read, _ = look(path)
        assert (read[128:192] == 0).all()
        read[128:192] = pixels[128:192]
        assert np.array_equal(read, pixels)


def test_four_files_in_four_threads(tmp_path: Path, pixels: Pixels) -> None:
    """libvips has one text for the errors of all threads, which others clear: sound sparse files were "damaged"."""
    tile, noise = scene(128, 128), np.random.default_rng(1)
    paths = [
        shared_tiles(tmp_path / f"{i}.tif", (1024, 768), [tile], lambda col, row: ((col + row) % 2).astype(np.intp))
        for i in range(4)
    ]
    for i, compression in enumerate(("zstd", "lzma")):
        paths.append(tmp_path / f"{compression}.tif")
        tifffile.imwrite(paths[-1], pixels, compression=compression, **TILES)
        paths.append(save(noise.integers(0, 255, (300, 400, 3), dtype=np.uint8), tmp_path / f"{i}.jpg"))
        data = bytearray(paths[-1].read_bytes())
        scan = data.find(b"\xff\xda")
        end = scan + 2 + int.from_bytes(data[scan + 2 : scan + 4], "big")
        data[end - 3 : end] = bytes(3)  # as some cameras do; no pixel is lost
        paths[-1].write_bytes(data)
    cut = save(pixels, tmp_path / "cut.jpg")
    cut.write_bytes(cut.read_bytes()[:9000])

    def fail(number: int) -> None:
        with pytest.raises(ImageError, match="damaged"):
            look(cut)

    alone = [look(path)[0] for path in paths]
    with ThreadPoolExecutor(4) as pool:
        failing = [pool.submit(fail, i) for i in range(40)]
        looked = [(path, pool.submit(look, path)) for _ in range(5) for path in paths]
        together = [future.result()[0] for _, future in looked]
        for future in failing:
            future.result()
    for number, read in enumerate(together):
        assert np.array_equal(read, alone[number % len(paths)])
