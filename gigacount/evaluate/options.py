"""What is measured, and how."""

from __future__ import annotations

import math
from dataclasses import dataclass

from gigacount.options import demand


@dataclass(frozen=True)
class EvaluateOptions:
    """How predictions are measured.

    metrics: names of `METRICS`, or None for all that the truth allows. radii: match radii in pixels of the metric
    `fixed` (4 and 8 are FIDTM's). sigmas: widths in pixels of the metric `raz` (RAZ-Net's Table 3). form: format of
    point files, a name of `FORMATS`, or None to go by their suffix. resamples, seed: of the bootstrap interval.
    """

    metrics: tuple[str, ...] | None = None
    radii: tuple[float, ...] = (4.0, 8.0)
    sigmas: tuple[float, ...] = (5.0, 20.0, 40.0)
    form: str | None = None
    resamples: int = 10_000
    seed: int = 0

    def __post_init__(self) -> None:
        for name, values in (("radii", self.radii), ("sigmas", self.sigmas)):
            fine = len(values) > 0 and all(0 < value < math.inf for value in values)
            demand(fine, f"{name} must be numbers above 0, not {', '.join(map(str, values)) or 'none'}")
        demand(self.metrics is None or len(self.metrics) > 0, "there must be at least one metric to measure")
        demand(1 <= self.resamples <= 10_000_000, f"resamples must be between 1 and 10000000, not {self.resamples}")
        demand(self.seed >= 0, f"seed must not be negative: {self.seed}")
