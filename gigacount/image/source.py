"""Where the levels of an image come from; here, from a file with tiles: each look decodes those that it needs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from threading import Event, Lock
from typing import Any

from numpy.typing import NDArray

from gigacount.geometry import Size, Window

from .codecs import codec_levels
from .ground import masked_level
from .imagefile import ImageFile
from .levels import MemoryLevel, PyramidLevel, TileLevel
from .overviews import trusted
from .pages import Copy, left_out
from .samples import sample_of
from .scratch import Scratch
from .vips import tile_size, to_array

Notify = Callable[[str], None]

REDUCED_PIXELS = 50_000_000  # the most pixels of an image, or of its reduced copy, that are held in memory (150 MB)
WORTH_REDUCING = 16  # a coarse look at 1/16 of an image's pixels or more is worth making the reduced copy


class LevelSource(ABC):
    """The levels of one image. decodes: how often its file was decoded from top to bottom. notes: what was found."""

    def __init__(self, file: ImageFile, notify: Notify) -> None:
        self.file = file
        self.notify = notify
        self.reduction = reduction(file.size_wh)
        self.scratch: Scratch | None = None
        self.decodes = 0
        self.notes: tuple[str, ...] = ()
        self.stopping = Event()
        self.lock = Lock()

    @abstractmethod
    def level(self, window: Window, ratio: float) -> PyramidLevel:
        """The coarsest level for a look at a window (as stored) that shrinks by `ratio`. Raises VipsError, ImageError.

        Depends on its arguments alone, never on earlier looks: the same look gives the same pixels.
        """

    @abstractmethod
    def missing(self, window: Window) -> float:
        """The share of a window (as stored), 0..1, that is damaged and shown in grey, as far as it was read."""

    def prepare(self, looks: int) -> None:  # noqa: B027  nothing to prepare where tiles are at hand
        """Get ready for so many looks."""

    def close(self) -> None:
        """Stop decoding and give memory and disk back."""
        self.stopping.set()


def reduction(size_wh: Size) -> int:
    """The smallest power of two by which an image shrinks to what may be held in memory; 1 for small images.

    A power of two, because windows lie on multiples of 8 pixels and then on whole pixels of the copy, too, and because
    JPEG can be decoded at a half, quarter or eighth.
    """
    factor = 1
    while -(-size_wh[0] // factor) * -(-size_wh[1] // factor) > REDUCED_PIXELS:
        factor *= 2
    return factor


def sample(file: ImageFile) -> NDArray[Any]:
    """Numbers of some pixels of the file (N, bands), from places all over it. Raises VipsError."""
    if file.plan is not None and file.by_tifffile:
        (level,) = codec_levels(file, file.plan.copies[:1])
        try:
            return sample_of(level.numbers, file.size_wh, file.samples.kind.bands, level.segment_wh)
        finally:
            level.close()
    image = file.load(fail_on=file.strictness)

    def read(left: int, top: int, size_wh: Size) -> NDArray[Any]:
        return to_array(image.crop(left, top, *size_wh))

    return sample_of(read, file.size_wh, image.bands, tile_size(image) or file.size_wh)


class Tiled(LevelSource):
    """Only the tiles that a look needs, from the coarsest copy in the file that still has the resolution.

    The copies are compared with the full resolution before one is used. A file without good small copies gets one in
    memory with the first look at much of it: otherwise every such look would decode it anew.
    """

    def __init__(self, file: ImageFile, notify: Notify) -> None:
        file = file.settled(sample(file)) if file.samples.open else file
        super().__init__(file, notify)
        levels = (
            codec_levels(file, file.copies) if file.by_tifffile else [_tile_level(file, one) for one in file.copies]
        )
        self._all = [masked_level(level, copy.mask, file) for level, copy in zip(levels, file.copies, strict=True)]
        self._good: list[PyramidLevel] | None = None
        self._reduced: MemoryLevel | None = None

    def level(self, window: Window, ratio: float) -> PyramidLevel:
        wanted = any(max(copy.factor_xy) <= ratio for copy in self._all[1:])
        levels = self._levels() if wanted else self._all[:1]
        suitable = [level for level in levels if max(level.factor_xy) <= ratio]
        level = suitable[-1] if suitable else levels[0]
        wide = window.pixels * WORTH_REDUCING >= self.file.size_wh[0] * self.file.size_wh[1]
        if wide and ratio >= self.reduction > max(level.factor_xy):
            return self._reduce(level)
        return level

    def missing(self, window: Window) -> float:
        return max((level.missing(window) for level in self._all), default=0.0)

    def close(self) -> None:
        super().close()
        for level in self._all:
            level.close()
        self._all, self._good, self._reduced = [], None, None

    def _levels(self) -> list[PyramidLevel]:
        """The levels that show the image."""
        with self.lock:
            if self._good is None:
                good = self._all[:1]
                for number, reason in trusted(self._all):
                    if reason is None:
                        good.append(self._all[number])
                    else:
                        self._pass_over(self.file.copies[number], reason)
                self._good = good
            return self._good

    def _pass_over(self, copy: Copy, reason: str) -> None:
        (width, height), one = copy.size_wh, copy.directory
        what = f"the overview of {width} x {height} pixels {reason} and is not used"
        if one is not None and not one.reduced and one.inner is None:
            page = one.page + 1
            what = f"page {page} ({width} x {height} pixels) is no overview of the image; count it with --page {page}"
        self.notes += (what,)
        self.notify(f"{self.file.name}: {what}")

    def _reduce(self, level: PyramidLevel) -> MemoryLevel:
        with self.lock:
            if self._reduced is None:
                if max(level.factor_xy) != min(level.factor_xy) or self.reduction % level.factor_xy[0]:
                    level = self._all[0]
                step = self.reduction // int(level.factor_xy[0])
                count_wh = (-(-level.size_wh[0] // step), -(-level.size_wh[1] // step))
                self.decodes += 1
                self._reduced = MemoryLevel(level.boxes((0, 0), count_wh, (step, step)), self.reduction)
            return self._reduced


def _tile_level(file: ImageFile, copy: Copy) -> TileLevel:
    image = file.store(file.load(copy, fail_on=file.strictness))
    missing = left_out(copy.directory) if copy.directory is not None else None
    return TileLevel(image, copy.factor_xy, file.options.allow_damaged, missing)
