"""A scene's files: the image, written band by band so that it is never whole in memory; and its truth as CSV, GeoJSON
and annotations in the form of PANDA. Same truth, same bytes.
"""

from __future__ import annotations

import json
import queue
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gigacount.atomic import replacing
from gigacount.datasets.csv_points import csv_text
from gigacount.errors import OutputError, UsageError
from gigacount.geometry import Size, Window
from gigacount.image.vips import library
from gigacount.synthesize.scene import Scene, Truth

BAND_BYTES = 96 * 2**20
CHUNK_ROWS = 64
STRIP = 2048
"""Columns painted in one go; strips of a band are painted in parallel."""
JPEG_LIMIT = 65535
TIFF, JPEG = {".tif", ".tiff"}, {".jpg", ".jpeg"}
TILED = {"tile": True, "tile_width": 256, "tile_height": 256, "pyramid": True, "compression": "jpeg"}
QUALITY = 90

Progress = Callable[[int, int], None]
"""Called with rows done and rows in all."""


def write_scene(
    scene: Scene, path: Path, overwrite: bool = True, workers: int = 2, progress: Progress | None = None
) -> None:
    """Write a scene as tiled pyramidal TIFF (.tif, .tiff) or JPEG (.jpg, .jpeg), whole or not at all.

    Raises UsageError for another suffix or a scene too large for JPEG, OutputError where writing fails.
    """
    _check(path, scene.size_wh)
    feed: queue.Queue[bytes] = queue.Queue(maxsize=1)
    with replacing(path, overwrite) as fresh, ThreadPoolExecutor(workers) as painters, ThreadPoolExecutor(1) as writer:
        job = writer.submit(_save, fresh, path.suffix.lower() in TIFF, feed)
        try:
            for chunk in _png(scene, painters, progress or (lambda done, total: None)):
                if not _put(feed, chunk, job):
                    break
        finally:
            _put(feed, b"", job)  # the end; before all rows have come it makes the other side give up
        try:
            job.result()
        except library().Error as error:
            raise OutputError(f"{path}: cannot write: {str(error).strip().splitlines()[-1].strip()}") from error


def _check(path: Path, size_wh: Size) -> None:
    """Raises UsageError for a suffix that is not written, or an image too large for its format."""
    if path.suffix.lower() not in TIFF | JPEG:
        raise UsageError(f"{path}: scenes are written as .tif or .jpg, not as '{path.suffix}'")
    if path.suffix.lower() in JPEG and max(size_wh) > JPEG_LIMIT:
        raise UsageError(f"{path}: JPEG holds at most {JPEG_LIMIT} px a side; write .tif instead")


def _save(path: Path, tiff: bool, feed: queue.Queue[bytes]) -> None:
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
    image = library().Image.pngload_source(source, access="sequential", fail_on="truncated")
    if tiff:
        image.tiffsave(str(path), **TILED, Q=QUALITY, bigtiff=image.width * image.height * 3 >= 2**32)
    else:
        image.jpegsave(str(path), Q=QUALITY)


def _put(feed: queue.Queue[bytes], chunk: bytes, job: Future[None]) -> bool:
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


def points_geojson(truth: Truth) -> str:
    """A FeatureCollection with a Point per head, in pixels, as QuPath imports it."""
    features = [
        {
            "type": "Feature",
            "geometry": {"type": "Point", "coordinates": [round(float(x), 3), round(float(y), 3)]},
            "properties": {"objectType": "annotation", "classification": {"name": "head"}},
        }
        for x, y in truth.points_xy
    ]
    return json.dumps({"type": "FeatureCollection", "features": features}, indent=1) + "\n"


def panda_json(truths: Mapping[str, Truth]) -> str:
    """PANDA's annotations of images by name: head boxes where all images have them, else head points.

    Coordinates are shares of the image's sides.
    """
    boxed = has_boxes(truths.values())
    images = {
        name: {
            "image id": number,
            "image size": {"height": truth.size_wh[1], "width": truth.size_wh[0]},
            "objects list": [{"rect": rect} for rect in _rects(truth, boxed)],
        }
        for number, (name, truth) in enumerate(truths.items(), 1)
    }
    return json.dumps(images, indent=1) + "\n"


def has_boxes(truths: Iterable[Truth]) -> bool:
    return all(truth.boxes_xyxy is not None for truth in truths)


def write_truth(truth: Truth, image: Path, overwrite: bool = True) -> list[Path]:
    """Write `<stem>.csv` and `<stem>.geojson` beside an image; return their paths. Raises OutputError."""
    texts = {".csv": csv_text([(image.name, truth.points_xy, truth.boxes_xyxy)]), ".geojson": points_geojson(truth)}
    return [_write(image.with_suffix(suffix), text, overwrite) for suffix, text in texts.items()]


def write_panda(truths: Mapping[str, Truth], folder: Path, overwrite: bool = True) -> Path:
    """Write the annotations of a folder's images by file name, under the name that PANDA gives them. Raises
    OutputError."""
    kind = "bbox" if has_boxes(truths.values()) else "point"
    return _write(folder / f"head_{kind}_annotations.json", panda_json(truths), overwrite)


def _rects(truth: Truth, boxed: bool) -> Iterable[dict[str, Any]]:
    width, height = truth.size_wh
    if boxed and truth.boxes_xyxy is not None:
        for left, top, right, bottom in truth.boxes_xyxy.tolist():
            yield {"tl": {"x": left / width, "y": top / height}, "br": {"x": right / width, "y": bottom / height}}
    else:
        for x, y in truth.points_xy.tolist():
            yield {"x": x / width, "y": y / height}


def _write(path: Path, text: str, overwrite: bool) -> Path:
    with replacing(path, overwrite) as fresh:
        fresh.write_text(text, encoding="utf-8", newline="\n")
    return path
