"""A picture whose file holds tiles: each look decodes those that it needs."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from gigacount.geometry import Size, Window

from .codecs import CodecLevel, codec_levels
from .levels import Level, MemoryLevel, TileLevel
from .mask import masked_level
from .overviews import trusted
from .pages import left_out
from .picture import Copy, Picture
from .source import Notify, Source
from .spans import sample_of
from .vips import tile_size, to_numbers

WORTH_REDUCING = 16
"""A coarse look at no less than this part of a picture (1/16 of its pixels) is worth making the reduced copy."""


def tile_levels(picture: Picture) -> list[Level]:
    """The copies in a tiled file, the full one first. Raises VipsError."""
    levels = codec_levels(picture) if picture.by_tifffile else [_tile_level(picture, copy) for copy in picture.copies]
    return [masked_level(level, copy.mask, picture) for level, copy in zip(levels, picture.copies, strict=True)]


def sample(picture: Picture) -> NDArray[Any]:
    """Numbers of some pixels of the file (N, bands), from places all over it. Raises VipsError."""
    if picture.by_tifffile:
        level, *others = codec_levels(picture)
        assert isinstance(level, CodecLevel)
        try:
            return sample_of(level.numbers, picture.size_wh, picture.samples.kind.bands, level.segment_wh)
        finally:
            for one in (level, *others):
                one.close()
    image = picture.load(fail_on=picture.strictness)

    def read(left: int, top: int, size_wh: Size) -> NDArray[Any]:
        return to_numbers(image.crop(left, top, *size_wh))

    return sample_of(read, picture.size_wh, image.bands, tile_size(image) or picture.size_wh)


def _tile_level(picture: Picture, copy: Copy) -> Level:
    image = picture.store(picture.load(copy, fail_on=picture.strictness))
    missing = left_out(copy.directory) if copy.directory is not None else None
    return TileLevel(image, copy.factor_xy, picture.options.allow_damaged, missing)


class Tiled(Source):
    """Only the tiles that a look needs, from the coarsest copy in the file that still has the resolution.

    The copies are compared with the full resolution before one is used. A file without good small copies gets one in
    memory with the first look at much of it: otherwise every such look would decode it anew.
    """

    def __init__(self, picture: Picture, notify: Notify) -> None:
        picture = picture.settled(sample(picture)) if picture.samples.open else picture
        super().__init__(picture, notify)
        self._all = tile_levels(picture)
        self._good: list[Level] | None = None
        self._reduced: MemoryLevel | None = None

    def level(self, window: Window, ratio: float) -> Level:
        wanted = any(max(copy.factor_xy) <= ratio for copy in self._all[1:])
        levels = self._levels() if wanted else self._all[:1]
        suitable = [level for level in levels if max(level.factor_xy) <= ratio]
        level = suitable[-1] if suitable else levels[0]
        wide = window.pixels * WORTH_REDUCING >= self.picture.size_wh[0] * self.picture.size_wh[1]
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

    def _levels(self) -> list[Level]:
        """The levels that show the picture."""
        with self.lock:
            if self._good is None:
                good = self._all[:1]
                for number, reason in trusted(self._all):
                    if reason is None:
                        good.append(self._all[number])
                    else:
                        self._pass_over(self.picture.copies[number], reason)
                self._good = good
            return self._good

    def _pass_over(self, copy: Copy, reason: str) -> None:
        (width, height), one = copy.size_wh, copy.directory
        what = f"the overview of {width} x {height} pixels {reason} and is passed over"
        if one is not None and not one.reduced and one.inner is None:
            page = one.page + 1
            what = f"page {page} ({width} x {height} pixels) is no overview of the picture; count it with --page {page}"
        self.notes += (what,)
        self.notify(f"{self.picture.name}: {what}")

    def _reduce(self, level: Level) -> MemoryLevel:
        with self.lock:
            if self._reduced is None:
                if max(level.factor_xy) != min(level.factor_xy) or self.reduction % level.factor_xy[0]:
                    level = self._all[0]
                step = self.reduction // int(level.factor_xy[0])
                count_wh = (-(-level.size_wh[0] // step), -(-level.size_wh[1] // step))
                self.decodes += 1
                self._reduced = MemoryLevel(level.boxes((0, 0), count_wh, (step, step)), self.reduction)
            return self._reduced
