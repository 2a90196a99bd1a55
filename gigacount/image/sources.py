"""Where the levels of a picture come from: tiles of the file itself, or one decoding of it from top to bottom."""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import gettempdir
from threading import Event, Lock
from typing import Any

import numpy as np

from gigacount.errors import ImageError
from gigacount.geometry import Size, Window

from .colour import store
from .levels import CHUNK_BYTES, Level, MemoryLevel, ScratchLevel, TileLevel
from .picture import Picture, strictness
from .scratch import Scratch
from .vips import VipsError, VipsImage, lacks_codec, shrink, stop, to_array, write_raw

Notify = Callable[[str], None]

REDUCED_PIXELS = 50_000_000
"""The most pixels of a picture, or of its reduced copy, that are held in memory (150 MB)."""

WORTH_REDUCING = 4
"""A look at no less than this part of a picture (1/4 of its pixels) is worth making the reduced copy."""

FOLLOW_SECONDS = 0.01
"""How often to see whether more rows of the scratch file have been written."""

WHOLE_BYTES = 2**31
"""The largest file of a single compressed strip that libvips may hold in memory."""

_HARMLESS = re.compile(r"VipsJpeg: (Invalid SOS parameters|.*extraneous bytes before marker 0x(?!d[0-7]))")
"""Oddities of JPEG files that lose no pixels. Stray bytes before a restart marker (d0..d7), however, do."""


class Source(ABC):
    """The levels of one picture. decodes: how often its file was decoded from top to bottom."""

    def __init__(self, picture: Picture, notify: Notify) -> None:
        self.picture = picture
        self.notify = notify
        self.reduction = reduction(picture.size_wh)
        self.scratch: Scratch | None = None
        self.decodes = 0
        self.stopping = Event()
        self.lock = Lock()

    @abstractmethod
    def level(self, window: Window, ratio: float) -> Level:
        """The coarsest level for a look at a window (as stored) that shrinks by `ratio`. Raises VipsError, ImageError.

        Depends on its arguments alone, never on earlier looks: the same look gives the same pixels.
        """

    def prepare(self, looks: int) -> None:  # noqa: B027  nothing to prepare where tiles are at hand
        """Get ready for so many looks."""

    def close(self) -> None:
        """Stop decoding and give memory and disk back."""
        self.stopping.set()


def open_source(picture: Picture, notify: Notify) -> Source:
    """Tiles where the file has them, else a stream."""
    return Tiled(picture, notify) if picture.copies else Streamed(picture, notify)


def reduction(size_wh: Size) -> int:
    """The smallest power of two by which a picture shrinks to what may be held in memory; 1 for small pictures.

    A power of two, because windows lie on multiples of 8 pixels and then on whole pixels of the copy, too, and because
    JPEG can be decoded at a half, quarter or eighth.
    """
    factor = 1
    while -(-size_wh[0] // factor) * -(-size_wh[1] // factor) > REDUCED_PIXELS:
        factor *= 2
    return factor


class Tiled(Source):
    """Only the tiles that a look needs, from the coarsest copy in the file that still has the resolution.

    A file without small copies gets one in memory with the first look at much of it: otherwise every such look would
    decode it anew.
    """

    def __init__(self, picture: Picture, notify: Notify) -> None:
        super().__init__(picture, notify)
        self._levels = [self._open(number) for number in range(len(picture.copies))]
        self._reduced: MemoryLevel | None = None

    def level(self, window: Window, ratio: float) -> Level:
        suitable = [level for level in self._levels if max(level.factor_xy) <= ratio]
        level = suitable[-1] if suitable else self._levels[0]
        wide = window.pixels * WORTH_REDUCING >= self.picture.size_wh[0] * self.picture.size_wh[1]
        if wide and ratio >= self.reduction > 4 * max(level.factor_xy):
            return self._reduce(level)
        return level

    def close(self) -> None:
        super().close()
        self._levels.clear()
        self._reduced = None

    def _open(self, number: int) -> TileLevel:
        copy = self.picture.copies[number]
        image = store(self.picture.load(fail_on=strictness(self.picture.loader), **dict(copy.options)))
        return TileLevel(image, copy.factor_xy, self.picture.options.allow_damaged)

    def _reduce(self, level: Level) -> MemoryLevel:
        with self.lock:
            if self._reduced is None:
                if max(level.factor_xy) != min(level.factor_xy) or self.reduction % level.factor_xy[0]:
                    level = self._levels[0]
                step = self.reduction // int(level.factor_xy[0])
                count_wh = (-(-level.size_wh[0] // step), -(-level.size_wh[1] // step))
                self.decodes += 1
                self._reduced = MemoryLevel(level.boxes((0, 0), count_wh, (step, step)), self.reduction)
            return self._reduced


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
        decoded = (self._start_coarse() if coarse else self._start_fine()).result()
        level = decoded.reduced if coarse else decoded.full
        assert level is not None
        return level

    def prepare(self, looks: int) -> None:
        """Begin, in the background, the one decoding that serves all of several looks."""
        if looks > 1 and self.reduction > 1:
            self._start_fine()
        elif looks > 1:
            self._start_coarse()

    def close(self) -> None:
        super().close()
        if self._decoding is not None:
            stop(self._decoding)
        self._worker.shutdown(cancel_futures=True)
        if self.scratch is not None:
            self.scratch.close()
        self._coarse = self._fine = self.scratch = self._decoding = None

    def _start_coarse(self) -> Future[Decoded]:
        with self.lock:
            if self._coarse is None:
                self._coarse = self._fine or self._worker.submit(self._decode, self._decode_reduced)
            return self._coarse

    def _start_fine(self) -> Future[Decoded]:
        with self.lock:
            if self._fine is None:
                width, height = self.picture.size_wh
                folder = self.picture.options.scratch_folder or Path(gettempdir())
                self.scratch = Scratch(folder, width * height * self.picture.bands)
                size = self.scratch.size / 1e9
                self.notify(
                    f"{self.picture.path}: decoded into a scratch file of {size:.2f} GB in {folder} until the end"
                )
                # Settled here, not when the decoding begins: by then a coarse look may wait for this very decoding.
                reduce = self._coarse is None
                self._fine = self._worker.submit(self._decode, self._decode_full, self.scratch, reduce)
            return self._fine

    def _decode(self, how: Callable[..., Decoded], *arguments: Any) -> Decoded:
        """Decode the file from top to bottom; again, with other options, where that helps.

        Raises ImageError, OutputError.
        """
        check_memory(self.picture)
        while True:
            self.decodes += 1
            try:
                return how(*arguments)
            except VipsError as error:
                if self.stopping.is_set():
                    raise ImageError(f"{self.picture.path}: closed while it was decoded") from error
                self._load_options |= self._remedy(error)

    def _decode_reduced(self) -> Decoded:
        """The reduced copy alone; libjpeg does the first halvings while it decodes."""
        on_load = min(self.reduction, 8) if self.picture.info.format == "JPEG" else 1
        image = self._open(on_load)
        step = self.reduction // on_load
        return Decoded(MemoryLevel(to_array(shrink(image, (step, step))), self.reduction), None)

    def _decode_full(self, scratch: Scratch, reduce: bool) -> Decoded:
        """All pixels to the scratch file, and what has arrived there to the reduced copy meanwhile, if it is wanted."""
        image = self._open(1)
        scratch.rewind()
        full = ScratchLevel(scratch, self.picture.size_wh, image.bands)
        arrived = Event()
        with ThreadPoolExecutor(1, "gigacount-reduce") as follower:
            reduced = follower.submit(self._follow, full, scratch, arrived) if reduce else None
            try:
                write_raw(image, scratch.descriptor)
            except VipsError as error:
                if "target: write error" in error.details:
                    raise scratch.failed(error.system_error) from error
                raise
            finally:
                arrived.set()
        return Decoded(reduced.result() if reduced else None, full)

    def _follow(self, full: ScratchLevel, scratch: Scratch, arrived: Event) -> MemoryLevel:
        """Reduce rows of the scratch file as they arrive."""
        step, (width, height) = self.reduction, full.size_wh
        cols, rows = -(-width // step), -(-height // step)
        reduced = np.empty((rows, cols, full.bands), np.uint8)
        at_once = max(CHUNK_BYTES // (width * full.bands * step), 1)
        for first in range(0, rows, at_once):
            count = min(at_once, rows - first)
            needed = min((first + count) * step, height) * width * full.bands
            while scratch.written < needed and not arrived.wait(FOLLOW_SECONDS):
                pass
            if scratch.written < needed:
                break  # decoding has failed and says so itself
            reduced[first : first + count] = full.boxes((0, first), (cols, count), (step, step))
        return MemoryLevel(reduced, step)

    def _open(self, on_load: int) -> VipsImage:
        """The picture as a stream of stored pixels, shrunk on load (JPEG only). Raises VipsError, ImageError."""
        image = store(self.picture.load_stream(**self._load_options, **({"shrink": on_load} if on_load > 1 else {})))
        if (image.width, image.height) != tuple(-(-side // on_load) for side in self.picture.size_wh):
            raise ImageError(f"{self.picture.path}: changed while it was read")
        self._decoding = image
        if self.stopping.is_set():
            stop(image)
        return image

    def _remedy(self, error: VipsError) -> dict[str, Any]:
        """Other options to try, after a failure, or the error for the user."""
        picture, fail_on = self.picture, self._load_options["fail_on"]
        if lacks_codec(error):
            raise picture.damaged(error)
        if "byte limit" in error.details and "unlimited" not in self._load_options:
            if picture.info.file_bytes > WHOLE_BYTES:
                raise ImageError(f"{picture.path}: compressed in strips too large to decode; save it with tiles")
            self.decodes -= 1  # it failed in the first rows
            return {"unlimited": True}
        jpeg_says = [line for line in error.details.splitlines() if line.strip().startswith("VipsJpeg:")]
        if fail_on == "warning" and jpeg_says and all(_HARMLESS.match(line.strip()) for line in jpeg_says):
            self.decodes -= 1  # these are found in the header
            return {"fail_on": "truncated"}
        if picture.options.allow_damaged and fail_on != "none":
            self.notify(f"{picture.path}: damaged or cut short ({error.reason}); reading what is left")
            return {"fail_on": "none"}
        raise picture.damaged(error)


def check_memory(picture: Picture) -> None:
    """Refuse, by ImageError, what libvips decodes as a whole when that would take half of this computer's memory.

    That is so for progressive JPEG (its coefficients), interlaced PNG, and the formats of small pictures.
    """
    info = picture.info
    if not info.progressive and info.format in ("JPEG", "TIFF", "PNG"):
        return
    width, height = info.size_wh
    needed = width * height * (6 if info.format == "JPEG" else max(info.bands * info.bits // 8, 1))
    if needed > os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2:
        kind = f"progressive {info.format}" if info.progressive else info.format
        raise ImageError(
            f"{picture.path}: a {kind} is decoded as a whole, which takes {needed / 1e9:.1f} GB of memory here;"
            " save it as tiled TIFF or plain JPEG"
        )
