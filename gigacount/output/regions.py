"""The table of regions: regions.csv, and the same as plain values."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gigacount.output.tables import csv_text
from gigacount.regions import RegionCount

REGIONS_FILE = "regions.csv"


def regions_json(counts: Sequence[RegionCount]) -> list[dict[str, Any]]:
    """A dictionary a region; None where people were not located, or the scale is unknown."""
    return [
        {
            "region": count.region.name,
            "count": round(count.count, 3),
            "points": count.points,
            "area_px": round(count.region.area_px, 1),
            "area_m2": rounded(count.region.area_m2),
            "people_per_m2": rounded(count.people_per_m2),
        }
        for count in counts
    ]


def rounded(value: float | None) -> float | None:
    """To six significant digits."""
    return None if value is None else float(f"{value:.6g}")


def write_regions(counts: Sequence[RegionCount], path: Path) -> None:
    """A line a region: region, count, points, area_px, area_m2, people_per_m2; empty where unknown."""
    table = regions_json(counts)
    path.write_text(csv_text(list(table[0]), table), encoding="utf-8", newline="\n")
