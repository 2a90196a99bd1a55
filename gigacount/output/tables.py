"""Tables as CSV that spreadsheets open without harm, and for a terminal; the table of regions."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gigacount.text import printable

if TYPE_CHECKING:
    from gigacount.regions import RegionCount

REGIONS_FILE = "regions.csv"
FORMULA = ("=", "+", "-", "@")

REGION_COLUMNS = (("located", "points", ","), ("m2", "area_m2", ",.1f"), ("people per m2", "people_per_m2", ".3g"))
"""Column of the table for people, where its values stand, how they are written."""


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """A header and a line a row; None is an empty cell.

    Text that begins as a formula gets an apostrophe before it, which spreadsheets take for `this is text`. Control
    characters are written as `\\n`, `\\x1b`: a row is a line, whatever a file is called.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: cell(value) for name, value in row.items()} for row in rows)
    return text.getvalue()


def cell(value: Any) -> Any:
    """A value as `csv_text` writes it."""
    if not isinstance(value, str):
        return value
    shown = printable(value)
    return f"'{shown}" if shown.startswith(FORMULA) else shown


def aligned(columns: Mapping[str, Sequence[str]]) -> str:
    """Columns of text, the first to the left and numbers to the right, under their names; a line a row."""
    width = {name: max(len(name), *map(len, cells)) for name, cells in columns.items()}
    put = [str.ljust, *[str.rjust] * (len(columns) - 1)]
    lines = [list(columns), *map(list, zip(*columns.values(), strict=True))]
    return "\n".join(
        "  ".join(pad(cell, width[name]) for pad, cell, name in zip(put, line, columns, strict=True)) for line in lines
    )


def regions_file(heads: Path) -> Path:
    """The table of regions beside a file of heads: `square.csv` has `square.regions.csv`."""
    return heads.with_name(f"{heads.stem}.{REGIONS_FILE}")


def regions_json(counts: Sequence[RegionCount]) -> list[dict[str, Any]]:
    """A dictionary a region; None where people were not located, or the scale is unknown."""

    def rounded(value: float | None) -> float | None:
        return None if value is None else float(f"{value:.6g}")

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


def write_regions(counts: Sequence[RegionCount], path: Path) -> None:
    """A line a region: region, count, points, area_px, area_m2, people_per_m2; empty where unknown."""
    table = regions_json(counts)
    path.write_text(csv_text(list(table[0]), table), encoding="utf-8", newline="")


def region_columns(regions: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """The columns of regions as plain values (`regions_json`, or a count.json) but for their names.

    Columns without any value are left out.
    """
    columns = {"people": [f"{region['count']:,.1f}" for region in regions]}
    for name, key, form in REGION_COLUMNS:
        if any(region.get(key) is not None for region in regions):
            columns[name] = ["" if region.get(key) is None else format(region[key], form) for region in regions]
    return columns


def regions_table(regions: Sequence[Mapping[str, Any]]) -> str:
    """The table of regions for a terminal, a line each."""
    return aligned({"region": [str(region["region"]) for region in regions]} | region_columns(regions))
