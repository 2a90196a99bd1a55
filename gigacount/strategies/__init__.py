"""Strategies decide where to look; `look` does the rest.

A strategy is one function `(look, size_wh, options) -> DensityMap`. It sees sizes, windows and densities, never
pixels, torch or files, so it can be read beside its paper and tested with a `look` made from known points. A look is
begun at once and waited for where its density is needed, so that reading and network overlap with what follows.
"""

from __future__ import annotations

from gigacount.errors import UnknownNameError
from gigacount.strategies.adaptive import adaptive, plan_adaptive
from gigacount.strategies.base import Look, Pending, PlannedLevel, Strategy
from gigacount.strategies.downsample import downsample, plan_downsample
from gigacount.strategies.full import full, plan_full
from gigacount.strategies.gigazoom import gigazoom, plan_gigazoom
from gigacount.strategies.sliding import plan_sliding, sliding

STRATEGIES: dict[str, Strategy] = {
    "adaptive": Strategy(adaptive, plan_adaptive),
    "gigazoom": Strategy(gigazoom, plan_gigazoom, ("sklearn.cluster",)),
    "downsample": Strategy(downsample, plan_downsample),
    "sliding": Strategy(sliding, plan_sliding),
    "full": Strategy(full, plan_full),
}

__all__ = ["STRATEGIES", "Look", "Pending", "PlannedLevel", "Strategy", "find_strategy"]


def find_strategy(name: str) -> Strategy:
    """The strategy `name`; raises UnknownNameError."""
    if name not in STRATEGIES:
        raise UnknownNameError("strategy", name, STRATEGIES)
    return STRATEGIES[name]
