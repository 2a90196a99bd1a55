"""Windows around squares that are to be looked at: few pixels more than they need, and never the same twice."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gigacount.geometry import Size, Window

Squares = NDArray[np.bool_]


@dataclass(frozen=True)
class Packing:
    """What a look costs, in squares: at most `most_wh` of them, and `context` of them read along on every side."""

    most_wh: Size
    context: float

    def pixels(self, height: NDArray[np.int64], width: NDArray[np.int64]) -> NDArray[np.float64]:
        """What it takes to look at boxes of squares, in squares: as many windows as they need, each with context."""
        sides = (height, self.most_wh[1]), (width, self.most_wh[0])
        down, across = (side + 2 * self.context * -(-side // most) for side, most in sides)
        return np.asarray(down * across)

    def pack(self, wanted: Squares) -> list[Window]:
        """Windows, in squares, that hold every wanted one (rows, cols) and do not overlap.

        A box is split, all the way across, where that saves the most pixels, until nothing more is saved.
        """
        windows: list[Window] = []
        waiting = [(0, 0, wanted)]
        while waiting:
            top, left, part = waiting.pop()
            rows, cols = (np.flatnonzero(part.any(axis=axis)) for axis in (1, 0))
            if not len(rows):
                continue
            part = part[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]
            top, left, (height, width) = top + int(rows[0]), left + int(cols[0]), part.shape
            down, at_row = self._best_split(part)
            across, at_col = self._turned._best_split(part.T)
            fits = width <= self.most_wh[0] and height <= self.most_wh[1]
            if fits and self.pixels(*np.array(part.shape)) <= min(down, across):
                windows.append(Window(left, top, width, height))
            elif down <= across:
                waiting += [(top + at_row, left, part[at_row:]), (top, left, part[:at_row])]
            else:
                waiting += [(top, left + at_col, part[:, at_col:]), (top, left, part[:, :at_col])]
        return windows

    @property
    def _turned(self) -> Packing:
        return Packing(self.most_wh[::-1], self.context)

    def _best_split(self, part: Squares) -> tuple[float, int]:
        """The least that two parts of rows cost, and the first row of the second; infinite for a single row."""
        if len(part) == 1:
            return math.inf, 0
        above = self._costs(part)[:-1]
        costs = above + self._costs(part[::-1])[-2::-1]
        best = int(costs.argmin())
        return float(costs[best]), best + 1

    def _costs(self, part: Squares) -> NDArray[np.float64]:
        """What the first 1, 2, ... rows cost, without empty rows and columns around what is wanted."""
        rows, cols = part.shape
        some = part.any(axis=1)
        first = np.minimum.accumulate(np.where(some, part.argmax(axis=1), cols))
        last = np.maximum.accumulate(np.where(some, cols - part[:, ::-1].argmax(axis=1), 0))
        height = np.maximum.accumulate(np.where(some, np.arange(rows) + 1, 0)) - some.argmax()
        costs = np.zeros(rows)
        there = last > 0
        costs[there] = self.pixels(height[there], (last - first)[there])
        return costs
