"""Shared by all tests."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import settings

from gigacount.image.vips import library

library()  # before tests import pyvips: libvips' warnings are dropped from the start

from image_files import save, scene, shared_tiles  # noqa: E402

# No deadline: the machines are shared and slow at times. Derandomised: a red run stays red until it is mended.
settings.register_profile("gigacount", deadline=None, derandomize=True)
settings.load_profile("gigacount")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--crowded",
        action="store_true",
        help="three threads read other pictures beside each test of test_image*.py",
    )


@pytest.fixture(scope="session")
def other_pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A sparse TIFF, one in strips that libvips does not decode, and a damaged JPEG: each fills libvips' error text."""
    folder = tmp_path_factory.mktemp("others")
    pixels = scene(512, 384)
    sparse = shared_tiles(
        folder / "sparse.tif", (512, 384), [scene(128, 128)], lambda col, row: ((col + row) % 2).astype(np.intp)
    )
    tifffile.imwrite(folder / "strips.tif", pixels, compression="lzma", metadata=None)
    damaged = save(pixels, folder / "damaged.jpg")
    damaged.write_bytes(damaged.read_bytes()[:9000])
    return [sparse, folder / "strips.tif", damaged]


@pytest.fixture(autouse=True)
def crowd(request: pytest.FixtureRequest) -> Iterator[None]:
    """With --crowded, no test of images has libvips, whose error text is one for all threads, to itself; but those that
    are marked `alone`."""
    crowded = request.config.getoption("--crowded") and request.path.name.startswith("test_image")
    if not crowded or request.node.get_closest_marker("alone"):
        yield
        return
    from gigacount.errors import ImageError
    from gigacount.geometry import whole
    from gigacount.image import GigaImage

    done = threading.Event()

    def keep_reading(path: Path) -> None:
        while not done.is_set():
            with suppress(ImageError), GigaImage.open(path) as image:
                image.read(whole(image.size_wh), (256, 192))

    with ThreadPoolExecutor(3) as pool:
        readers = [pool.submit(keep_reading, path) for path in request.getfixturevalue("other_pictures")]
        yield
        done.set()
    for reader in readers:
        reader.result()
