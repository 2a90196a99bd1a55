"""Files beside an image that say more about it, and what GDAL says of its bands there or in the tags of a TIFF."""

from __future__ import annotations

import math
import re
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from defusedxml import ElementTree

from . import tags
from .tags import Directory

MAX_BYTES = 2**24  # of a file that is read as text; larger ones are errors
MAX_XML = 1_000_000  # characters of metadata
UNNAMED = ("", "undefined", "gray", "grey", "palette")  # names of bands that do not tell them apart

TagItem = tuple[str, int, str]  # key in capital letters, band from 0, value


NAMES = {
    "metadata": ("{name}.aux.xml", "{stem}.aux.xml"),  # of GDAL, and as Esri names it
    "mask": ("{name}.msk",),
    "world file": ("{stem}.{ends}w", "{stem}.{kind}w", "{stem}.wld"),  # photo.tfw, photo.tifw, photo.wld
    "coordinate system": ("{stem}.prj",),
    "polynomials": ("{stem}_rpc.txt", "{stem}_RPC.TXT", "{stem}.rpb"),  # rational ones, of satellite images
}


def names(path: Path, what: str) -> list[Path]:
    """Where files beside an image may be, their endings in small or capital letters too; what: a key of NAMES."""
    kind = path.suffix.lstrip(".")
    if what == "world file" and not kind:
        return []  # an image whose name has no ending has none
    parts = {"name": path.name, "stem": path.stem, "kind": kind, "ends": kind[:1] + kind[-1:]}
    plain = [pattern.format(**parts) for pattern in NAMES[what]]
    spelled = (dict.fromkeys((name, path.stem + name[len(path.stem) :].upper())) for name in plain)
    return [path.with_name(name) for both in spelled for name in both]


def sidecars(path: Path) -> list[Path]:
    """All files beside an image that can change its pixels or place, whether they are there or not."""
    return [file for what in NAMES if what != "polynomials" for file in names(path, what)]


def find(path: Path, what: str) -> Path | None:
    """The first of these files that is there."""
    for file in names(path, what):
        with suppress(OSError, ValueError):  # a name too long for the file system
            if file.is_file():
                return file
    return None


def content(path: Path, what: str) -> bytes | None:
    """What the first of these files holds. Raises OSError; ValueError for one that is too large."""
    file = find(path, what)
    if file is not None and file.stat().st_size > MAX_BYTES:
        raise ValueError(f"{file.name} is too large")
    return None if file is None else file.read_bytes()


@dataclass(frozen=True)
class BandMetadata:
    """What a file says of its bands, numbered from 0. directory: of a TIFF.

    names: in lower case. low, high: statistics. nodata: None where there is none.
    """

    directory: Directory | None = None
    names: dict[int, str] = field(default_factory=dict)
    low: dict[int, float] = field(default_factory=dict)
    high: dict[int, float] = field(default_factory=dict)
    nodata: float | None = None

    @classmethod
    def of(cls, path: Path, directory: Directory | None) -> BandMetadata:
        """Read .aux.xml, which goes first, as with GDAL, and the tags of a TIFF; damaged values count as absent."""
        items = _from_aux(path) + (_from_tags(directory) if directory is not None else [])
        found: dict[tuple[str, int], str] = {}
        for key, band, value in items:
            if value:
                found.setdefault((key, band), value)
        names, low, high, nodata = {}, {}, {}, []
        for (key, band), value in found.items():
            number = _number(value)
            if key in ("DESCRIPTION", "COLORINTERP") and value.lower() not in UNNAMED:
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


def _from_tags(directory: Directory) -> list[TagItem]:
    """Items in the order in which they are believed."""
    items = [("NODATA", 0, directory.text(tags.GDAL_NODATA) or "")]
    for item in _elements(directory.text(tags.GDAL_METADATA) or "", "Item"):
        if re.fullmatch("[0-9]{1,5}", item.get("sample", "")):
            items.append((item.get("name", "").upper(), int(item.get("sample")), (item.text or "").strip()))
    return items


def _from_aux(path: Path) -> list[TagItem]:
    try:
        text = content(path, "metadata") or b""
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
