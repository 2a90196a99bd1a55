"""How wrong it is: counts and places measured against labels, with neither network nor picture in sight.

evaluate_counts(count_samples(samples, estimate))   a data set and a function that counts
evaluate_points(truth, predictions)                 two files of points
evaluate_pairs(list(locate_samples(samples, locate)))
"""

from __future__ import annotations

from gigacount.evaluate.counts import CountEstimate, CountReport, count_samples, evaluate_counts
from gigacount.evaluate.files import plot_counts, write_counts_csv, write_points_csv, write_report_json
from gigacount.evaluate.options import EvaluateOptions
from gigacount.evaluate.pointfiles import FORMATS
from gigacount.evaluate.points import METRICS, PointsReport, evaluate_pairs, evaluate_points, locate_samples

__all__ = [
    "FORMATS",
    "METRICS",
    "CountEstimate",
    "CountReport",
    "EvaluateOptions",
    "PointsReport",
    "count_samples",
    "evaluate_counts",
    "evaluate_pairs",
    "evaluate_points",
    "locate_samples",
    "plot_counts",
    "write_counts_csv",
    "write_points_csv",
    "write_report_json",
]
