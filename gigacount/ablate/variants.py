"""The tables: rows that differ in one option of the strategy.

`methods`, `zoom`, `levels`, `clusters` and `overzoom` are Tables I to V of GigaZoom (arXiv 2305.09271). As there,
`levels` and `overzoom` are without clustering. `methods` has two rows more, which look at everything once, a quarter of
its size: what GigaZoom has to be shown against. `peaks` and `start` vary what that paper leaves untried.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from gigacount.errors import UnknownNameError, UsageError
from gigacount.geometry import Size
from gigacount.options import AblateOptions, StrategyOptions
from gigacount.options.option import require
from gigacount.resolution import Resolution
from gigacount.strategies import find_strategy


@dataclass(frozen=True)
class Variant:
    """One row of a table: a strategy and its options.

    networks: its own network and the one for the first look, instead of those that the ablation compares.
    """

    label: str
    strategy: str
    looking: StrategyOptions
    networks: tuple[str, str | None] | None = None

    @classmethod
    def parse(cls, text: str, base: StrategyOptions) -> Variant:
        """Of LABEL=STRATEGY:NETWORK[:COARSE]. Raises UsageError, and UnknownNameError for another strategy."""
        label, equals, rest = text.partition("=")
        strategy, *networks = rest.split(":")
        if not (equals and label and networks and all(networks)) or len(networks) > 2:
            raise UsageError(f"a method is LABEL=STRATEGY:NETWORK or LABEL=STRATEGY:NETWORK:COARSE, not '{text}'")
        find_strategy(strategy)
        return cls(label, strategy, base, (networks[0], networks[1] if len(networks) > 1 else None))

    def looks(self, size_wh: Size) -> int:
        """How many looks at an image it takes at most, not counting those that depend on what is seen."""
        plan = find_strategy(self.strategy).plan(size_wh, self.looking)
        return sum(level.looks for level in plan if level.certain)


def variants_of(table: str, options: AblateOptions) -> list[Variant]:
    """The rows of a table. Raises UnknownNameError for a table that does not exist, UsageError for odd methods."""
    if table not in TABLES:
        raise UnknownNameError("table", table, TABLES)
    if table != "methods" or not options.methods:
        return TABLES[table][1](options.looking)
    variants = [Variant.parse(text, options.looking) for text in options.methods]
    require(len({one.label for one in variants}) == len(variants), "methods must have different labels")
    return variants


def methods(base: StrategyOptions) -> list[Variant]:
    return [
        Variant("downsample", "downsample", base),
        Variant("sliding, one pass at 1/4", "sliding", replace(base, scales=(1 / 4,))),
        Variant("full, one pass at 1/4 with context", "full", replace(base, scales=(1 / 4,))),
        Variant(
            "Gigapixel CSRNet: sliding at 1, 1/4, 1/8, averaged", "sliding", replace(base, scales=(1, 1 / 4, 1 / 8))
        ),
        Variant("GigaZoom", "gigazoom", base),
        Variant("adaptive", "adaptive", base),
    ]


def zoom(base: StrategyOptions) -> list[Variant]:
    return [_gigazoom(name, replace(base, zoom=name)) for name in ("linear", "exponential")]


def levels(base: StrategyOptions) -> list[Variant]:
    return [_gigazoom(f"L = {n}", replace(base, levels=n, clusters=0, start=1)) for n in (5, 10, 20)]


def clusters(base: StrategyOptions) -> list[Variant]:
    return [_gigazoom(f"k = {k}" if k else "none", replace(base, clusters=k)) for k in (0, 1, 2, 5)]


def overzoom(base: StrategyOptions) -> list[Variant]:
    return [_gigazoom(f"{n} levels past 1:1", replace(base, clusters=0, overzoom=n)) for n in (0, 1, 2)]


def peaks(base: StrategyOptions) -> list[Variant]:
    relative = [_with_peaks(f"{share} of the highest peak", base, share, relative=True) for share in (0.1, 0.5)]
    return [*relative, _with_peaks("0.1 people per cell", base, 0.1, relative=False)]


def start(base: StrategyOptions) -> list[Variant]:
    later = min(6, base.levels)
    return [
        _gigazoom(f"level {first}, k = {k}", replace(base, start=first, clusters=k))
        for first, k in ((1, 2), (later, 2), (later, 5))
    ]


def adaptive(base: StrategyOptions) -> list[Variant]:
    return [
        Variant(
            f"resolved at {spacing:g} read px", "adaptive", replace(base, resolution=Resolution(resolved_px=spacing))
        )
        for spacing in (12, 18, 22.6, 36)
    ] + [
        Variant("base 1/8", "adaptive", replace(base, base=1 / 8)),
        Variant("context 64", "adaptive", replace(base, context=64)),
    ]


TABLES: dict[str, tuple[str, Callable[[StrategyOptions], list[Variant]]]] = {
    "methods": ("Methods (Table I)", methods),
    "zoom": ("Linear and exponential zoom (Table II)", zoom),
    "levels": ("Zoom levels, without clustering (Table III)", levels),
    "clusters": ("Zoom regions (Table IV)", clusters),
    "overzoom": ("Overzoom, without clustering (Table V)", overzoom),
    "peaks": ("Threshold of the density peaks, lambda", peaks),
    "start": ("Level of the first zoom windows", start),
    "adaptive": ("Where adaptive looks closer", adaptive),
}
"""Name -> title, and what makes the rows of what they have in common. One more is a function and a line here."""


def _gigazoom(label: str, looking: StrategyOptions) -> Variant:
    return Variant(label, "gigazoom", looking)


def _with_peaks(label: str, base: StrategyOptions, threshold: float, relative: bool) -> Variant:
    return _gigazoom(label, replace(base, peaks=replace(base.peaks, threshold=threshold, relative=relative)))
