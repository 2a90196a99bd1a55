"""What is left of damaged pictures, and memory for what is decoded as a whole."""

from __future__ import annotations

import ast
import struct
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import tifffile
from image_files import Pixels, save, scene

import gigacount
from gigacount.errors import ImageError
from gigacount.geometry import Window, whole
from gigacount.image import GigaImage, room
from gigacount.options import ReadOptions

WIDTH, HEIGHT = 900, 700
DAMAGED = ReadOptions(allow_damaged=True)


@pytest.fixture(scope="module")
def pixels() -> Pixels:
    noise = np.random.default_rng(0).integers(0, 40, (HEIGHT, WIDTH, 3))
    return (scene(WIDTH, HEIGHT) // 2 + noise).astype(np.uint8)


def cut(path: Path, part: float) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    return path


class TestWhatIsLeft:
    @pytest.mark.parametrize("name", ["c.png", "c.jpg"])
    def test_everything_from_the_first_damage_on_is_grey(self, tmp_path: Path, pixels: Pixels, name: str) -> None:
        path = cut(save(pixels, tmp_path / name), 0.6)
        looks, shares = [], []
        for _ in range(3):  # the same, however the threads run
            with GigaImage.open(path, DAMAGED) as image:
                looks.append(image.read(whole(image.size_wh), image.size_wh))
                shares.append(image.missing(whole(image.size_wh)))
                assert image.missing(Window(0, 0, WIDTH, 64)) == 0
                assert image.missing(Window(0, HEIGHT - 9, WIDTH, 9)) == 1
        first = round(HEIGHT * (1 - shares[0]))
        assert 0.2 < shares[0] < 0.6
        assert (looks[0][first:] == 128).all()
        assert (looks[0][:first].astype(int) - pixels[:first]).std() < 12
        assert all(np.array_equal(look, looks[0]) for look in looks)
        assert len(set(shares)) == 1

    @pytest.mark.parametrize("name", ["c.webp", "i.png", "c.gif"])
    def test_a_file_of_which_nothing_can_be_read_is_no_picture_of_nobody(
        self, tmp_path: Path, pixels: Pixels, name: str
    ) -> None:
        options: dict[str, object] = {"interlace": True} if name == "i.png" else {}
        path = cut(save(np.ascontiguousarray(pixels[:300, :350]), tmp_path / name, **options), 0.1)
        with pytest.raises(ImageError), GigaImage.open(path, DAMAGED) as image:
            image.read(whole(image.size_wh), image.size_wh)

    def test_a_progressive_jpeg_is_less_sharp(self, tmp_path: Path, pixels: Pixels) -> None:
        path = cut(save(pixels, tmp_path / "p.jpg", interlace=True), 0.7)
        with GigaImage.open(path, DAMAGED) as image:
            read = image.read(whole(image.size_wh), (90, 70))
        assert np.abs(read - pixels.reshape(70, 10, 90, 10, 3).mean(axis=(1, 3))).mean() < 12

    @pytest.mark.parametrize("tile", [(128, 128), None])
    @pytest.mark.parametrize("compression", ["zlib", "zstd"])
    def test_pieces_of_a_tiff_stand_alone(
        self, tmp_path: Path, pixels: Pixels, tile: tuple[int, int] | None, compression: str
    ) -> None:
        path = tmp_path / "t.tif"
        tifffile.imwrite(
            path, pixels, photometric="rgb", compression=compression, tile=tile, rowsperstrip=100, metadata=None
        )
        with tifffile.TiffFile(path) as tiff:
            start, count = tiff.pages[0].dataoffsets[3], tiff.pages[0].databytecounts[3]
        data = bytearray(path.read_bytes())
        data[start : start + count] = bytes(count)
        path.write_bytes(data)
        where = Window(384, 0, 128, 128) if tile else Window(0, 300, WIDTH, 100)
        with GigaImage.open(path, DAMAGED) as image:
            read = image.read(whole(image.size_wh), image.size_wh)
            assert image.missing(where) == 1
            assert image.missing(Window(0, 500, 100, 100)) == 0
            assert image.missing(whole(image.size_wh)) == pytest.approx(where.pixels / (WIDTH * HEIGHT))
        inside = (slice(where.top, where.bottom), slice(where.left, where.right))
        assert (read[inside] == 128).all()
        read[inside] = pixels[inside]
        assert np.array_equal(read, pixels)

    def test_an_intact_picture_misses_nothing(self, tmp_path: Path, pixels: Pixels) -> None:
        for name, options in (("a.jpg", {}), ("a.tif", {"tile": True})):
            with GigaImage.open(save(pixels, tmp_path / name, **options), DAMAGED) as image:
                image.read(whole(image.size_wh), (90, 70))
                assert image.missing(whole(image.size_wh)) == 0


class TestMemory:
    def test_control_groups_count(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The tightest of a process's group and those around it, without the files that it holds in memory."""
        inner = tmp_path / "groups" / "job" / "step"
        inner.mkdir(parents=True)
        for folder, limit, used in ((inner, "max", 100), (inner.parent, "5000000", 3_000_000)):
            (folder / "memory.max").write_text(limit)
            (folder / "memory.current").write_text(str(used))
            (folder / "memory.stat").write_text("anon 1\ninactive_file 1000000\n")
        (tmp_path / "membership").write_text("0::/job/step\n")
        monkeypatch.setattr(room, "GROUPS", tmp_path / "groups")
        monkeypatch.setattr(room, "MEMBERSHIP", tmp_path / "membership")
        assert room.free_bytes() == 3_000_000

    def test_pictures_wait_for_one_another(
        self, tmp_path: Path, pixels: Pixels, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """One of these fits, two at a time do not: both are read, one after the other."""
        path = save(pixels, tmp_path / "p.webp", effort=0)
        with GigaImage.open(path) as image:
            info = image.info
        monkeypatch.setattr(room, "free_bytes", lambda: int(1.5 * room.needed_bytes(info) / room.SHARE))
        under_way: list[str] = []
        most = 0

        def take() -> None:
            nonlocal most
            with room.reserved(info, "p"):
                under_way.append("p")
                most = max(most, len(under_way))
                threading.Event().wait(0.05)
                under_way.pop()

        threads = [threading.Thread(target=take) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert most == 1
        monkeypatch.setattr(room, "free_bytes", lambda: room.needed_bytes(info) // 2)
        with pytest.raises(ImageError, match="WebP is decoded as a whole"), room.reserved(info, "p"):
            pass

    def test_little_memory_is_no_damage(self, tmp_path: Path, pixels: Pixels, monkeypatch: pytest.MonkeyPatch) -> None:
        path = cut(save(pixels, tmp_path / "c.png"), 0.5)
        monkeypatch.setattr(room, "is_short", lambda: True)
        for options in (ReadOptions(), DAMAGED):
            with GigaImage.open(path, options) as image, pytest.raises(ImageError, match="too little memory"):
                image.read(whole(image.size_wh), (90, 70))


def test_one_door_to_libvips() -> None:
    """Whoever imports pyvips before it is set up has libvips' warnings on the terminal."""
    package = Path(gigacount.__file__).parent
    importing = set()
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(name.split(".")[0] == "pyvips" for name in names):
                importing.add(path.relative_to(package).as_posix())
    assert importing == {"image/vips.py"}


def test_the_first_users_may_come_all_at_once(tmp_path: Path, pixels: Pixels) -> None:
    """Set up by two threads at once, GLib warned of a handler that was removed twice; no warning is heard now."""
    for i in range(4):
        path = save(pixels, tmp_path / f"{i}.tif", tile=True, compression="deflate")
        with tifffile.TiffFile(path) as tiff:
            start, count = tiff.pages[0].dataoffsets[17], tiff.pages[0].databytecounts[17]
        data = bytearray(path.read_bytes())
        data[start : start + count] = bytes(count)
        path.write_bytes(data)
    program = f"""
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from gigacount.errors import ImageError
from gigacount.geometry import whole
from gigacount.image import GigaImage
def look(i):
    try:
        with GigaImage.open(Path({str(tmp_path)!r}) / f"{{i % 4}}.tif") as image:
            image.read(whole(image.size_wh), (90, 70))
    except ImageError:
        return 1
    return 0
with ThreadPoolExecutor(8) as pool:
    print(sum(pool.map(look, range(16))))
"""
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert (done.stdout, done.stderr) == ("16\n", "")


def test_a_jpeg_header_that_cameras_get_wrong(tmp_path: Path, pixels: Pixels) -> None:
    """It is set right on the way to the decoder, which stays strict: damage behind it is still found."""
    path = save(pixels, tmp_path / "odd.jpg")
    data = bytearray(path.read_bytes())
    scan = data.find(b"\xff\xda")
    (length,) = struct.unpack_from(">H", data, scan + 2)
    data[scan + 2 + length - 3 : scan + 2 + length] = bytes(3)
    middle = len(data) // 2
    path.write_bytes(data[:middle] + data[middle + 20_000 :])
    with GigaImage.open(path) as image, pytest.raises(ImageError, match="damaged"):
        image.read(whole(image.size_wh), image.size_wh)
