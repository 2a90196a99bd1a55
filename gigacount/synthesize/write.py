"""Write a scene as one picture file, band by band, so that it is never whole in memory."""

from __future__ import annotations

import queue
import struct
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gigacount.errors import OutputError, UsageError
from gigacount.geometry import Size, Window
from gigacount.image.vips import VipsImage, library
from gigacount.output.files import replacing
from gigacount.synthesize.scene import Scene

BAND_BYTES = 96 * 2**20
CHUNK_ROWS = 64
STRIP = 2048
"""Columns painted in one go; strips of a band are painted in parallel."""
JPEG_LIMIT = 65535
QUALITY = 90

Progress = Callable[[int, int], None]
"""Called with rows done and rows in all."""


def write_scene(
    scene: Scene, path: Path, overwrite: bool = True, workers: int = 2, progress: Progress | None = None
) -> None:
    """Write a scene as tiled pyramidal TIFF (.tif, .tiff) or JPEG (.jpg, .jpeg), whole or not at all.

    Raises UsageError for another suffix or a scene too large for JPEG, OutputError where writing fails.
    """
    save = _saver(path, scene.size_wh)
    feed: queue.Queue[bytes] = queue.Queue(maxsize=1)
    with replacing(path, overwrite) as fresh, ThreadPoolExecutor(workers) as painters, ThreadPoolExecutor(1) as writer:
        job = writer.submit(_save, save, fresh, feed)
        try:
            for chunk in _png(scene, painters, progress or _silent):
                if not _put(feed, chunk, job):
                    break
        finally:
            _put(feed, b"", job)  # the end; before all rows have come it makes the other side give up
        try:
            job.result()
        except library().Error as error:
            raise OutputError(f"{path}: cannot write: {_last_line(error)}") from error


Saver = Callable[[VipsImage, Path], None]


def _saver(path: Path, size_wh: Size) -> Saver:
    suffix = path.suffix.lower()
    if suffix in (".tif", ".tiff"):
        return _save_tiff
    if suffix not in (".jpg", ".jpeg"):
        raise UsageError(f"{path}: scenes are written as .tif or .jpg, not as '{path.suffix}'")
    if max(size_wh) > JPEG_LIMIT:
        raise UsageError(f"{path}: JPEG holds at most {JPEG_LIMIT} px a side; write .tif instead")
    return _save_jpeg


def _save_tiff(picture: VipsImage, path: Path) -> None:
    large = picture.width * picture.height * 3 >= 2**32
    picture.tiffsave(
        str(path),
        tile=True,
        tile_width=256,
        tile_height=256,
        pyramid=True,
        compression="jpeg",
        Q=QUALITY,
        bigtiff=large,
    )


def _save_jpeg(picture: VipsImage, path: Path) -> None:
    picture.jpegsave(str(path), Q=QUALITY)


def _save(save: Saver, path: Path, feed: queue.Queue[bytes]) -> None:
    """Read a picture from the feed as it comes, and save it."""
    rest, ended = memoryview(b""), False

    def read(size: int) -> bytes:
        nonlocal rest, ended
        if not rest and not ended:  # libvips may ask again after the end
            rest = memoryview(feed.get())
            ended = not rest
        piece, rest = rest[:size], rest[size:]
        return bytes(piece)

    source = library().SourceCustom()
    source.on_read(read)
    save(library().Image.pngload_source(source, access="sequential", fail_on="truncated"), path)


def _put(feed: queue.Queue[bytes], chunk: bytes, job: Future[None]) -> bool:
    """Hand a chunk over; False if nobody takes it because the other side has ended."""
    while not job.done():
        try:
            feed.put(chunk, timeout=0.2)
        except queue.Full:
            continue
        return True
    return False


def _png(scene: Scene, painters: ThreadPoolExecutor, progress: Progress) -> Iterator[bytes]:
    """The scene as a PNG stream without compression: the one form that libvips reads from a stream as it comes.

    Source: PNG specification (W3C, 2003), sections 5 and 10.
    """
    width, height = scene.size_wh
    yield b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    stored = zlib.compressobj(level=0)
    done = 0
    for band in _bands(scene, painters):
        for rows in np.array_split(band, max(1, len(band) // CHUNK_ROWS)):
            yield _chunk(b"IDAT", stored.compress(rows.data))
        done += len(band)
        progress(done, height)
    yield _chunk(b"IDAT", stored.flush()) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(content, zlib.crc32(kind))
    return b"".join([struct.pack(">I", len(content)), kind, content, struct.pack(">I", checksum)])


def _bands(scene: Scene, painters: ThreadPoolExecutor) -> Iterator[NDArray[np.uint8]]:
    """(rows, 1 + 3 * width) PNG rows, each with its filter type 0 in front; a band is painted while one is used."""
    width, height = scene.size_wh
    step = min(max(BAND_BYTES // (3 * width), 16), height)
    ahead: list[Future[None]] = []
    band = np.zeros((0, 0), np.uint8)
    for top in range(0, height + step, step):
        wait(ahead)
        due, painted = band, ahead
        if top < height:
            band = np.zeros((min(step, height - top), 1 + 3 * width), np.uint8)
            windows = [Window(x, top, min(STRIP, width - x), len(band)) for x in range(0, width, STRIP)]
            ahead = [painters.submit(_paint, scene, window, band) for window in windows]
        for strip in painted:
            strip.result()
        if len(due):
            yield due


def _paint(scene: Scene, window: Window, band: NDArray[np.uint8]) -> None:
    strip = band[:, 1 + 3 * window.left : 1 + 3 * window.right]
    strip[:] = scene.paint(window).reshape(window.height, -1)


def _silent(done: int, total: int) -> None:
    """Report to nobody."""


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1].strip()
