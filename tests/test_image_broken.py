"""Files that cannot be read: one line that says why, no scratch left, nothing printed, no hang."""

from __future__ import annotations

import gc
import os
import resource
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import tifffile
from image_files import Pixels, png_header, save, scene, shared_tiles

from gigacount.errors import GigacountError, ImageError, OutputError
from gigacount.geometry import Window, whole
from gigacount.image import GigaImage, ReadOptions, codecs, room, source, streamed
from gigacount.image.vips import VipsError

WIDTH, HEIGHT = 900, 700


@pytest.fixture(scope="module")
def pixels() -> Pixels:
    noise = np.random.default_rng(0).integers(0, 40, (HEIGHT, WIDTH, 3))
    return (scene(WIDTH, HEIGHT) // 2 + noise).astype(np.uint8)


@pytest.fixture(autouse=True)
def _scratch_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All these pictures count as large ones, whose scratch file goes to an empty folder that must stay empty."""
    monkeypatch.setattr(source, "REDUCED_PIXELS", 50_000)
    (tmp_path / "scratch").mkdir()


def look(path: Path, finely: bool = True, **options: object) -> Pixels:
    scratch = path.parent / "scratch"
    try:
        with GigaImage.open(path, ReadOptions(scratch_folder=scratch, **options)) as image:  # type: ignore[arg-type]
            small = image.size_wh[0] // 9, image.size_wh[1] // 9
            return image.read(whole(image.size_wh), image.size_wh if finely else small)
    finally:
        assert list(scratch.iterdir()) == []


def refuse(path: Path, *words: str, finely: bool = True, **options: object) -> None:
    with pytest.raises(GigacountError) as caught:
        look(path, finely, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert path.name in message
    for word in words:
        assert word in message


class TestNoPicture:
    def test_missing(self, tmp_path: Path) -> None:
        refuse(tmp_path / "nowhere.jpg", "no such file")
        with pytest.raises(ImageError, match="no such file"):
            GigaImage.open(tmp_path / "no folder" / "nowhere.jpg")

    def test_folder(self, tmp_path: Path) -> None:
        (tmp_path / "folder.jpg").mkdir()
        refuse(tmp_path / "folder.jpg", "folder")

    def test_empty(self, tmp_path: Path) -> None:
        (tmp_path / "empty.jpg").write_bytes(b"")
        refuse(tmp_path / "empty.jpg", "empty")

    @pytest.mark.parametrize(
        "content",
        [
            b"Dear Sir or Madam,\n",
            b"3 3\n1 2 3\n4 5 6\n7 8 9\n",
            b"1,2,3\n4,5,6\n",
            b"\xff\xd8\xff",
        ],
    )
    @pytest.mark.parametrize("name", ["text.jpg", "text.csv", "text.mat"])
    def test_anything_else(self, tmp_path: Path, content: bytes, name: str) -> None:
        (tmp_path / name).write_bytes(content)
        refuse(tmp_path / name, "not")

    def test_nothing_behind_the_head_of_a_tiff(self, tmp_path: Path) -> None:
        (tmp_path / "a.tif").write_bytes(b"II*\0" + bytes(99))
        refuse(tmp_path / "a.tif", "damaged or cut short")

    def test_pipe(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe.jpg")
        refuse(tmp_path / "pipe.jpg", "pipe")

    def test_device(self) -> None:
        with pytest.raises(ImageError, match="device"):
            GigaImage.open(Path("/dev/zero"))

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
    def test_no_permission(self, tmp_path: Path, pixels: Pixels) -> None:
        path = save(pixels, tmp_path / "secret.jpg")
        path.chmod(0)
        refuse(path, "Permission denied")

    def test_no_permission_for_anybody(self, tmp_path: Path, pixels: Pixels, monkeypatch: pytest.MonkeyPatch) -> None:
        path = save(pixels, tmp_path / "secret.jpg")

        def deny(*args: object, **kwargs: object) -> None:
            raise PermissionError(13, "Permission denied")

        with monkeypatch.context() as patch:
            patch.setattr(Path, "open", deny)
            with pytest.raises(ImageError, match=r"secret\.jpg.*Permission denied"):
                GigaImage.open(path)

    def test_names_that_no_file_can_have(self, tmp_path: Path) -> None:
        for name in ("x" * 300 + ".jpg", "nul\0.jpg"):
            with pytest.raises(ImageError) as caught:
                GigaImage.open(tmp_path / name)
            assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        "name", ["a[1].jpg", "b[page=3]", "ü ñ.jpg", "new\nline.jpg", "-dash.jpg", "c[shrink=2].jpg[]"]
    )
    def test_odd_names_are_just_names(self, tmp_path: Path, pixels: Pixels, name: str) -> None:
        path = save(pixels, tmp_path / "plain.jpg").rename(tmp_path / name)
        assert look(path).shape == (HEIGHT, WIDTH, 3)

    def test_names_that_are_no_text(self, tmp_path: Path, pixels: Pixels) -> None:
        odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe.jpg"))
        save(pixels, tmp_path / "plain.jpg").rename(odd)
        assert look(odd).shape == (HEIGHT, WIDTH, 3)
        for name in (odd, tmp_path / "new\nline.jpg"):
            name.write_bytes(b"text")
            with pytest.raises(ImageError) as caught:
                GigaImage.open(name)
            assert "\n" not in str(caught.value)
            str(caught.value).encode()  # can be printed

    def test_drawings_need_trust(self, tmp_path: Path) -> None:
        svg = tmp_path / "drawing.svg"
        svg.write_text(
            '<svg xmlns="http://www.w3.org/2000/svg" width="90" height="90"><rect width="45" height="90"/></svg>'
        )
        refuse(svg, "--trust-loaders")
        read = look(svg, trust_loaders=True)
        assert (read[45, 20, 0], read[45, 70, 0]) == (0, 255)
        refuse(svg, "--trust-loaders")  # trust holds for the picture it was given to


class TestTooLarge:
    def test_more_pixels_than_allowed(self, tmp_path: Path) -> None:
        path = tmp_path / "bomb.png"
        path.write_bytes(png_header(900_000, 900_000))
        refuse(path, "gigapixels", "--max-pixels")
        path.write_bytes(png_header(1000, 1000))
        refuse(path, "--max-pixels", max_pixels=999_999)

    def test_an_absurd_side(self, tmp_path: Path) -> None:
        path = tmp_path / "line.png"
        path.write_bytes(png_header(50_000_000, 8))
        refuse(path, "50000000")

    def test_absurd_tiles(self, tmp_path: Path) -> None:
        path = tmp_path / "tile.tif"
        tifffile.imwrite(path, np.zeros((64, 64, 3), np.uint8), tile=(64, 64), photometric="rgb")
        data = bytearray(path.read_bytes())
        with tifffile.TiffFile(path) as tiff:
            for name in ("ImageWidth", "ImageLength", "TileWidth", "TileLength"):
                tag = tiff.pages[0].tags[name]
                data[tag.valueoffset : tag.valueoffset + 4] = (60_000).to_bytes(4, "little")
        path.write_bytes(data)
        refuse(path)

    def test_what_is_decoded_whole_must_fit_into_memory(
        self, tmp_path: Path, pixels: Pixels, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = save(pixels, tmp_path / "progressive.jpg", interlace=True)
        assert look(path).shape == (HEIGHT, WIDTH, 3)
        monkeypatch.setattr(room, "free_bytes", lambda: 4_000_000)
        refuse(path, "progressive JPEG", "memory")
        assert look(save(pixels, tmp_path / "plain.jpg")).shape == (HEIGHT, WIDTH, 3)


def cut(path: Path, part: float) -> Path:
    data = path.read_bytes()
    return write(path, data[: int(len(data) * part)])


def write(path: Path, data: bytes | bytearray) -> Path:
    path.write_bytes(data)
    return path


class TestDamaged:
    @pytest.mark.parametrize("finely", [True, False])
    @pytest.mark.parametrize("name", ["c.jpg", "progressive.jpg", "c.png", "c.webp", "c.gif", "strips.tif", "lzw.tif"])
    @pytest.mark.parametrize("part", [0.3, 0.7, 0.97])
    def test_cut_short(self, tmp_path: Path, pixels: Pixels, name: str, part: float, finely: bool) -> None:
        """Also when the coarse look alone, by shrinking on load, would get by without the rest."""
        options: dict[str, object] = {"interlace": True} if "progressive" in name else {}
        options |= {"compression": "lzw"} if "lzw" in name else {}
        stored = pixels if name != "c.gif" else pixels[:300, :350]  # palettes take long to choose
        path = cut(save(np.ascontiguousarray(stored), tmp_path / name, **options), part)
        refuse(path, finely=finely)

    def test_cut_short_without_its_last_bytes(self, tmp_path: Path, pixels: Pixels) -> None:
        path = save(pixels, tmp_path / "end.jpg")
        refuse(write(path, path.read_bytes()[:-2]), "--allow-damaged")

    def test_what_is_left_of_a_jpeg(self, tmp_path: Path, pixels: Pixels) -> None:
        path = save(pixels, tmp_path / "c.jpg", Q=95)
        intact = look(path)
        said: list[str] = []
        options = ReadOptions(allow_damaged=True, scratch_folder=tmp_path / "scratch")
        with GigaImage.open(cut(path, 0.6), options, said.append) as image:
            image.prepare(2)
            read = image.read(whole(image.size_wh), image.size_wh)
            assert image.decodes == 2  # the first until the cut
        assert np.array_equal(read[: HEIGHT // 2], intact[: HEIGHT // 2])
        assert any("damaged" in line and "c.jpg" in line for line in said)

    @pytest.mark.parametrize("compression", ["deflate", "lzw", "jpeg", "webp"])
    def test_a_damaged_tile(self, tmp_path: Path, pixels: Pixels, compression: str) -> None:
        path = save(pixels, tmp_path / "t.tif", tile=True, compression=compression)
        intact = look(path)
        with tifffile.TiffFile(path) as tiff:
            page = tiff.pages[0]
            start, count = page.dataoffsets[17], page.databytecounts[17]  # column 1, row 2 of 8 x 6 tiles of 128
        data = bytearray(path.read_bytes())
        data[start : start + count] = bytes(count)
        write(path, data)
        refuse(path, "--allow-damaged")
        read = look(path, allow_damaged=True)
        assert (read[256:384, 128:256] == 128).all()
        read[256:384, 128:256] = intact[256:384, 128:256]
        assert np.array_equal(read, intact)
        with GigaImage.open(path) as image:  # looks elsewhere are none of its business
            window = Window(300, 0, 500, 700)
            assert np.array_equal(image.read(window, window.size_wh), intact[:, 300:800])

    def test_tiles_that_are_left_out_are_black(self, tmp_path: Path) -> None:
        tile = scene(128, 128)
        path = shared_tiles(
            tmp_path / "sparse.tif", (512, 384), [tile], lambda col, row: ((col + row) % 2).astype(np.intp)
        )
        read = look(path)
        assert np.array_equal(read[:128, :128], tile)
        assert (read[:128, 128:256] == 0).all()
        assert np.array_equal(read[128:256, 128:256], tile)

    @pytest.mark.parametrize("options", [{"tile": (128, 128)}, {}])
    def test_compression_that_nobody_has(
        self, tmp_path: Path, pixels: Pixels, options: dict[str, object], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Not taken for damage, so not to be overlooked; what is installed already is not advised."""
        path = tmp_path / "odd.tif"
        tifffile.imwrite(path, pixels, photometric="rgb", **options)
        with tifffile.TiffFile(path) as tiff:
            at = tiff.pages[0].tags["Compression"].valueoffset
        data = bytearray(path.read_bytes())
        data[at : at + 2] = (34661).to_bytes(2, "little")  # JBIG
        write(path, data)
        for allow_damaged in (False, True):
            refuse(path, "compression is not supported here; save it", allow_damaged=allow_damaged)
            with monkeypatch.context() as patch:
                patch.setattr(codecs, "find_spec", lambda name: None)
                refuse(path, "compression is not supported here", "gigacount[codecs]", allow_damaged=allow_damaged)

    @pytest.mark.parametrize("kind", ["scan parameters", "stray bytes"])
    def test_oddities_of_cameras_are_no_damage(self, tmp_path: Path, pixels: Pixels, kind: str) -> None:
        """Wrong scan parameters (Samsung) and bytes between markers are warnings of libjpeg, but lose no pixels."""
        path = save(pixels, tmp_path / "odd.jpg")
        intact = look(path)
        data = bytearray(path.read_bytes())
        if kind == "scan parameters":
            scan = data.find(b"\xff\xda")
            end = scan + 2 + int.from_bytes(data[scan + 2 : scan + 4], "big")
            data[end - 3 : end] = bytes(3)
        else:
            table = data.find(b"\xff\xdb")
            data[table:table] = bytes(3)
        assert np.array_equal(look(write(path, data)), intact)

    def test_lost_data_in_a_jpeg(self, tmp_path: Path, pixels: Pixels) -> None:
        path = save(pixels, tmp_path / "lost.jpg")
        data = path.read_bytes()
        refuse(write(path, data[: len(data) // 2] + data[len(data) // 2 + 20_000 :]), "--allow-damaged")

    def test_a_strip_beyond_libtiffs_limit(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """libtiff may allocate 50 MB by default; a file that is one compressed strip needs as much as it is long."""
        noise = np.random.default_rng(1).integers(0, 256, (4200, 4200, 3), dtype=np.uint8)
        path = tmp_path / "strip.tif"
        tifffile.imwrite(path, noise, photometric="rgb", rowsperstrip=4200, compression="packbits")
        assert path.stat().st_size > 52_428_800
        with GigaImage.open(path, ReadOptions(scratch_folder=tmp_path / "scratch")) as image:
            assert np.array_equal(image.read(Window(4000, 4000, 200, 200), (200, 200)), noise[4000:, 4000:])
            assert image.decodes == 1
        monkeypatch.setattr(streamed, "WHOLE_BYTES", 10_000_000)
        refuse(path, "strips too large")


class TestChanges:
    def test_vanished(self, tmp_path: Path, pixels: Pixels) -> None:
        for name in ("v.jpg", "v.png", "v.webp"):
            path = save(pixels, tmp_path / name)
            with GigaImage.open(path) as image:
                path.unlink()
                with pytest.raises(ImageError, match=name):
                    image.read(Window(0, 0, 99, 99), (99, 99))

    def test_replaced_by_another(self, tmp_path: Path, pixels: Pixels) -> None:
        path = save(pixels, tmp_path / "r.png")
        with GigaImage.open(path) as image:
            save(scene(400, 300), path)
            with pytest.raises(ImageError, match="changed"):
                image.read(Window(0, 0, 99, 99), (99, 99))

    def test_cut_while_read(self, tmp_path: Path) -> None:
        """A mapped file that is cut would kill the process (SIGBUS); here it is an error."""
        path = save(np.random.default_rng(2).integers(0, 256, (3000, 4000, 3), dtype=np.uint8), tmp_path / "cut.jpg")
        with GigaImage.open(path) as image:
            image.prepare(2)
            os.truncate(path, 4096)
            with pytest.raises(ImageError):
                image.read(Window(0, 0, 99, 99), (99, 99))


def test_what_libvips_says_becomes_one_line() -> None:
    error = VipsError("unable to call tiffload\n  tiff2vips: first\ntiff2vips: last thing\njpegload: load error\n\n")
    assert error.reason == "last thing"
    assert VipsError("").reason == "libvips gives no reason"


def test_a_scratch_file_that_takes_no_more(tmp_path: Path, pixels: Pixels) -> None:
    path = save(pixels, tmp_path / "whole.jpg")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (pixels.nbytes // 2, limits[1]))
    try:
        with pytest.raises(OutputError, match=r"scratch file of 0\.00 GB cannot be written: File too large"):
            look(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.alone
def test_no_memory_for_the_reduced_copy_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What keeps the rows has failed: the picture is not to blame."""
    path = save(np.random.default_rng(7).integers(0, 256, (2000, 1500, 3), dtype=np.uint8), tmp_path / "whole.png")

    def refuse_memory(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(streamed, "box_means", refuse_memory)
    with pytest.raises(MemoryError):
        look(path, finely=False)


def test_libvips_warnings_stay_out_of_python(tmp_path: Path, pixels: Pixels) -> None:
    """Logged in Python, one set off a garbage collection, that freed an image, libvips warned of it: GLib aborted."""
    path = save(pixels, tmp_path / "odd.jpg")
    data = bytearray(path.read_bytes())
    table = data.find(b"\xff\xdb")
    data[table:table] = bytes(3)
    program = f"""
import logging
from pathlib import Path
from gigacount.geometry import whole
from gigacount.image import GigaImage
logging.basicConfig(level=logging.DEBUG, format="%(threadName)s %(message)s")
with GigaImage.open(Path({str(write(path, data))!r})) as image:
    print(image.read(whole(image.size_wh), (90, 70)).shape)
"""
    environment = {name: value for name, value in os.environ.items() if name != "VIPS_WARNING"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.stdout == "(70, 90, 3)\n", done.stderr
    said = done.stderr.splitlines()
    assert any("Loaded" in line or "Inited" in line for line in said)  # the log is heard
    assert [line for line in said if "VIPS" in line or "Dummy" in line] == []


def test_a_look_is_refused_again_and_again(tmp_path: Path, pixels: Pixels) -> None:
    """A failed decoding stays failed; it is not begun anew for each look."""
    path = cut(save(pixels, tmp_path / "c.jpg"), 0.5)
    with GigaImage.open(path, ReadOptions(scratch_folder=tmp_path / "scratch")) as image:
        for _ in range(3):
            with pytest.raises(ImageError, match="damaged"):
                image.read(Window(0, 0, 99, 99), (99, 99))
        assert image.decodes == 1


def test_a_failed_attempt_leaves_no_thread(tmp_path: Path) -> None:
    """Odd scan parameters fail the first attempt with most of the file still to come through the pipe."""
    noise = np.random.default_rng(5).integers(0, 256, (2000, 2000, 3), dtype=np.uint8)
    path = save(noise, tmp_path / "odd.jpg")
    data = bytearray(path.read_bytes())
    assert len(data) > 2_000_000
    scan = data.find(b"\xff\xda")
    end = scan + 2 + int.from_bytes(data[scan + 2 : scan + 4], "big")
    data[end - 3 : end] = bytes(3)
    path.write_bytes(data)
    gc.disable()
    try:
        with GigaImage.open(path, ReadOptions(scratch_folder=tmp_path / "scratch")) as image:
            image.read(Window(0, 0, 99, 99), (99, 99))
        deadline = time.monotonic() + 5
        while any(thread.name == "gigacount-pipe" for thread in threading.enumerate()):
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        gc.enable()


def test_failed_looks_hold_no_file_open(tmp_path: Path, pixels: Pixels) -> None:
    """Not even until the garbage collector comes by: errors and what they stopped must not hold each other."""
    paths = [cut(save(pixels, tmp_path / name), 0.5) for name in ("c.jpg", "c.png", "c.webp")]
    tiles = save(pixels, tmp_path / "tiles.tif", tile=True, compression="deflate")
    with tifffile.TiffFile(tiles) as tiff:
        start, count = tiff.pages[0].dataoffsets[3], tiff.pages[0].databytecounts[3]
    data = bytearray(tiles.read_bytes())
    data[start : start + count] = bytes(count)
    paths.append(write(tiles, data))
    gc.collect()
    gc.disable()
    try:
        before = len(list(Path("/proc/self/fd").iterdir()))
        for path in paths * 3:
            with suppress(ImageError):
                look(path)
                pytest.fail(f"{path} was read")
        assert len(list(Path("/proc/self/fd").iterdir())) <= before
    finally:
        gc.enable()


def test_half_a_tiff_is_told_from_a_file_of_another_kind(pixels: Pixels, tmp_path: Path) -> None:
    save(pixels, tmp_path / "whole.tif")  # its tags stand at the end
    content = (tmp_path / "whole.tif").read_bytes()
    (tmp_path / "half.tif").write_bytes(content[: len(content) // 2])
    refuse(tmp_path / "half.tif", "damaged or cut short")
    (tmp_path / "words.tif").write_text("no image")
    refuse(tmp_path / "words.tif", "not an image that libvips")
