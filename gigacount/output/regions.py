"""The table of regions: regions.csv, and the same as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gigacount.output.tables import aligned, csv_text
from gigacount.regions import RegionCount

REGIONS_FILE = "regions.csv"

TABLE = (("located", "points", ","), ("m2", "area_m2", ",.1f"), ("people per m2", "people_per_m2", ".3g"))
"""Column of the table for a terminal, where its values stand, how they are written."""


def regions_file(heads: Path) -> Path:
    """The table of regions beside a file of heads: `square.csv` has `square.regions.csv`."""
    return heads.with_name(f"{heads.stem}.{REGIONS_FILE}")


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
    path.write_text(csv_text(list(table[0]), table), encoding="utf-8", newline="")


def regions_table(regions: Sequence[Mapping[str, Any]]) -> str:
    """Regions as plain values (`regions_json`, or a count.json) as a table for a terminal, a line each.

    Columns without any value are left out.
    """
    columns = {
        "region": [str(region["region"]) for region in regions],
        "people": [f"{region['count']:,.1f}" for region in regions],
    }
    for name, key, form in TABLE:
        if any(region.get(key) is not None for region in regions):
            columns[name] = ["" if region.get(key) is None else format(region[key], form) for region in regions]
    return aligned(columns)
