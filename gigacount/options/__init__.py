"""Options of every stage: frozen dataclasses. Each option has its default, its check and its help here and nowhere
else; the command line is made from them. Free of heavy imports."""

from __future__ import annotations

from gigacount.options.batch import BatchOptions
from gigacount.options.count import PRECISIONS, CountOptions, PeakOptions, ReadOptions, RegionOptions, StrategyOptions
from gigacount.options.research import (
    AblateOptions,
    CalibrateOptions,
    EvaluateOptions,
    GenerateOptions,
    LabelOptions,
    MixOptions,
    TrainOptions,
)

__all__ = [
    "PRECISIONS",
    "AblateOptions",
    "BatchOptions",
    "CalibrateOptions",
    "CountOptions",
    "EvaluateOptions",
    "GenerateOptions",
    "LabelOptions",
    "MixOptions",
    "PeakOptions",
    "ReadOptions",
    "RegionOptions",
    "StrategyOptions",
    "TrainOptions",
]
