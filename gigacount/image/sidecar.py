"""Files beside an image that say more about it, and what GDAL says of its bands there or in the tags of a TIFF."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from defusedxml import ElementTree

from . import tags
from .tags import Directory

MAX_BYTES = 2**24  # of a file that is read as text; larger ones are errors
MAX_XML = 1_000_000  # characters of metadata
UNNAMED = ("", "undefined", "gray", "grey", "palette")  # names of bands that do not tell them apart

Item = tuple[str, int, str]  # key in capital letters, band from 0, value


def aux_names(path: Path) -> list[str]:
    """GDAL's `photo.tif.aux.xml`, and `photo.aux.xml` as Esri names it."""
    return [f"{path.name}.aux.xml", f"{path.stem}.aux.xml"]


def mask_names(path: Path) -> list[str]:
    """GDAL's mask beside an image."""
    return [f"{path.name}.msk"]


def world_names(path: Path) -> list[str]:
    """`photo.tfw`, `photo.tifw`, `photo.wld`; none of an image whose name has no ending."""
    kind = path.suffix.lstrip(".")
    return [f"{path.stem}.{end}" for end in (f"{kind[0]}{kind[-1]}w", f"{kind}w", "wld")] if kind else []


def system_names(path: Path) -> list[str]:
    """The coordinate system that belongs to a world file."""
    return [f"{path.stem}.prj"]


def rpc_names(path: Path) -> list[str]:
    """Rational polynomials of satellite images."""
    return [f"{path.stem}{end}" for end in ("_rpc.txt", "_RPC.TXT", ".rpb")]


def sidecars(path: Path) -> list[Path]:
    """All files beside an image that are read with it, whether they are there or not."""
    names = [*aux_names(path), *mask_names(path), *world_names(path), *system_names(path)]
    return [path.with_name(spelled) for name in names for spelled in _spellings(path, name)]


def find(path: Path, names: list[str]) -> Path | None:
    """The first of these files that is there, its ending in small or capital letters."""
    for name in names:
        for spelled in _spellings(path, name):
            file = path.with_name(spelled)
            try:
                if file.is_file():
                    return file
            except (OSError, ValueError):  # a name too long for the file system
                continue
    return None


def content(path: Path, names: list[str]) -> bytes | None:
    """What the first of these files holds. Raises OSError; ValueError for one that is too large."""
    file = find(path, names)
    if file is not None and file.stat().st_size > MAX_BYTES:
        raise ValueError(f"{file.name} is too large")
    return None if file is None else file.read_bytes()


def _spellings(path: Path, name: str) -> list[str]:
    return list(dict.fromkeys([name, path.stem + name[len(path.stem) :].upper()]))


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


def _from_tags(directory: Directory) -> list[Item]:
    """Items in the order in which they are believed."""
    items = [("NODATA", 0, directory.text(tags.GDAL_NODATA) or "")]
    for item in _elements(directory.text(tags.GDAL_METADATA) or "", "Item"):
        if re.fullmatch("[0-9]{1,5}", item.get("sample", "")):
            items.append((item.get("name", "").upper(), int(item.get("sample")), (item.text or "").strip()))
    return items


def _from_aux(path: Path) -> list[Item]:
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
