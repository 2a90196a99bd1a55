"""What is compared, and on what."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from gigacount.ablate.tables import TABLES, Method, Row
from gigacount.errors import UnknownNameError
from gigacount.options import LabelOptions, StrategyOptions, demand


@dataclass(frozen=True)
class AblateOptions:
    """One ablation.

    data: `NAME:PATH` of a data set with truth. out: folder for measurements and tables; goes on with what it holds.
    networks: names of weights or paths of records, each measured by itself; coarse_network: for the looks of level 0.
    methods: rows of the table `methods` with networks of their own, instead of the usual ones.
    tables: names of `TABLES`. looking: what all rows have in common but for the option that their table varies.
    pictures: only the first so many. most_looks: rows that take more looks at a picture are left out, and said to be.
    cache_mb: memory for looks that rows of one picture share. labels: how labels are read.
    """

    data: str
    out: Path
    split: str = "test"
    networks: tuple[str, ...] = ("light",)
    coarse_network: str | None = None
    methods: tuple[Method, ...] = ()
    tables: tuple[str, ...] = tuple(TABLES)
    looking: StrategyOptions = field(default_factory=StrategyOptions)
    device: str = "auto"
    precision: str = "auto"
    backend: str = "auto"
    pictures: int | None = None
    most_looks: int | None = None
    cache_mb: int = 1024
    labels: LabelOptions = field(default_factory=LabelOptions)

    def __post_init__(self) -> None:
        demand(len(self.networks) > 0, "an ablation needs at least one network")
        demand(len(self.tables) > 0, "an ablation needs at least one table")
        for name in self.tables:
            if name not in TABLES:
                raise UnknownNameError("table", name, TABLES)
        demand(len({one.label for one in self.methods}) == len(self.methods), "methods must have different labels")
        demand(self.pictures is None or self.pictures >= 1, f"pictures must be at least 1, not {self.pictures}")
        demand(self.most_looks is None or self.most_looks >= 1, f"most-looks must be at least 1, not {self.most_looks}")
        demand(0 <= self.cache_mb <= 1_000_000, f"cache must be between 0 and 1000000 MB, not {self.cache_mb}")

    def rows(self, table: str) -> list[Row]:
        """The rows of a table."""
        if table == "methods" and self.methods:
            return [method.row(self.looking) for method in self.methods]
        return TABLES[table].rows(self.looking)
