"""What the looks at a picture show of it as a whole: how much is ground, and whether it is all but black or white."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from gigacount.geometry import Size, Window, whole

from .levels import MemoryLevel
from .resample import resample

BLACK, WHITE = 24, 231
"""Below and above these 8-bit values of all bands, a pixel is all but black, or white."""

NEARLY_ALL = 0.995
"""The share of a picture's ground from which on it is odd that it is black, or white."""

EVERY = 4
"""Of so many pixels along each axis one is looked at."""

REMEMBERED = 8
"""Last looks whose ground is kept, so that it is not read again."""

Ground = NDArray[np.uint8]


class Seen:
    """Gathers what looks show. From several threads.

    Of looks at more and less of the picture, the widest decide: zooms dwell where people are.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._widest = self._pixels = self._ground = self._black = self._white = 0.0
        self._grounds: OrderedDict[tuple[Window, Size], Ground] = OrderedDict()

    def add(self, window: Window, pixels: NDArray[np.uint8], ground: Ground | None) -> None:
        """A look: upright pixels (H, W, 3), and how much of each is ground, 0..255, (H, W); None where all is."""
        some = pixels[::EVERY, ::EVERY]
        share = np.ones(some.shape[:2]) if ground is None else ground[::EVERY, ::EVERY] / 255
        black, white = share[some.max(axis=2) < BLACK].sum(), share[some.min(axis=2) > WHITE].sum()
        with self._lock:
            if ground is not None:
                height, width = ground.shape
                self._grounds[window, (width, height)] = ground
                if len(self._grounds) > REMEMBERED:
                    self._grounds.popitem(last=False)
            if window.pixels > self._widest:
                self._widest = window.pixels
                self._pixels = self._ground = self._black = self._white = 0.0
            if window.pixels == self._widest:
                self._pixels += share.size
                self._ground += float(share.sum())
                self._black += float(black)
                self._white += float(white)

    def ground(self, window: Window, size_wh: Size) -> Ground | None:
        """The ground of a window that was looked at lately, (H, W); None when it was not."""
        with self._lock:
            known = self._grounds.get((window, size_wh))
            if known is None:
                known = next((one for (seen, _), one in reversed(self._grounds.items()) if seen == window), None)
        if known is None:
            return None
        rows, cols = known.shape
        if (cols, rows) == size_wh:
            return known
        return resample(MemoryLevel(known[:, :, None], 1), whole((cols, rows)), size_wh)[:, :, 0]

    @property
    def share(self) -> float | None:
        """The share of the picture that is ground, 0..1, as far as it was looked at; None before the first look."""
        return self._ground / self._pixels if self._pixels else None

    @property
    def notes(self) -> tuple[str, ...]:
        """What speaks against a count of such a picture, a line each."""
        share = self.share
        if share is None:
            return ()
        if self._ground == 0:
            return ("all of it is transparent, masked or nodata: nobody is counted; choose with --nodata",)
        notes = []
        if share < 0.9995:
            notes.append(f"{1 - share:.1%} of it is transparent, masked or nodata: nobody is counted there")
        for what, amount in (("black", self._black), ("white", self._white)):
            if amount >= NEARLY_ALL * self._ground:
                notes.append(f"all but {what}: its count means nothing if its values are misread; choose with --range")
        return tuple(notes)
