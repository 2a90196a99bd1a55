"""Files are decoded as seldom as may be; the scratch file comes and goes without a trace."""

from __future__ import annotations

import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from image_files import Pixels, save, scene, shared_tiles

from gigacount.errors import ImageError, OutputError
from gigacount.geometry import Window, whole
from gigacount.image import GigaImage, source
from gigacount.options import ReadOptions

WIDTH, HEIGHT = 1300, 900


@pytest.fixture(autouse=True)
def _large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All these pictures count as large ones."""
    monkeypatch.setattr(source, "REDUCED_PIXELS", 100_000)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, pixels = tmp_path_factory.mktemp("files"), scene(WIDTH, HEIGHT)
    save(pixels, folder / "scene.jpg")
    save(pixels, folder / "progressive.jpg", interlace=True)
    save(pixels, folder / "scene.png")
    save(pixels, folder / "scene.webp", effort=0)
    save(pixels, folder / "strips.tif")
    save(pixels, folder / "tiles.tif", tile=True)
    save(pixels, folder / "pyramid.tif", tile=True, pyramid=True)
    return folder


class TestDecoding:
    """A stream is decoded once when looks are announced, at most twice when not; tiles are not decoded whole."""

    @pytest.mark.parametrize("name", ["scene.jpg", "scene.png", "strips.tif", "scene.webp", "progressive.jpg"])
    def test_announced_looks_take_one_decoding(self, files: Path, name: str, tmp_path: Path) -> None:
        said: list[str] = []
        options = ReadOptions(scratch_folder=tmp_path)
        with GigaImage.open(files / name, options, said.append) as image:
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

    def test_scratch_takes_a_byte_for_each_band_that_is_seen_and_one_for_opacity(self, tmp_path: Path) -> None:
        grey = scene(800, 600)[:, :, :1]
        rgba = np.dstack([scene(800, 600), np.full((600, 800), 200, np.uint8)])
        for pixels, band_bytes in ((grey, 1), (rgba[:, :, :3], 3), (rgba, 4)):
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


def take_fine_look(path: Path) -> None:
    scratch = path.parent / "scratch"
    try:
        with GigaImage.open(path, ReadOptions(scratch_folder=scratch)) as image:
            image.read(Window(0, 0, 99, 99), (99, 99))
    finally:
        assert list(scratch.iterdir()) == []


class TestScratch:
    @pytest.fixture
    def pixels(self, tmp_path: Path) -> Pixels:
        (tmp_path / "scratch").mkdir()
        return scene(900, 700)

    def test_no_room(self, tmp_path: Path, pixels: Pixels, monkeypatch: pytest.MonkeyPatch) -> None:
        path = save(pixels, tmp_path / "full.jpg")
        usage = shutil.disk_usage(tmp_path)
        monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=1_000_000))
        with pytest.raises(OutputError) as caught:
            take_fine_look(path)
        message = str(caught.value)
        assert str(tmp_path / "scratch") in message
        assert "TMPDIR" in message
        assert "\n" not in message

    def test_no_folder(self, tmp_path: Path, pixels: Pixels) -> None:
        path = save(pixels, tmp_path / "x.jpg")
        with (
            GigaImage.open(path, ReadOptions(scratch_folder=tmp_path / "none")) as image,
            pytest.raises(OutputError, match=r"none.*TMPDIR"),
        ):
            image.prepare(2)

    def test_disk_fills_up(self, tmp_path: Path, pixels: Pixels) -> None:
        """A limit on file sizes stands for the disk: writing fails in the middle."""
        path = save(pixels, tmp_path / "fills.jpg")
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, hard))
        try:
            with pytest.raises(OutputError, match="File too large") as caught:
                take_fine_look(path)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            signal.signal(signal.SIGXFSZ, handler)
        assert "\n" not in str(caught.value)

    @pytest.mark.alone
    def test_closing_stops_decoding(self, tmp_path: Path) -> None:
        (tmp_path / "scratch").mkdir()
        noise = np.random.default_rng(3).integers(0, 256, (4000, 5000, 3), dtype=np.uint8)
        for name in ("n.jpg", "n.tif"):
            path = save(noise, tmp_path / name)
            with GigaImage.open(path, ReadOptions(scratch_folder=tmp_path / "scratch")) as image:
                image.prepare(2)
                time.sleep(0.02)
                began = time.monotonic()
            assert time.monotonic() - began < 2
            assert list((tmp_path / "scratch").iterdir()) == []
        assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("gigacount-decode")]

    @pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
    def test_nothing_is_left_by_ctrl_c_or_kill(self, tmp_path: Path, ending: signal.Signals) -> None:
        (tmp_path / "scratch").mkdir()
        noise = np.random.default_rng(4).integers(0, 256, (4000, 5000, 3), dtype=np.uint8)
        path = save(noise, tmp_path / "n.jpg")
        script = """
import signal
import sys
from pathlib import Path
from gigacount.geometry import Window
from gigacount.image import GigaImage, ReadOptions, source
signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever was inherited from nohup and the like
source.REDUCED_PIXELS = 100_000
with GigaImage.open(Path(sys.argv[1]), ReadOptions(scratch_folder=Path(sys.argv[2])), print) as image:
    image.prepare(2)
    print("ready", flush=True)
    while True:
        image.read(Window(0, 0, 5000, 4000), (2500, 2000))
"""
        arguments = [sys.executable, "-c", script, str(path), str(tmp_path / "scratch")]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            while "ready" not in process.stdout.readline():
                assert process.poll() is None
            process.send_signal(ending)
            process.communicate(timeout=30)
        assert process.returncode in (-ending, 130, -signal.SIGINT)
        assert list((tmp_path / "scratch").iterdir()) == []
