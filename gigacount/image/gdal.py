"""What GDAL writes into a TIFF file about its bands: names, statistics, the value that is no data."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from xml.etree import ElementTree

from . import tags
from .tags import Directory

SAYS_NOTHING = ("", "undefined", "gray", "grey", "palette")
"""Names of bands that do not tell them apart."""

MAX_XML = 1_000_000
"""Characters of metadata."""


@dataclass(frozen=True)
class Gdal:
    """names: in lower case; low, high: statistics; all by band, numbered from 0. nodata: None where there is none."""

    names: dict[int, str] = field(default_factory=dict)
    low: dict[int, float] = field(default_factory=dict)
    high: dict[int, float] = field(default_factory=dict)
    nodata: float | None = None

    @classmethod
    def of(cls, directory: Directory | None) -> Gdal:
        """Read the tags of a picture; what is damaged counts as left out."""
        if directory is None:
            return cls()
        found = cls(nodata=_number(directory.text(tags.GDAL_NODATA) or ""))
        described: set[int] = set()
        for key, band, value in _items(directory.text(tags.GDAL_METADATA) or ""):
            number = _number(value)
            if key in ("DESCRIPTION", "COLORINTERP") and value.lower() not in SAYS_NOTHING:
                if key == "DESCRIPTION" or band not in described:  # people's names go before GDAL's
                    found.names[band] = value.lower()[:40]
                if key == "DESCRIPTION":
                    described.add(band)
            elif key == "STATISTICS_MINIMUM" and number is not None:
                found.low[band] = number
            elif key == "STATISTICS_MAXIMUM" and number is not None:
                found.high[band] = number
        return found


def _items(xml: str) -> list[tuple[str, int, str]]:
    """Key, band and value of all items that belong to a band."""
    if not xml or len(xml) > MAX_XML or "<!" in xml:  # no declarations: they define entities, which can grow
        return []
    try:
        items = list(ElementTree.fromstring(xml).iter("Item"))
    except (ElementTree.ParseError, ValueError, RecursionError):
        return []
    return [
        (item.get("name", "").upper(), int(item.get("sample", "")), (item.text or "").strip())
        for item in items
        if re.fullmatch("[0-9]{1,5}", item.get("sample", ""))
    ]


def _number(text: str) -> float | None:
    """A finite number; None for anything else."""
    try:
        number = float(text[:400])
    except ValueError:
        return None
    return number if math.isfinite(number) else None
