"""How large people must be seen to be counted: measured for each network, read by strategies and intervals.

Nobody measures heads here. How large they are is told by how close they stand: people-weighted mean spacing, in read
pixels, within squares of a look.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from gigacount.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BLOCK_PX = 32
"""Side in read pixels of the blocks in which people are counted to tell their spacing: a few network cells."""

SQUARE = 4
"""Blocks along a side of the squares (128 read px) that are judged, and looked at again, as one."""


FEW = 4.0
"""People added to both counts before they are compared, so that one person more or less is little among few."""


def deviation(counted: float, true: float) -> float:
    """How far two counts are apart: the absolute logarithm of their ratio, about the relative error of many people."""
    return abs(math.log((true + FEW) / (max(counted, 0) + FEW)))


@dataclass(frozen=True)
class Resolution:
    """How far a network's count is off by the spacing of the people it sees; `networks calibrate` measures it.

    spacing_px: in read pixels, rising. bias: (counted - true) / counted there. error: sum of the absolute errors of
    squares / people counted. resolved_px: people at least so far apart gain nothing by a look twice as close.
    kinds: relative error, besides that of places, that covers nine of ten images over all kinds of images measured.
    pictures: how many those were. brightness, sharpness: lowest and highest of looks at them (`appearance`). Raises
    UsageError for numbers that make no sense. The defaults are those of the default network, for records that do not
    say.
    """

    spacing_px: tuple[float, ...] = (5.0, 7.0, 10.0, 14.0, 19.0, 27.0, 38.0, 51.0)
    bias: tuple[float, ...] = (-0.17, -0.07, -0.04, 0.01, -0.02, -0.02, -0.02, -0.09)
    error: tuple[float, ...] = (0.34, 0.25, 0.25, 0.21, 0.21, 0.19, 0.20, 0.31)
    resolved_px: float = 22.6
    kinds: float = 0.3
    pictures: int = 0
    brightness: tuple[float, float] = (0.0, 255.0)
    sharpness: tuple[float, float] = (0.0, 100.0)

    def __post_init__(self) -> None:
        points = len(self.spacing_px)
        rising = all(a < b for a, b in zip(self.spacing_px, self.spacing_px[1:], strict=False))
        fine = 0 < points == len(self.bias) == len(self.error) and rising and self.spacing_px[0] > 0
        fine &= all(abs(value) < 10 for value in (*self.bias, *self.error)) and min(self.error) >= 0
        fine &= 0 < self.resolved_px < 1000 and 0 <= self.kinds < 10
        fine &= all(len(ends) == 2 and ends[0] <= ends[1] for ends in (self.brightness, self.sharpness))
        if not fine:
            raise UsageError(
                "[resolution] needs spacing_px in rising order, as many values of bias and error, and resolved_px"
            )

    @classmethod
    def of(cls, table: dict[str, object]) -> Resolution:
        """Of a TOML table. Raises UsageError for fields that are unknown or no numbers."""
        try:
            known = {field.name for field in fields(cls)}
            values = {name: tuple(map(float, v)) if isinstance(v, list) else v for name, v in table.items()}
            if unknown := set(values) - known:
                raise UsageError(f"unknown field '{min(unknown)}' in [resolution]")
            return cls(**values)  # type: ignore[arg-type]
        except (TypeError, ValueError) as error:
            raise UsageError(f"[resolution] must hold numbers: {error}") from error

    def error_at(self, spacing: NDArray[np.float64]) -> NDArray[np.float64]:
        """The relative error of squares with people of these spacings."""
        return self._at(spacing, self.error)

    def bias_at(self, spacing: NDArray[np.float64]) -> NDArray[np.float64]:
        return self._at(spacing, self.bias)

    def off_by(self, people: NDArray[np.float64], spacing: NDArray[np.float64]) -> tuple[float, float]:
        """By how many people squares are off together: of biases, which add up, the sum of their sizes; of other
        errors, each square's own, the sum of squares."""
        errors = people * self.error_at(spacing)
        return float((people * abs(self.bias_at(spacing))).sum()), float((errors * errors).sum())

    def _at(self, spacing: NDArray[np.float64], values: tuple[float, ...]) -> NDArray[np.float64]:
        import numpy as np

        return np.interp(spacing, self.spacing_px, values)
