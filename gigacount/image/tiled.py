"""A picture whose file holds tiles: each look decodes those that it needs."""

from __future__ import annotations

from collections.abc import Sequence

from gigacount.geometry import Window

from .colour import store
from .levels import Level, MemoryLevel, TileLevel
from .picture import Picture, strictness
from .source import Notify, Source

WORTH_REDUCING = 16
"""A coarse look at no less than this part of a picture (1/16 of its pixels) is worth making the reduced copy."""


def tile_levels(picture: Picture) -> list[Level]:
    """The copies in a tiled file, the full one first. Raises VipsError."""
    fail_on, forgiving = strictness(picture.loader), picture.options.allow_damaged
    return [
        TileLevel(store(picture.load(fail_on=fail_on, **dict(copy.options))), copy.factor_xy, forgiving)
        for copy in picture.copies
    ]


class Tiled(Source):
    """Only the tiles that a look needs, from the coarsest copy in the file that still has the resolution.

    A file without small copies gets one in memory with the first look at much of it: otherwise every such look would
    decode it anew.
    """

    def __init__(self, picture: Picture, notify: Notify, levels: Sequence[Level]) -> None:
        super().__init__(picture, notify)
        self._levels = levels
        self._reduced: MemoryLevel | None = None

    def level(self, window: Window, ratio: float) -> Level:
        suitable = [level for level in self._levels if max(level.factor_xy) <= ratio]
        level = suitable[-1] if suitable else self._levels[0]
        wide = window.pixels * WORTH_REDUCING >= self.picture.size_wh[0] * self.picture.size_wh[1]
        if wide and ratio >= self.reduction > max(level.factor_xy):
            return self._reduce(level)
        return level

    def close(self) -> None:
        super().close()
        for level in self._levels:
            level.close()
        self._levels, self._reduced = (), None

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
