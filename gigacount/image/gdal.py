"""What GDAL writes about bands, into a TIFF file or into .aux.xml beside a picture: names, statistics, nodata."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from defusedxml import ElementTree

from . import tags
from .beside import aux_names, content
from .tags import Directory

SAYS_NOTHING = ("", "undefined", "gray", "grey", "palette")
"""Names of bands that do not tell them apart."""

MAX_XML = 1_000_000
"""Characters of metadata."""

Item = tuple[str, int, str]
"""Key in capital letters, band from 0, value."""


@dataclass(frozen=True)
class Stated:
    """What a file says of its bands. directory: of a TIFF.

    names: in lower case; low, high: statistics; all by band, numbered from 0. nodata: None where there is none.
    """

    directory: Directory | None = None
    names: dict[int, str] = field(default_factory=dict)
    low: dict[int, float] = field(default_factory=dict)
    high: dict[int, float] = field(default_factory=dict)
    nodata: float | None = None

    @classmethod
    def of(cls, path: Path, directory: Directory | None) -> Stated:
        """Read .aux.xml, which goes first, as with GDAL, and the tags of a TIFF; what is damaged counts as left out."""
        items = _beside(path) + (_tagged(directory) if directory is not None else [])
        found: dict[tuple[str, int], str] = {}
        for key, band, value in items:
            if value:
                found.setdefault((key, band), value)
        names, low, high, nodata = {}, {}, {}, []
        for (key, band), value in found.items():
            number = _number(value)
            if key in ("DESCRIPTION", "COLORINTERP") and value.lower() not in SAYS_NOTHING:
                if key == "DESCRIPTION" or band not in names:  # people's names go before GDAL's
                    names[band] = value.lower()[:40]
            elif number is None:
                continue
            elif key == "STATISTICS_MINIMUM":
                low[band] = number
            elif key == "STATISTICS_MAXIMUM":
                high[band] = number
            elif key == "NODATA":
                nodata.append(number)
        return cls(directory, names, low, high, nodata[0] if nodata else None)


def _tagged(directory: Directory) -> list[Item]:
    """Items in the order of their being believed."""
    items = [("NODATA", 0, directory.text(tags.GDAL_NODATA) or "")]
    for item in _elements(directory.text(tags.GDAL_METADATA) or "", "Item"):
        if re.fullmatch("[0-9]{1,5}", item.get("sample", "")):
            items.append((item.get("name", "").upper(), int(item.get("sample")), (item.text or "").strip()))
    return items


def _beside(path: Path) -> list[Item]:
    try:
        text = content(path, aux_names(path)) or b""
    except (OSError, ValueError):
        return []
    items = []
    for band in _elements(text, "PAMRasterBand"):
        if not re.fullmatch("[1-9][0-9]{0,4}", band.get("band", "")):
            continue
        number = int(band.get("band")) - 1
        for tag, key in (("Description", "DESCRIPTION"), ("ColorInterp", "COLORINTERP"), ("NoDataValue", "NODATA")):
            items.append((key, number, (band.findtext(tag) or "").strip()))
        for item in band.findall("Metadata/MDI"):
            items.append((item.get("key", "").upper(), number, (item.text or "").strip()))
    return items


def _elements(xml: str | bytes, name: str) -> list[Any]:
    """All elements of that name; none of what is no XML, or declares entities."""
    if not xml or len(xml) > MAX_XML:
        return []
    try:
        return list(ElementTree.fromstring(xml).iter(name))
    except (SyntaxError, ValueError, LookupError, RecursionError):
        return []


def _number(text: str) -> float | None:
    """A finite number; None for anything else."""
    try:
        number = float(text[:400])
    except ValueError:
        return None
    return number if math.isfinite(number) else None
