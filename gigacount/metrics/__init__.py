"""How wrong: of numbers (`counting`), of places within a radius (`localization`), of places by score (`ranking`)."""

from __future__ import annotations

from gigacount.metrics.counting import (
    CountingMetrics,
    ImageCount,
    counting_metrics,
    game,
    grid_of_density,
    grid_of_points,
)
from gigacount.metrics.heads import PointPair, PredictedPoints, TruePoints
from gigacount.metrics.localization import NwpuScore, QnrfScore, RadiusScore, Score, fixed_radii, nwpu, qnrf
from gigacount.metrics.ranking import NapScore, RazScore, nap, raz

__all__ = [
    "CountingMetrics",
    "ImageCount",
    "NapScore",
    "NwpuScore",
    "PointPair",
    "PredictedPoints",
    "QnrfScore",
    "RadiusScore",
    "RazScore",
    "Score",
    "TruePoints",
    "counting_metrics",
    "fixed_radii",
    "game",
    "grid_of_density",
    "grid_of_points",
    "nap",
    "nwpu",
    "qnrf",
    "raz",
]
