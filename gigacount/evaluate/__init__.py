"""How wrong it is: counts and heads measured against ground truth.

evaluate_counts(count_samples(samples, estimate))   a data set and a function that counts
evaluate_points(truth, predictions)                 two files of heads
evaluate_pairs(list(locate_samples(samples, locate)))

Neither a network nor an image is known here, but in `calibrate`, which settles a network's record, and `resolution`.
"""

from __future__ import annotations

from gigacount.evaluate.reports import (
    METRICS,
    CountReport,
    PointsReport,
    count_samples,
    evaluate_counts,
    evaluate_pairs,
    evaluate_points,
    locate_samples,
)

__all__ = [
    "METRICS",
    "CountReport",
    "PointsReport",
    "count_samples",
    "evaluate_counts",
    "evaluate_pairs",
    "evaluate_points",
    "locate_samples",
]
