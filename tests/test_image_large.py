"""Gigapixels at bounded memory; each file is read in a process of its own, whose peak is measured."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import pyvips
from image_files import shared_tiles

pytestmark = pytest.mark.slow

WIDTH, HEIGHT = 26_908, 15_024

LOOKS = """
import json, sys, time
from pathlib import Path
from gigacount.geometry import Window, whole
from gigacount.image import GigaImage, ReadOptions
from processes import memory_bytes

def peak():
    return memory_bytes()[0] / 2**20

before = peak()
began = time.monotonic()
seconds, means = {}, {}
with GigaImage.open(Path(sys.argv[1]), ReadOptions(scratch_folder=Path(sys.argv[2]))) as image:
    width, height = image.size_wh
    image.prepare(10)
    for ratio in (None, 8, 5, 3.9, 2.99, 2, 1, 0.5):
        name = str(ratio)
        size_wh = (2560, 1440)
        window = whole(image.size_wh)
        if ratio is not None:
            size = min(width, int(2560 * ratio)), min(height, int(1440 * ratio))
            window = Window((width - size[0]) // 2 // 8 * 8, (height - size[1]) // 2 // 8 * 8, *size)
        start = time.monotonic()
        means[name] = image.read(window, size_wh).mean(axis=(0, 1)).tolist()
        seconds[name] = time.monotonic() - start
    result = {"peak_mb": peak() - before, "decodes": image.decodes, "seconds": seconds, "means": means}
    result["scratch"] = image.scratch[1] if image.scratch else 0
print(json.dumps(result))
"""


def take_looks(path: Path, scratch: Path) -> dict[str, object]:
    scratch.mkdir(exist_ok=True)
    arguments = [sys.executable, "-c", LOOKS, str(path), str(scratch)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=1500, check=True)
    assert done.stderr == ""
    assert list(scratch.iterdir()) == []
    print(path.name, done.stdout)
    result: dict[str, object] = json.loads(done.stdout)
    return result


@pytest.fixture(scope="module")
def gigapixel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gradient with noise, 0.4 gigapixels, as JPEG; made at bounded memory."""
    position = pyvips.Image.xyz(WIDTH, HEIGHT)
    red, green = position[0] * (200 / WIDTH), position[1] * (200 / HEIGHT)
    tile = pyvips.Image.gaussnoise(512, 512, sigma=15, mean=30, seed=1)
    noise = tile.replicate(WIDTH // 512 + 1, HEIGHT // 512 + 1).crop(0, 0, WIDTH, HEIGHT)
    image = (red.bandjoin([green, (red + green) / 2]) + noise).cast("uchar").copy(interpretation="srgb")
    path: Path = tmp_path_factory.mktemp("gigapixel") / "photo.jpg"
    image.jpegsave(str(path), Q=85)
    return path


@pytest.mark.parametrize(
    ("name", "options", "peak_mb", "scratch"),
    [
        ("photo.jpg", {}, 350, True),
        ("strips.tif", {"compression": "none"}, 350, True),
        ("photo.png", {"compression": 1}, 350, True),
        ("tiles.tif", {"tile": True, "tile_width": 256, "tile_height": 256, "compression": "jpeg"}, 350, False),
        ("pyramid.tif", {"tile": True, "pyramid": True, "compression": "jpeg"}, 200, False),
    ],
)
def test_a_gigapixel_photograph(
    gigapixel: Path, tmp_path: Path, name: str, options: dict[str, object], peak_mb: int, scratch: bool
) -> None:
    path = gigapixel
    if name != gigapixel.name:
        path = tmp_path / name
        pyvips.Image.new_from_file(str(gigapixel), access="sequential").write_to_file(str(path), **options)
    result = take_looks(path, tmp_path / "scratch")
    assert result["peak_mb"] < peak_mb  # type: ignore[operator]
    assert result["decodes"] == (0 if "pyramid" in name else 1)
    assert result["scratch"] == (WIDTH * HEIGHT * 3 if scratch else 0)
    for mean in result["means"].values():  # type: ignore[attr-defined]
        assert np.abs(np.array(mean) - 130).max() < 1.5


def test_ten_gigapixels_of_tiles(tmp_path: Path) -> None:
    tiles = [np.full((256, 256, 3), value, np.uint8) for value in (40, 90, 160, 220)]
    path = shared_tiles(tmp_path / "sparse.tif", (100_000, 100_000), tiles, lambda col, row: (col + row) % 4)
    result = take_looks(path, tmp_path / "scratch")
    assert result["peak_mb"] < 400  # type: ignore[operator]
    assert result["decodes"] == 1
    assert np.abs(np.array(result["means"]["None"]) - 127.5).max() < 1  # type: ignore[index]
