"""The tables: rows that differ in one option of the strategy.

`methods`, `zoom`, `levels`, `clusters` and `overzoom` are Tables I to V of GigaZoom (arXiv 2305.09271). As there,
`levels` and `overzoom` are without clustering. `methods` has two rows more, which look at everything once, a quarter of
its size: what GigaZoom has to be shown against. `peaks` and `start` vary what that paper leaves untried.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from gigacount.errors import UsageError
from gigacount.geometry import Size
from gigacount.options import StrategyOptions
from gigacount.resolution import Resolution
from gigacount.strategies import find_strategy


@dataclass(frozen=True)
class Row:
    """One row of a table: a strategy and its options.

    networks: its own network and the one for the first look, instead of those that the ablation compares.
    """

    label: str
    strategy: str
    looking: StrategyOptions
    networks: tuple[str, str | None] | None = None

    def looks(self, size_wh: Size) -> int:
        """How many looks at a picture it takes at most, not counting those that hang on what is seen."""
        plan = find_strategy(self.strategy).plan(size_wh, self.looking)
        return sum(level.looks for level in plan if level.certain)


@dataclass(frozen=True)
class Method:
    """A row of Table I with a network of its own, as in the paper. coarse_network: for the first look."""

    label: str
    strategy: str
    network: str
    coarse_network: str | None = None

    @classmethod
    def parse(cls, text: str) -> Method:
        """Of LABEL=STRATEGY:NETWORK[:COARSE]. Raises UsageError, and UnknownNameError for another strategy."""
        label, equals, rest = text.partition("=")
        strategy, *networks = rest.split(":")
        if not (equals and label and networks and all(networks)) or len(networks) > 2:
            raise UsageError(f"a method is LABEL=STRATEGY:NETWORK or LABEL=STRATEGY:NETWORK:COARSE, not '{text}'")
        find_strategy(strategy)
        return cls(label, strategy, *networks)

    def row(self, base: StrategyOptions) -> Row:
        return Row(self.label, self.strategy, base, (self.network, self.coarse_network))


@dataclass(frozen=True)
class Table:
    """A table by its title; `rows` makes them from the options that they have in common."""

    title: str
    rows: Callable[[StrategyOptions], list[Row]]


def methods(base: StrategyOptions) -> list[Row]:
    return [
        Row("downsample", "downsample", base),
        Row("sliding, one pass at 1/4", "sliding", replace(base, scales=(1 / 4,))),
        Row("full, one pass at 1/4 with context", "full", replace(base, scales=(1 / 4,))),
        Row("Gigapixel CSRNet: sliding at 1, 1/4, 1/8, averaged", "sliding", replace(base, scales=(1, 1 / 4, 1 / 8))),
        Row("GigaZoom", "gigazoom", base),
        Row("adaptive", "adaptive", base),
    ]


def zoom(base: StrategyOptions) -> list[Row]:
    return [_gigazoom(name, replace(base, zoom=name)) for name in ("linear", "exponential")]


def levels(base: StrategyOptions) -> list[Row]:
    return [_gigazoom(f"L = {n}", replace(base, levels=n, clusters=0, start=1)) for n in (5, 10, 20)]


def clusters(base: StrategyOptions) -> list[Row]:
    return [_gigazoom(f"k = {k}" if k else "none", replace(base, clusters=k)) for k in (0, 1, 2, 5)]


def overzoom(base: StrategyOptions) -> list[Row]:
    return [_gigazoom(f"{n} levels past 1:1", replace(base, clusters=0, overzoom=n)) for n in (0, 1, 2)]


def peaks(base: StrategyOptions) -> list[Row]:
    relative = [_with_peaks(f"{share} of the highest peak", base, share, relative=True) for share in (0.1, 0.5)]
    return [*relative, _with_peaks("0.1 people per cell", base, 0.1, relative=False)]


def start(base: StrategyOptions) -> list[Row]:
    later = min(6, base.levels)
    return [
        _gigazoom(f"level {first}, k = {k}", replace(base, start=first, clusters=k))
        for first, k in ((1, 2), (later, 2), (later, 5))
    ]


def adaptive(base: StrategyOptions) -> list[Row]:
    return [
        Row(f"resolved at {spacing:g} read px", "adaptive", replace(base, resolution=Resolution(resolved_px=spacing)))
        for spacing in (12, 18, 22.6, 36)
    ] + [
        Row("base 1/8", "adaptive", replace(base, base=1 / 8)),
        Row("context 64", "adaptive", replace(base, context=64)),
    ]


TABLES: dict[str, Table] = {
    "methods": Table("Methods (Table I)", methods),
    "zoom": Table("Linear and exponential zoom (Table II)", zoom),
    "levels": Table("Zoom levels, without clustering (Table III)", levels),
    "clusters": Table("Zoom regions (Table IV)", clusters),
    "overzoom": Table("Overzoom, without clustering (Table V)", overzoom),
    "peaks": Table("Threshold of the density peaks, lambda", peaks),
    "start": Table("Level of the first zoom windows", start),
    "adaptive": Table("Where adaptive looks closer", adaptive),
}
"""Name -> table. One more is a function and a line here."""


def _gigazoom(label: str, looking: StrategyOptions) -> Row:
    return Row(label, "gigazoom", looking)


def _with_peaks(label: str, base: StrategyOptions, threshold: float, relative: bool) -> Row:
    return _gigazoom(label, replace(base, peaks=replace(base.peaks, threshold=threshold, relative=relative)))
