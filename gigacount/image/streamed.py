"""An image whose file only decodes from top to bottom: decoded once, read many times."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gigacount.errors import ImageError
from gigacount.geometry import Size, Window

from . import codecs, jpeg, room
from .foreign import Foreign
from .ground import Mask, masked_level
from .imagefile import ImageFile
from .levels import CHUNK_BYTES, DAMAGED, MemoryLevel, PyramidLevel, ScratchLevel, box_means, filler
from .pages import needs_unlimited
from .samples import SAMPLED_PIXELS
from .scratch import Scratch
from .source import LevelSource, Notify, sample
from .vips import VipsError, VipsImage, field, from_array, release_memory, row_reader, to_array, write_rows

WHOLE_BYTES = 2**31  # the largest file of a single compressed strip that libvips may hold in memory
SALVAGED_ROWS = 64  # read at a time of a damaged image; with the first damage among them, they and all below are grey

Read = Callable[[int, int], NDArray[Any]]
"""Pixels (rows, cols, bands) of the rows from the first on, as many as the second says. Raises VipsError."""

Take = Callable[[memoryview], None]  # takes the bytes of rows, which come in order


@dataclass(frozen=True)
class Rows:
    """Stored pixels of an image, to be read once, from top to bottom. write: gives their bytes away."""

    size_wh: Size
    bands: int
    write: Callable[[Take], None]


def _written(read: Read, height: int, at_once: int, take: Take) -> None:
    """Give away rows that are read some at a time."""
    for top in range(0, height, at_once):
        take(np.ascontiguousarray(read(top, min(at_once, height - top))).data.cast("B"))


class Streamed(LevelSource):
    """A file that only decodes from top to bottom, such as a JPEG.

    A small image (reduction 1) is decoded into memory. Of a large one, a single decoding keeps a reduced copy in
    memory for coarse looks and all pixels in a scratch file for the others. Unless `prepare` has announced more than
    one look, a coarse look makes the reduced copy alone, from a JPEG at a half, quarter or eighth of its size, which is
    faster; a finer look then decodes a second time. Never more often, but for a damaged image that is to be read all
    the same.

    Of a damaged image everything from the first damage on is grey: what a decoder makes of the rest is no image.
    """

    def __init__(self, file: ImageFile, notify: Notify) -> None:
        super().__init__(file, notify)
        self._salvaging = False
        self._missing_from: int | None = None
        self._levels: list[PyramidLevel] = []
        self._mask: Mask | None = None
        one = file.plan.main if file.plan is not None else None
        if one is not None and needs_unlimited(one) and file.info.file_bytes > WHOLE_BYTES:
            raise ImageError(f"{file.name}: compressed in strips too large to decode; save it with tiles")
        self._worker = ThreadPoolExecutor(1, "gigacount-decode")
        self._coarse: Future[PyramidLevel] | None = None
        self._fine: Future[PyramidLevel] | None = None
        self._reduced: MemoryLevel | None = None

    def level(self, window: Window, ratio: float) -> PyramidLevel:
        coarse = ratio >= self.reduction or self.reduction == 1
        with self.lock:
            if coarse and self._coarse is None:
                self._coarse = self._worker.submit(self._decode, None, True)
            if not coarse and self._fine is None:
                self._fine = self._start_full(reduce=False)
            decoding = self._coarse if coarse else self._fine
        assert decoding is not None
        try:
            level = decoding.result()
        finally:
            del decoding  # an error would hold this frame, this frame the decoding, and that the error
        return self._reduced if coarse and self._reduced is not None else level

    def prepare(self, looks: int) -> None:
        """Begin, in the background, the one decoding that serves all of several looks."""
        with self.lock:
            if looks > 1 and self._coarse is None and self._fine is None:
                if self.reduction == 1:
                    self._coarse = self._worker.submit(self._decode, None, True)
                else:
                    self._coarse = self._fine = self._start_full(reduce=True)

    def missing(self, window: Window) -> float:
        shares = [level.missing(window) for level in self._levels]
        if self._missing_from is not None:
            shares.append(max(0, window.bottom - max(window.top, self._missing_from)) / window.height)
        return max(shares, default=0.0)

    def close(self) -> None:
        super().close()
        self._worker.shutdown(cancel_futures=True)
        for one in (*self._levels, self._mask, self.scratch):
            if one is not None:
                one.close()
        self._coarse = self._fine = self.scratch = self._reduced = None

    def _start_full(self, reduce: bool) -> Future[PyramidLevel]:
        width, height = self.file.size_wh
        folder = self.file.options.scratch_folder or Path(gettempdir())
        self.scratch = Scratch(folder, width * height * self.file.bands)
        size = self.scratch.size / 1e9
        self.notify(f"{self.file.name}: decoded into a scratch file of {size:.2f} GB in {folder} until the end")
        return self._worker.submit(self._decode, self.scratch, reduce)

    def _decode(self, scratch: Scratch | None, reduce: bool) -> PyramidLevel:
        """Decode the file from top to bottom into a scratch file, a reduced copy, or both; returns the finer one.

        A damaged file is decoded again, for what is left of it, if that is wanted. Raises ImageError, OutputError.
        """
        with room.reserved(self.file.info, self.file.name):
            while True:
                self.decodes += 1
                try:
                    return self._decode_once(scratch, reduce)
                except VipsError as error:
                    self._salvage(error)
                finally:
                    release_memory()

    def _decode_once(self, scratch: Scratch | None, reduce: bool) -> PyramidLevel:
        # libjpeg does the first halvings while it decodes.
        halved = scratch is None and self.file.info.format == "JPEG" and not self._salvaging and self.file.mask is None
        on_load = min(self.reduction, 8) if halved else 1
        rows = self._rows(on_load)
        (width, height), step = rows.size_wh, self.reduction // on_load
        # Shrunk on load, a side loses what is left of its last whole block.
        if (width, height) != tuple(side // on_load for side in self.file.size_wh):
            raise ImageError(f"{self.file.name}: changed while it was read")
        small = np.empty((-(-height // step), -(-width // step), rows.bands), np.uint8) if reduce else None
        row_bytes = width * rows.bands
        at_once = max(CHUNK_BYTES // (row_bytes * step), 1) * step
        top, filled, keeping = 0, 0, Future[None]()
        keeping.set_result(None)
        strip, spare = (np.empty(at_once * row_bytes, np.uint8) for _ in range(2))

        def take(data: memoryview) -> None:
            nonlocal top, filled, strip, spare, keeping
            if self.stopping.is_set():
                raise VipsError("stopped")
            while data:
                count = min(at_once, height - top)
                part, data = data[: count * row_bytes - filled], data[count * row_bytes - filled :]
                strip.data[filled : filled + len(part)] = part
                filled += len(part)
                if filled == count * row_bytes:
                    keeping.result()
                    keeping = keeper.submit(keep, top, strip[:filled].reshape(count, width, rows.bands))
                    top, filled, strip, spare = top + count, 0, spare, strip

        def keep(top: int, strip: NDArray[np.uint8]) -> None:
            if scratch is not None:
                scratch.write(strip.data.cast("B"), top * row_bytes)
            if small is not None:
                small[top // step : -(-(top + len(strip)) // step)] = box_means(strip, (step, step))

        # One thread keeps a strip while the next one is decoded.
        with ThreadPoolExecutor(1, "gigacount-keep") as keeper:
            try:
                rows.write(take)
                keeping.result()
            finally:
                del keeping  # an error would hold this frame, this frame the future, and that the error
        if small is not None:
            self._reduced = MemoryLevel(small, self.reduction)
        if scratch is not None:
            return ScratchLevel(scratch, self.file.size_wh, rows.bands)
        assert self._reduced is not None
        return self._reduced

    def _rows(self, on_load: int) -> Rows:
        """The image as a stream of stored pixels, shrunk on load (JPEG only). Raises VipsError, ImageError."""
        if self.file.samples.open:
            self.file = self.file.settled(self._sample())
        file, size_wh, bands, at_once = self.file, self.file.size_wh, self.file.own_bands, SALVAGED_ROWS
        if file.by_tifffile:
            level = self._tifffile_level()
            width, height = size_wh
            at_once = max(1, level.chunk_wh(width)[1])
            read: Read = lambda top, count: level.pixels(0, top, (width, count))  # noqa: E731
            return Rows(size_wh, level.bands, partial(_written, read, height, at_once))
        if isinstance(file.loader, Foreign):
            read = _stored_rows(file)
            at_once = max(at_once, CHUNK_BYTES * 8 // (size_wh[0] * bands * file.info.bits))
        else:
            image = self._image(on_load)
            size_wh = image.width, image.height
            if not self._salvaging and file.mask is None:
                return Rows(size_wh, image.bands, partial(write_rows, image))
            read = row_reader(image)
        if self._salvaging:
            read = self._what_is_left(read, size_wh[0], bands)
        if file.mask is not None:
            self._mask = self._mask or Mask(file.mask, file.options.allow_damaged)
            read, bands = self._mask.rows(read, size_wh[0]), file.bands
        return Rows(size_wh, bands, partial(_written, read, size_wh[1], at_once))

    def _tifffile_level(self) -> PyramidLevel:
        if not self._levels:
            assert self.file.plan is not None
            (level,) = codecs.codec_levels(self.file, self.file.plan.copies[:1])
            self._levels = [masked_level(level, self.file.mask, self.file)]
        return self._levels[0]

    def _image(self, on_load: int) -> VipsImage:
        """The image by libvips, as stored pixels. Raises VipsError, ImageError."""
        file = self.file
        shrink = {"shrink": on_load} if on_load > 1 else {}
        # Every scan of a progressive JPEG covers the whole image: without the last ones it is less sharp.
        unsharp = self._salvaging and file.info.format == "JPEG" and file.info.progressive
        lenient = unsharp and jpeg.whole_scans(file.path) > 0
        return file.store(file.load_stream(fail_on="none" if lenient else file.strictness, **shrink))

    def _sample(self) -> NDArray[Any]:
        """Numbers of pixels from all over the file (N, bands), as far as it decodes. Raises VipsError, ImageError."""
        file, (width, height) = self.file, self.file.size_wh
        if file.by_tifffile:
            return sample(file)
        self.decodes += 1
        read: Read
        if isinstance(file.loader, Foreign):
            read = file.open_rows()
        else:
            read = row_reader(file.load_stream(fail_on=file.strictness))
        bands = file.samples.kind.bands
        step = max(1, math.isqrt(width * height // SAMPLED_PIXELS))
        found = [np.zeros((0, bands))]
        at_once = max(1, CHUNK_BYTES // (width * bands * step * 4)) * step
        for top in range(0, height, at_once):
            if self.stopping.is_set():
                raise VipsError("stopped")
            try:
                rows = read(top, min(at_once, height - top))
            except VipsError:
                break  # damage is reported when the image is decoded
            found.append(rows[::step, ::step].reshape(-1, bands))
        return np.concatenate(found)

    def _what_is_left(self, sound: Read, width: int, bands: int) -> Read:
        """Rows down to the first damage, then grey."""
        self._missing_from = None

        def read(top: int, count: int) -> NDArray[np.uint8]:
            if self._missing_from is None:
                try:
                    return sound(top, count)
                except VipsError as error:
                    if top == 0:
                        raise ImageError(
                            f"{self.file.name}: damaged from its start on ({error.reason}); nothing is left"
                        ) from error
                    self._missing_from = top
            return np.broadcast_to(filler(DAMAGED, bands), (count, width, bands))

        return read

    def _salvage(self, error: VipsError) -> None:
        """Go on with what is left after a failure, or raise the error for the user."""
        file = self.file
        if self.stopping.is_set():
            raise ImageError(f"{file.name}: closed while it was decoded") from error
        if not file.options.allow_damaged or self._salvaging or room.is_short():
            raise file.damaged(error) from error
        self.notify(f"{file.name}: damaged or cut short ({error.reason}); reading what is left")
        self._salvaging = True
        if file.plan is not None and not file.by_tifffile:
            with suppress(ImageError):  # strips stand alone: tifffile finds those that are sound
                plan = replace(file.plan, by_tifffile="damage")
                codecs.header_of(plan, file.name)
                self.file = replace(file, plan=plan)


def _stored_rows(file: ImageFile) -> Read:
    """Of a format that Python decodes. Raises ImageError."""
    rows, header = file.open_rows(), file.load()
    interpretation, profile = header.interpretation, field(header, "icc-profile-data")
    return lambda top, count: to_array(file.store(from_array(rows(top, count), interpretation, profile)))
