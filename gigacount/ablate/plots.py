"""A plot of a table: bars of the relative error and the grid error, row by row."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

BAR = 0.38


def plot_table(title: str, rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw the rows of a table as PNG; rows without measurements are left blank, undefined errors have no bar."""
    figure = Figure(figsize=(8, 1.4 + 0.55 * len(rows)), layout="constrained", dpi=150)
    axes = figure.add_subplot()
    several = len({(row["network"], row["coarse_network"]) for row in rows}) > 1
    bars = (("relative_error", "relative error of the count", -BAR / 2), ("grid_error", "8 x 8 grid error", BAR / 2))
    for name, label, offset in bars:
        known = [(number, row[name]) for number, row in enumerate(rows) if row[name] is not None]
        places = [number + offset for number, _ in known]
        drawn = axes.barh(places, [value for _, value in known], BAR, label=label)
        axes.bar_label(drawn, fmt="%.3f", fontsize=7, padding=2)
    axes.set_yticks(range(len(rows)), [_label(row, several) for row in rows], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.15 * max([row[name] for name, _, _ in bars for row in rows if row[name] is not None], default=1))
    axes.set_title(title, fontsize=10)
    figure.legend(fontsize=8, loc="outside lower center", ncols=2)
    figure.savefig(path, format="png")


def _label(row: dict[str, Any], several: bool) -> str:
    looks = "not measured" if row["looks"] is None else f"looks: {row['looks']:.4g}"
    network = f" ({row['network']})" if several else ""
    return f"{row['row']}{network}\n{looks}"
