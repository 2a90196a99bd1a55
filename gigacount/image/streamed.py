"""A picture whose file only decodes from top to bottom: decoded once, looked at many times."""

from __future__ import annotations

import math
import os
import socket
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import gettempdir
from threading import Event
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gigacount.errors import ImageError
from gigacount.geometry import Window

from . import codecs, jpeg, room
from .boxes import box_means
from .foreign import Foreign
from .form import ReadRows
from .levels import CHUNK_BYTES, DAMAGED, Level, MemoryLevel, ScratchLevel, standing_in
from .mask import Mask, masked, masked_level
from .pages import needs_unlimited
from .picture import Picture
from .scratch import Scratch
from .source import Notify, Source
from .spans import SAMPLED_PIXELS
from .tiled import sample
from .vips import VipsError, VipsImage, field, from_pixels, release_memory, stop, to_array, to_numbers, write_raw

FOLLOW_SECONDS = 0.01
"""How often to see whether more rows of the scratch file have been written."""

WHOLE_BYTES = 2**31
"""The largest file of a single compressed strip that libvips may hold in memory."""

SALVAGED_ROWS = 64
"""Rows that are read at a time of a damaged picture; with the first damage among them, they and all below are grey."""

Read = Callable[[int, int], NDArray[np.uint8]]
"""Stored pixels of the rows from the first on, as many as the second says."""

Take = Callable[[NDArray[np.uint8]], bool]
"""Fills an array with the next rows of a picture that is being decoded; False when decoding has failed."""


class Rows(Protocol):
    """Stored pixels of a picture from top to bottom, once."""

    width: int
    height: int
    bands: int

    def write(self, descriptor: int) -> None:
        """Into a file, (height, width, bands) bytes. Raises VipsError for damage, or where the file takes no more."""

    def stop(self) -> None:
        """Make writing fail soon; from any thread."""


class VipsRows:
    """As libvips decodes them."""

    def __init__(self, image: VipsImage) -> None:
        self.image = image
        self.width, self.height, self.bands = image.width, image.height, image.bands

    def write(self, descriptor: int) -> None:
        write_raw(self.image, descriptor)

    def stop(self) -> None:
        stop(self.image)


class PythonRows:
    """As they are read by Python, some rows at a time: by tifffile, or what is left of a damaged picture."""

    def __init__(self, size_wh: tuple[int, int], bands: int, read: Read, at_once: int):
        (self.width, self.height), self.bands = size_wh, bands
        self._read, self._at_once = read, at_once
        self._stopping = Event()

    def write(self, descriptor: int) -> None:
        for top in range(0, self.height, self._at_once):
            if self._stopping.is_set():
                raise VipsError("stopped")
            rest = np.ascontiguousarray(self._read(top, min(self._at_once, self.height - top))).data.cast("B")
            while rest:
                try:
                    rest = rest[os.write(descriptor, rest) :]
                except OSError as error:
                    raise VipsError(error.strerror or str(error)) from error

    def stop(self) -> None:
        self._stopping.set()


@dataclass(frozen=True)
class Decoded:
    """What one decoding leaves behind."""

    reduced: MemoryLevel | None
    full: ScratchLevel | None


class Streamed(Source):
    """A file that only decodes from top to bottom, such as a JPEG.

    A small picture (reduction 1) is decoded into memory. Of a large one, a single decoding keeps a reduced copy in
    memory for coarse looks and all pixels in a scratch file for the others. Unless `prepare` has announced more than
    one look, a coarse look makes the reduced copy alone, from a JPEG at a half, quarter or eighth of its size, which is
    faster; a finer look then decodes a second time. Never more often (but for a damaged picture that is to be read all
    the same, which is noticed half-way).

    Of a damaged picture everything from the first damage on is grey: what a decoder makes of the rest is no picture.
    """

    def __init__(self, picture: Picture, notify: Notify) -> None:
        super().__init__(picture, notify)
        self._salvaging = False
        self._missing_from: int | None = None
        self._levels: list[Level] = []
        self._mask: Mask | None = None
        one = picture.plan.main if picture.plan is not None else None
        if one is not None and needs_unlimited(one) and picture.info.file_bytes > WHOLE_BYTES:
            raise ImageError(f"{picture.name}: compressed in strips too large to decode; save it with tiles")
        self._worker = ThreadPoolExecutor(1, "gigacount-decode")
        self._decoding: Rows | None = None
        self._coarse: Future[Decoded] | None = None
        self._fine: Future[Decoded] | None = None

    def level(self, window: Window, ratio: float) -> Level:
        coarse = ratio >= self.reduction or self.reduction == 1
        with self.lock:
            if coarse and self._coarse is None:
                self._coarse = self._worker.submit(self._decode, self._decode_reduced)
            if not coarse and self._fine is None:
                self._fine = self._start_full(reduce=False)
            decoding = self._coarse if coarse else self._fine
        assert decoding is not None
        try:
            decoded = decoding.result()
        finally:
            del decoding  # an error would hold this frame, this frame the decoding, and that the error
        level = decoded.reduced if coarse else decoded.full
        assert level is not None
        return level

    def prepare(self, looks: int) -> None:
        """Begin, in the background, the one decoding that serves all of several looks."""
        with self.lock:
            if looks > 1 and self._coarse is None and self._fine is None:
                if self.reduction == 1:
                    self._coarse = self._worker.submit(self._decode, self._decode_reduced)
                else:
                    self._coarse = self._fine = self._start_full(reduce=True)

    def missing(self, window: Window) -> float:
        shares = [level.missing(window) for level in self._levels]
        if self._missing_from is not None:
            shares.append(max(0, window.bottom - max(window.top, self._missing_from)) / window.height)
        return max(shares, default=0.0)

    def close(self) -> None:
        super().close()
        if self._decoding is not None:
            self._decoding.stop()
        self._worker.shutdown(cancel_futures=True)
        for level in self._levels:
            level.close()
        if self._mask is not None:
            self._mask.close()
        if self.scratch is not None:
            self.scratch.close()
        self._coarse = self._fine = self.scratch = self._decoding = None

    def _start_full(self, reduce: bool) -> Future[Decoded]:
        width, height = self.picture.size_wh
        folder = self.picture.options.scratch_folder or Path(gettempdir())
        self.scratch = Scratch(folder, width * height * self.picture.bands)
        size = self.scratch.size / 1e9
        self.notify(f"{self.picture.name}: decoded into a scratch file of {size:.2f} GB in {folder} until the end")
        return self._worker.submit(self._decode, self._decode_full, self.scratch, reduce)

    def _decode(self, how: Callable[..., Decoded], *arguments: Any) -> Decoded:
        """Decode the file from top to bottom; again, for what is left of it, if that is wanted.

        Raises ImageError, OutputError.
        """
        with room.reserved(self.picture.info, self.picture.name):
            while True:
                self.decodes += 1
                try:
                    decoded = how(*arguments)
                except VipsError as error:
                    self._salvage(error)
                else:
                    return decoded
                finally:
                    self._decoding = None  # which may hold the whole picture
                    release_memory()

    def _decode_reduced(self) -> Decoded:
        """The reduced copy alone; libjpeg does the first halvings while it decodes."""
        halved = self.picture.info.format == "JPEG" and not self._salvaging and self.picture.mask is None
        on_load = min(self.reduction, 8) if halved else 1
        image = self._open(on_load)
        # A socket rather than a pipe: its end can be told while libvips, after a failure, still holds the descriptor.
        reader, writer = socket.socketpair()
        with reader, writer, reader.makefile("rb") as rows, ThreadPoolExecutor(1, "gigacount-reduce") as follower:

            def take(strip: NDArray[np.uint8]) -> bool:
                return rows.readinto(strip.data.cast("B")) == strip.nbytes

            def reduce() -> MemoryLevel:
                try:
                    return self._reduce(take, image, self.reduction // on_load)
                finally:
                    reader.shutdown(socket.SHUT_RD)  # so that libvips does not wait for a reader that has failed

            reduced = follower.submit(reduce)
            try:
                image.write(writer.fileno())
            finally:
                writer.shutdown(socket.SHUT_WR)
                reduced.result()  # where this has failed, it is why libvips could not write
        return Decoded(reduced.result(), None)

    def _decode_full(self, scratch: Scratch, reduce: bool) -> Decoded:
        """All pixels to the scratch file, and what has arrived there to the reduced copy meanwhile, if it is wanted."""
        image = self._open(1)
        scratch.rewind()
        arrived, offset = Event(), 0

        def take(strip: NDArray[np.uint8]) -> bool:
            nonlocal offset
            while scratch.written < offset + strip.nbytes and not arrived.wait(FOLLOW_SECONDS):
                pass
            if scratch.written < offset + strip.nbytes:
                return False
            scratch.read(strip, offset)
            offset += strip.nbytes
            return True

        with ThreadPoolExecutor(1, "gigacount-reduce") as follower:
            reduced = follower.submit(self._reduce, take, image, self.reduction) if reduce else None
            try:
                image.write(scratch.descriptor)
            except VipsError as error:
                reason = scratch.refusal()
                if reason is not None:
                    raise scratch.failed(reason) from error
                raise
            finally:
                arrived.set()
        full = ScratchLevel(scratch, self.picture.size_wh, image.bands)
        return Decoded(reduced.result() if reduced else None, full)

    def _reduce(self, take: Take, image: Rows, step: int) -> MemoryLevel:
        """The reduced copy of an image whose rows arrive from top to bottom."""
        width, height, bands = image.width, image.height, image.bands
        reduced = np.empty((-(-height // step), -(-width // step), bands), np.uint8)
        at_once = max(CHUNK_BYTES // (width * bands * step), 1) * step
        for top in range(0, height, at_once):
            strip = np.empty((min(at_once, height - top), width, bands), np.uint8)
            if not take(strip):
                break  # the decoder says why
            reduced[top // step : -(-(top + len(strip)) // step)] = box_means(strip, (step, step))
        return MemoryLevel(reduced, self.reduction)

    def _open(self, on_load: int) -> Rows:
        """The picture as a stream of stored pixels, shrunk on load (JPEG only). Raises VipsError, ImageError."""
        rows = self._rows(on_load)
        # Shrunk on load, a side loses what is left of its last whole block.
        if (rows.width, rows.height) != tuple(side // on_load for side in self.picture.size_wh):
            raise ImageError(f"{self.picture.name}: changed while it was read")
        self._decoding = rows
        if self.stopping.is_set():
            rows.stop()
        return rows

    def _rows(self, on_load: int) -> Rows:
        if self.picture.samples.open:
            self.picture = self.picture.settled(self._sample())
        picture = self.picture
        if picture.by_tifffile:
            level = (
                self._levels[0]
                if self._levels
                else masked_level(codecs.codec_levels(picture)[0], picture.mask, picture)
            )
            self._levels = [level]
            width, height = picture.size_wh
            at_once = max(1, level.chunk_wh(width)[1])
            return PythonRows((width, height), level.bands, lambda top, n: level.pixels(0, top, (width, n)), at_once)
        bands, at_once = picture.own_bands, SALVAGED_ROWS
        if isinstance(picture.loader, Foreign):
            (width, height), read = picture.size_wh, _stored_rows(picture)
            at_once = max(at_once, CHUNK_BYTES * 8 // (width * bands * picture.info.bits))
        else:
            image = self._image(on_load)
            if not self._salvaging and picture.mask is None:
                return VipsRows(image)
            width, height, read = image.width, image.height, partial(_rows_of, image)
        if self._salvaging:
            read = self._what_is_left(read, width, bands)
        if picture.mask is not None:
            self._mask = self._mask or Mask(picture.mask, picture.options.allow_damaged)
            read, bands = partial(_masked_rows, read, self._mask, width), picture.bands
        return PythonRows((width, height), bands, read, at_once)

    def _image(self, on_load: int) -> VipsImage:
        """The picture by libvips, as stored pixels. Raises VipsError, ImageError."""
        picture = self.picture
        shrink = {"shrink": on_load} if on_load > 1 else {}
        # Every scan of a progressive JPEG covers the whole picture: without the last ones it is less sharp.
        unsharp = self._salvaging and picture.info.format == "JPEG" and picture.info.progressive
        lenient = unsharp and jpeg.whole_scans(picture.path) > 0
        return picture.store(picture.load_stream(fail_on="none" if lenient else picture.strictness, **shrink))

    def _sample(self) -> NDArray[Any]:
        """Numbers of pixels from all over the file (N, bands), as far as it decodes. Raises VipsError, ImageError."""
        picture, (width, height) = self.picture, self.picture.size_wh
        if picture.by_tifffile:
            return sample(picture)
        self.decodes += 1
        read: ReadRows
        if isinstance(picture.loader, Foreign):
            read = picture.open_rows()
        else:
            read = partial(_numbers_of, picture.load_stream(fail_on=picture.strictness))
        bands = picture.samples.kind.bands
        step = max(1, math.isqrt(width * height // SAMPLED_PIXELS))
        found = [np.zeros((0, bands))]
        at_once = max(1, CHUNK_BYTES // (width * bands * step * 4)) * step
        for top in range(0, height, at_once):
            if self.stopping.is_set():
                raise VipsError("stopped")
            try:
                rows = read(top, min(at_once, height - top))
            except VipsError:
                break  # damage is told when the picture is decoded
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
                            f"{self.picture.name}: damaged from its start on ({error.reason}); nothing is left"
                        ) from error
                    self._missing_from = top
            return np.broadcast_to(standing_in(DAMAGED, bands), (count, width, bands))

        return read

    def _salvage(self, error: VipsError) -> None:
        """Go on with what is left after a failure, or raise the error for the user."""
        picture = self.picture
        if self.stopping.is_set():
            raise ImageError(f"{picture.name}: closed while it was decoded") from error
        if not picture.options.allow_damaged or self._salvaging or room.is_short():
            raise picture.damaged(error) from error
        self.notify(f"{picture.name}: damaged or cut short ({error.reason}); reading what is left")
        self._salvaging = True
        if picture.plan is not None and not picture.by_tifffile:
            with suppress(ImageError):  # strips stand alone: tifffile finds those that are sound
                plan = replace(picture.plan, by_tifffile="damage")
                codecs.header_of(plan, picture.name)
                self.picture = replace(picture, plan=plan)


def _rows_of(image: VipsImage, top: int, count: int) -> NDArray[np.uint8]:
    return to_array(image.crop(0, top, image.width, count))


def _numbers_of(image: VipsImage, top: int, count: int) -> NDArray[Any]:
    return to_numbers(image.crop(0, top, image.width, count))


def _stored_rows(picture: Picture) -> Read:
    """Of a format that Python decodes. Raises ImageError."""
    rows, header = picture.open_rows(), picture.load()
    interpretation, profile = header.interpretation, field(header, "icc-profile-data")
    return lambda top, count: to_array(picture.store(from_pixels(rows(top, count), interpretation, profile)))


def _masked_rows(read: Read, mask: Mask, width: int, top: int, count: int) -> NDArray[np.uint8]:
    return masked(read(top, count), mask.pixels(0, top, (width, count)))
