"""What a benchmark gives: named figures with units, and whether more or less is better."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

SLACK = 0.10


@dataclass(frozen=True)
class Figure:
    """One measured value. kept: whether it is a ratio or a size that other machines and days should find alike."""

    name: str
    value: float
    unit: str
    target: str = ""
    kept: bool = False
    more_is_better: bool = False

    def line(self) -> str:
        return f"{self.name:<72}{self.value:>12,.3g} {self.unit:<12}{self.target}"


def changes(figures: Iterable[Figure], kept: Path) -> Iterator[str]:
    """A line for each kept figure that is more than a tenth worse than in `kept`, an earlier run's JSON."""
    before = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    for figure in figures:
        if not figure.kept or figure.name not in before:
            continue
        ratio = figure.value / before[figure.name]
        if (1 / ratio if figure.more_is_better else ratio) > 1 + SLACK:
            yield f"worse: {figure.name}: {figure.value:.3g} {figure.unit}, was {before[figure.name]:.3g}"
