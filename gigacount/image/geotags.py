"""Georeferences from files: GeoTIFF tags (OGC GeoTIFF 1.1), world files, and GDAL's .aux.xml beside an image.

As GDAL does, what `.aux.xml` says comes first, then the tags, then a world file; each may give the place, the
coordinate system, or both.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gigacount.errors import DataError
from gigacount.geometry import Size
from gigacount.text import brief

from .georeference import IN_METRES, METRES, WEB_MERCATOR, GeoKeys, Georeference
from .info import ORIENTATIONS
from .sidecar import content, find
from .tags import directories

PIXEL_SCALE, TIE_POINTS, TRANSFORMATION, GEO_KEYS, GEO_DOUBLES, GEO_TEXT = 33550, 33922, 34264, 34735, 34736, 34737
MODEL_TYPE, RASTER_TYPE, GEOGRAPHIC_CRS, PROJECTED_CRS, LINEAR_UNIT = 1024, 1025, 2048, 3072, 3076
PROJECTED, GEOGRAPHIC, PIXEL_IS_AREA, PIXEL_IS_POINT, USER_DEFINED = 1, 2, 1, 2, 32767
RPC = 50844
TOLERATED_PX, TOLERATED = 2.0, 0.001
"""How far ground control points may lie off an affine map: in pixels, or as a share of their extent if that is more."""

ESRI_WKT = "ESRI PE String = "  # what stands before WKT in the text of a GeoTIFF's keys
MOST_WKT = 2**15
"""Letters of a coordinate system: the keys of a GeoTIFF count in 16 bits, and the longest known have a few thousand."""

PARSER_ERRORS = (ArithmeticError, LookupError, OSError, RuntimeError, SyntaxError, TypeError, ValueError, struct.error)
"""All that parsers of damaged tags, numbers and XML raise."""

Affine = tuple[float, float, float, float, float, float]


class System(NamedTuple):
    """A coordinate system: the last four fields of a Georeference."""

    crs: str | None = None
    geographic: bool = False
    metres_per_unit: float | None = None
    keys: GeoKeys | None = None


def georeference_of(path: Path, size_wh: Size, orientation: int = 1) -> Georeference | None:
    """Where the image at `path`, upright `size_wh` pixels large, lies on the earth; None where no file says it.

    orientation: EXIF, 1..8: how the image is stored. Raises DataError, in one line, for one that is damaged.
    """
    place: Affine | None = None
    system: System | None = None
    said = trouble = ""
    for source, read in SOURCES.items():
        try:
            found = read(path)
        # Whatever its parsers say of a damaged file, it is our error.
        except PARSER_ERRORS as error:
            raise DataError(f"{path}: the georeference in its {source} is damaged ({brief(error, 100)})") from error
        if place is None:
            place, said = found.place, found.said
            trouble = trouble or (said if place is None else "")
        system = system or found.system
        if place and system:
            break  # what stands in the other files, sound or not, is not asked for
    if place is None:
        if not trouble and _has_polynomials(path):
            trouble = "only rational polynomials (RPC) say where it lies; rectify it by gdalwarp -rpc"
        if trouble:
            raise DataError(f"{path}: {trouble}")
        return None
    reference = Georeference(place, *(system or System()), said)
    stored = ORIENTATIONS.get(orientation, ORIENTATIONS[1])
    try:
        reference.require_on_earth(stored.size(size_wh))
    except ValueError as error:
        raise DataError(f"{path}: its georeference is damaged: {error}") from error
    return reference.turned(stored, size_wh)


class Placement(NamedTuple):
    """What one file says. said: how the place was found, where that is not exact; or why it was not."""

    place: Affine | None = None
    system: System | None = None
    said: str = ""


def _has_polynomials(path: Path) -> bool:
    """Whether there are the rational polynomials of a satellite image, which need heights of the terrain."""
    if find(path, "polynomials") or any(RPC in one.tags for one in directories(path)):
        return True
    return b'domain="RPC"' in (content(path, "metadata") or b"")


def _fitted(points: NDArray[np.float64]) -> tuple[Affine | None, str]:
    """The affine map nearest to ground control points (N, 4) of column, row, east and north, and how near it is.

    None where some lie far off it, as in an image that was not rectified, and why.
    """
    pixels = np.column_stack([points[:, :2], np.ones(len(points))])
    number = len(points)
    centred = points - points.mean(axis=0)
    if number < 3 or not np.isfinite(points).all() or np.linalg.matrix_rank(centred[:, :2], 1e-6 * _extent(points)) < 2:
        return None, f"its ground control points ({number}) span no area"
    fit, *_ = np.linalg.lstsq(pixels, centred[:, 2:], rcond=None)  # (3, 2)
    pixel_size = math.sqrt(abs(float(np.linalg.det(fit[:2])))) or math.nan
    off = float(np.linalg.norm(pixels @ fit - centred[:, 2:], axis=1).max()) / pixel_size
    (a, d), (b, e), (c, f) = fit.tolist()
    if not off <= max(TOLERATED_PX, TOLERATED * _extent(points)):
        return (
            None,
            f"its {number} ground control points lie up to {off:.3g} pixels off any flat map; rectify it by gdalwarp",
        )
    rest = f"which lie up to {off:.2g} pixels off" if number > 3 else "without a fourth to check it"
    east, north = points[:, 2:].mean(axis=0).tolist()
    return (a, b, c + east, d, e, f + north), f"placed on the map by {number} ground control points, {rest}"


def _extent(points: NDArray[np.float64]) -> float:
    return float(np.ptp(points[:, :2], axis=0).max())


def _from_tags(path: Path) -> Placement:
    """By the first directory of a TIFF that has a place."""
    for directory in directories(path):
        tags = {tag: directory.numbers(tag) for tag in (PIXEL_SCALE, TIE_POINTS, TRANSFORMATION)}
        place, said = _tagged_place(tags), ""
        ties = tags[TIE_POINTS].astype(np.float64)
        if place is None and len(ties) >= 12:
            place, said = _fitted(ties[: len(ties) // 6 * 6].reshape(-1, 6)[:, [0, 1, 3, 4]])
        if place is None and not said:
            continue
        keys = GeoKeys(
            tuple(directory.whole_numbers(GEO_KEYS).tolist()),
            tuple(directory.numbers(GEO_DOUBLES).astype(np.float64).tolist()),
            directory.numbers(GEO_TEXT).tobytes(),
        )
        if not all(0 <= value < 2**16 for value in keys.directory):
            raise ValueError("keys beyond 16 bits")
        numbers = {key: value for key, location, _, value in keys.entries if location == 0}
        if place and numbers.get(RASTER_TYPE) == PIXEL_IS_POINT:
            place = _from_centre(place)
        return Placement(place, _tagged_system(keys, numbers), said)
    return Placement()


def _tagged_place(tags: dict[int, NDArray[Any]]) -> Affine | None:
    """From the transformation, or from one tie point and the pixel scale; raster (0, 0) is the first corner."""
    matrix, scale, tie = (tags[tag].astype(np.float64).tolist() for tag in (TRANSFORMATION, PIXEL_SCALE, TIE_POINTS))
    if len(matrix) == 16:
        return matrix[0], matrix[1], matrix[3], matrix[4], matrix[5], matrix[7]
    if len(scale) < 2 or len(tie) < 6:
        return None
    (column, row, _, east, north, _), (width, height) = tie[:6], scale[:2]
    return width, 0.0, east - column * width, 0.0, -height, north + row * height


def _from_centre(place: Affine) -> Affine:
    """The same where the place is that of the first pixel's centre."""
    a, b, c, d, e, f = place
    return a, b, c - (a + b) / 2, d, e, f - (d + e) / 2


def _tagged_system(keys: GeoKeys, numbers: dict[int, int]) -> System | None:
    if not numbers:
        return None
    text = keys.text.decode("utf-8", "replace")
    if ESRI_WKT in text:
        return wkt_system(text.split(ESRI_WKT, 1)[1].split("|")[0])
    geographic = numbers.get(MODEL_TYPE) == GEOGRAPHIC
    code = numbers.get(GEOGRAPHIC_CRS if geographic else PROJECTED_CRS, 0)
    crs = f"EPSG:{code}" if 0 < code < USER_DEFINED else None
    unit = METRES.get(numbers.get(LINEAR_UNIT, 9001 if code in IN_METRES else 0))
    return System(crs, geographic, None if geographic else unit, keys)


def geo_keys(place: Georeference) -> GeoKeys:
    """The keys of a GeoTIFF in the coordinate system of `place`, whose raster coordinates are those of corners."""
    if place.keys is not None:
        others = [entry for entry in place.keys.entries if entry[0] != RASTER_TYPE]
        return _keys([*others, (RASTER_TYPE, 0, 1, PIXEL_IS_AREA)], place.keys.doubles, place.keys.text)
    entries: list[tuple[int, ...]] = [(RASTER_TYPE, 0, 1, PIXEL_IS_AREA)]
    if place.crs is None:
        return _keys(entries)
    crs_key, model = (GEOGRAPHIC_CRS, GEOGRAPHIC) if place.geographic else (PROJECTED_CRS, PROJECTED)
    code = re.fullmatch(r"EPSG:(\d+)", place.crs)
    if code and int(code[1]) < USER_DEFINED:
        return _keys([*entries, (MODEL_TYPE, 0, 1, model), (crs_key, 0, 1, int(code[1]))])
    text = f"{ESRI_WKT}{place.crs}|".encode("ascii", "replace")
    model = model if place.geographic else USER_DEFINED  # with which GDAL reads the text, as it writes it itself
    crs = [(crs_key, 0, 1, USER_DEFINED), (crs_key + 1, GEO_TEXT, len(text), 0)]
    return _keys([*entries, (MODEL_TYPE, 0, 1, model), *crs], (), text)


def _keys(entries: list[tuple[int, ...]], doubles: tuple[float, ...] = (), text: bytes = b"") -> GeoKeys:
    return GeoKeys((1, 1, 0, len(entries), *chain.from_iterable(sorted(entries))), doubles, text)


def wkt_system(wkt: str) -> System | None:
    """The coordinate system that a text in WKT 1, WKT 2 or Esri's dialect describes; None for an empty one.

    Raises ValueError for one that is longer than any is.
    """
    wkt = wkt.strip().strip("\0")
    if not wkt:
        return None
    if len(wkt) > MOST_WKT:
        raise ValueError(f"a coordinate system of {len(wkt)} letters")
    code = re.search(r'(?:AUTHORITY|ID)\s*\[\s*"EPSG"\s*,\s*"?(\d{1,6})"?\s*\]\s*\]$', wkt)
    geographic = re.match(r"GEO(GCS|GCRS|DCRS|GRAPHICCRS|DETICCRS)\b", wkt, re.IGNORECASE) is not None
    _, *after = re.split(r"PROJECTION\s*\[|CS\s*\[\s*Cartesian|LOCAL_CS", wkt, maxsplit=1, flags=re.IGNORECASE)
    unit = re.search(r'UNIT\s*\[\s*"[^"]*"\s*,\s*([\d.eE+-]{1,30})', after[0]) if after else None
    metres = float(unit[1]) if unit and not geographic else None
    usable = metres is not None and math.isfinite(metres) and metres > 0
    crs = WEB_MERCATOR if "Mercator_Auxiliary_Sphere" in wkt else f"EPSG:{code[1]}" if code else wkt
    return System(crs, geographic, metres if usable else None)


def _from_aux(path: Path) -> Placement:
    """By GDAL's `photo.tif.aux.xml`, or `photo.aux.xml` as Esri names it."""
    text = content(path, "metadata")
    if text is None:
        return Placement()
    from defusedxml import ElementTree

    root = ElementTree.fromstring(text)
    numbers = root.findtext("GeoTransform")
    place: Affine | None = None
    if numbers is not None and numbers.strip():
        c, a, b, f, d, e = (float(number) for number in numbers.split(","))
        place = a, b, c, d, e, f
    system, said = wkt_system(root.findtext("SRS") or ""), ""
    points = root.find("GCPList")
    if place is None and points is not None:
        names = ("Pixel", "Line", "X", "Y")
        known = [[float(point.get(name, "")) for name in names] for point in points.iter("GCP")]
        place, said = _fitted(np.array(known, np.float64).reshape(-1, 4))
        system = system or wkt_system(points.get("Projection") or "")
    return Placement(place, system, said)


def _from_world_file(path: Path) -> Placement:
    """By a world file: six numbers, of the first pixel's centre; the coordinate system stands in a .prj beside it."""
    text = content(path, "world file")
    if text is None:
        return Placement()
    a, d, b, e, c, f = (float(line.replace(",", ".")) for line in text.decode("utf-8-sig").split()[:6])
    wkt = content(path, "coordinate system")
    return Placement(_from_centre((a, b, c, d, e, f)), wkt_system(wkt.decode("utf-8-sig")) if wkt else None)


SOURCES: dict[str, Callable[[Path], Placement]] = {
    ".aux.xml": _from_aux,
    "GeoTIFF tags": _from_tags,
    "world file": _from_world_file,
}
"""Where a georeference may stand, the first to be believed first."""
