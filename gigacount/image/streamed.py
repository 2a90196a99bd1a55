"""A picture whose file only decodes from top to bottom: decoded once, looked at many times."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import gettempdir
from threading import Event
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gigacount.errors import ImageError
from gigacount.geometry import Window

from .boxes import box_means
from .colour import store
from .levels import CHUNK_BYTES, Level, MemoryLevel, ScratchLevel
from .picture import Picture, strictness
from .scratch import Scratch
from .source import Notify, Source
from .vips import VipsError, VipsImage, lacks_codec, release_memory, stop, write_raw

FOLLOW_SECONDS = 0.01
"""How often to see whether more rows of the scratch file have been written."""

WHOLE_BYTES = 2**31
"""The largest file of a single compressed strip that libvips may hold in memory."""

DECODED_WHOLE = ("WebP", "HEIF", "GIF", "JPEG XL", "camera raw")
"""Formats that libvips cannot stream."""

_HARMLESS = re.compile(r"VipsJpeg: (Invalid SOS parameters|.*extraneous bytes before marker 0x(?!d[0-7]))")
"""Oddities of JPEG files that lose no pixels. Stray bytes before a restart marker (d0..d7), however, do."""

Take = Callable[[NDArray[np.uint8]], bool]
"""Fills an array with the next rows of a picture that is being decoded; False when decoding has failed."""


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
    """

    def __init__(self, picture: Picture, notify: Notify) -> None:
        super().__init__(picture, notify)
        self._load_options: dict[str, Any] = {"fail_on": strictness(picture.loader)}
        self._worker = ThreadPoolExecutor(1, "gigacount-decode")
        self._decoding: VipsImage = None
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

    def close(self) -> None:
        super().close()
        if self._decoding is not None:
            stop(self._decoding)
        self._worker.shutdown(cancel_futures=True)
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
        """Decode the file from top to bottom; again, with other options, where that helps.

        Raises ImageError, OutputError, VipsError.
        """
        check_memory(self.picture)
        while True:
            self.decodes += 1
            try:
                decoded = how(*arguments)
                release_memory()
                return decoded
            except VipsError as error:
                if self.stopping.is_set():
                    raise ImageError(f"{self.picture.name}: closed while it was decoded") from error
                if lacks_codec(error):
                    raise
                self._load_options |= self._remedy(error)

    def _decode_reduced(self) -> Decoded:
        """The reduced copy alone; libjpeg does the first halvings while it decodes."""
        on_load = min(self.reduction, 8) if self.picture.info.format == "JPEG" else 1
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
                write_raw(image, writer.fileno())
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
                write_raw(image, scratch.descriptor)
            except VipsError as error:
                reason = scratch.refusal() or error.write_error
                if reason is not None:
                    raise scratch.failed(reason) from error
                raise
            finally:
                arrived.set()
        full = ScratchLevel(scratch, self.picture.size_wh, image.bands)
        return Decoded(reduced.result() if reduced else None, full)

    def _reduce(self, take: Take, image: VipsImage, step: int) -> MemoryLevel:
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

    def _open(self, on_load: int) -> VipsImage:
        """The picture as a stream of stored pixels, shrunk on load (JPEG only). Raises VipsError, ImageError."""
        image = store(self.picture.load_stream(**self._load_options, **({"shrink": on_load} if on_load > 1 else {})))
        # Shrunk on load, a side loses what is left of its last whole block.
        if (image.width, image.height) != tuple(side // on_load for side in self.picture.size_wh):
            raise ImageError(f"{self.picture.name}: changed while it was read")
        self._decoding = image
        if self.stopping.is_set():
            stop(image)
        return image

    def _remedy(self, error: VipsError) -> dict[str, Any]:
        """Other options to try, after a failure, or the error for the user."""
        picture, fail_on = self.picture, self._load_options["fail_on"]
        if "byte limit" in error.details and "unlimited" not in self._load_options:
            if picture.info.file_bytes > WHOLE_BYTES:
                raise ImageError(f"{picture.name}: compressed in strips too large to decode; save it with tiles")
            self.decodes -= 1  # it failed in the first rows
            return {"unlimited": True}
        jpeg_says = [line for line in error.details.splitlines() if line.strip().startswith("VipsJpeg:")]
        if fail_on == "warning" and jpeg_says and all(_HARMLESS.match(line.strip()) for line in jpeg_says):
            self.decodes -= 1  # these are found in the header
            return {"fail_on": "truncated"}
        if picture.options.allow_damaged and fail_on != "none":
            self.notify(f"{picture.name}: damaged or cut short ({error.reason}); reading what is left")
            return {"fail_on": "none"}
        raise picture.damaged(error)


def check_memory(picture: Picture) -> None:
    """Refuse, by ImageError, what libvips decodes as a whole when that would take half of this computer's memory.

    That is so for progressive JPEG (its coefficients), interlaced PNG, and some formats in general.
    """
    info = picture.info
    if not info.progressive and info.format not in DECODED_WHOLE:
        return
    width, height = info.size_wh
    needed = width * height * (6 if info.format == "JPEG" else max(info.bands * info.bits // 8, 1))
    if needed > os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2:
        kind = f"progressive {info.format}" if info.progressive else info.format
        raise ImageError(
            f"{picture.name}: a {kind} is decoded as a whole, which takes {needed / 1e9:.1f} GB of memory here;"
            " save it as tiled TIFF or plain JPEG"
        )
