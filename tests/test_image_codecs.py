"""TIFF compressions that the libvips of the wheel lacks, read by tifffile and imagecodecs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from image_files import Pixels, scene

from gigacount.errors import ImageError
from gigacount.geometry import Window, whole
from gigacount.image import GigaImage, source
from gigacount.options import ReadOptions

pytest.importorskip("imagecodecs")

WIDTH, HEIGHT = 900, 700


@pytest.fixture(scope="module")
def pixels() -> Pixels:
    return scene(WIDTH, HEIGHT)


@pytest.fixture(autouse=True)
def _large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "REDUCED_PIXELS", 50_000)


@pytest.mark.parametrize("compression", ["zstd", "lerc", "jpeg2000", "jpegxl"])
@pytest.mark.parametrize("options", [{"tile": (128, 128)}, {"rowsperstrip": 48}])
def test_tiles_and_strips(tmp_path: Path, pixels: Pixels, compression: str, options: dict[str, object]) -> None:
    path = tmp_path / "c.tif"
    if compression == "zstd":
        options = options | {"predictor": True}
    if compression in ("jpegxl", "jpeg2000"):
        options = options | {
            "compressionargs": {"lossless": True} if compression != "jpeg2000" else {"reversible": True}
        }
    tifffile.imwrite(path, pixels, photometric="rgb", compression=compression, **options)
    with GigaImage.open(path) as image:
        image.prepare(5)
        for window in (Window(0, 0, 300, 200), Window(517, 333, 301, 299), Window(899, 699, 1, 1)):
            expected = pixels[window.top : window.bottom, window.left : window.right]
            assert np.array_equal(image.read(window, window.size_wh), expected)
        coarse = image.read(whole(image.size_wh), (90, 70))
    means = pixels.reshape(70, 10, 90, 10, 3).mean(axis=(1, 3))
    assert np.abs(coarse - means)[2:-2, 2:-2].mean() < 1


@pytest.mark.parametrize("inner", [True, False])
def test_pyramids(tmp_path: Path, pixels: Pixels, inner: bool) -> None:
    path = tmp_path / "p.tif"
    small = pixels.reshape(HEIGHT // 2, 2, WIDTH // 2, 2, 3).mean(axis=(1, 3)).astype(np.uint8)
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(pixels, tile=(128, 128), compression="zstd", photometric="rgb", subifds=1 if inner else 0)
        tiff.write(small, tile=(128, 128), compression="zstd", photometric="rgb")
    with GigaImage.open(path) as image:
        assert image.info.level_sizes == ((900, 700), (450, 350))
        assert np.array_equal(image.read(whole(image.size_wh), (450, 350)), small)
        assert image.decodes == 0


def test_deep_grey(tmp_path: Path, pixels: Pixels) -> None:
    grey = pixels[:, :, 0].astype(np.uint16) * 257
    path = tmp_path / "g.tif"
    tifffile.imwrite(path, grey, photometric="minisblack", compression="zstd", tile=(64, 64))
    with GigaImage.open(path) as image:
        read = image.read(whole(image.size_wh), image.size_wh)
    assert np.abs(read.astype(int) - pixels[:, :, :1]).max() <= 1


def test_damage(tmp_path: Path, pixels: Pixels) -> None:
    path = tmp_path / "d.tif"
    tifffile.imwrite(path, pixels, photometric="rgb", compression="zstd", tile=(128, 128))
    with tifffile.TiffFile(path) as tiff:
        start, count = tiff.pages[0].dataoffsets[9], tiff.pages[0].databytecounts[9]  # column 1, row 1 of 8
    data = bytearray(path.read_bytes())
    data[start : start + count] = bytes(count)
    path.write_bytes(data)
    with GigaImage.open(path) as image, pytest.raises(ImageError, match=r"d\.tif: damaged"):
        image.read(whole(image.size_wh), image.size_wh)
    with GigaImage.open(path, ReadOptions(allow_damaged=True)) as image:
        read = image.read(whole(image.size_wh), image.size_wh)
    assert (read[128:256, 128:256] == 128).all()
    read[128:256, 128:256] = pixels[128:256, 128:256]
    assert np.array_equal(read, pixels)


@pytest.mark.parametrize("options", [{"tile": (128, 128)}, {"rowsperstrip": 48}])
@pytest.mark.parametrize("photometric", ["rgb", "minisblack"])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("compression", [None, "zlib", "zstd"])
def test_bands_one_after_the_other(
    tmp_path: Path, pixels: Pixels, options: dict[str, object], photometric: str, bits: int, compression: str | None
) -> None:
    """libvips hands out garbled pixels for some of these, and refuses others."""
    path = tmp_path / "planes.tif"
    planes = pixels.transpose(2, 0, 1) if bits == 8 else pixels.transpose(2, 0, 1).astype(np.uint16) * 257
    tifffile.imwrite(
        path,
        np.ascontiguousarray(planes),
        photometric=photometric,
        planarconfig="separate",
        compression=compression,
        metadata=None,
        **options,
    )
    with GigaImage.open(path) as image:
        read = image.read(whole(image.size_wh), image.size_wh)
    assert np.abs(read.astype(int) - pixels).max() <= bits // 16
