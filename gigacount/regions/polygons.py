"""Regions from GeoJSON (RFC 7946): polygons with holes, in pixels or in map coordinates."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry
from shapely.geometry.polygon import orient

from gigacount.errors import DataError
from gigacount.geometry import Size
from gigacount.image.georeference import WGS84, Georeference, has_pyproj, transform
from gigacount.options import RegionOptions
from gigacount.regions.region import Region, Regions
from gigacount.text import brief, listed, plural

PIXELS = "pixels"
POLYGONS = ("Polygon", "MultiPolygon")
NAME_LETTERS = 200
NAMED = 5  # regions that a note names
FARTHEST = 1e12  # coordinates beyond it are no pixels and of no map
MAX_BYTES = 2**26
LEAST_PX = 1.0  # area of a region below which its numbers are surely no pixels


@dataclass(frozen=True)
class NamedPolygon:
    """A named polygon as the file has it; `where` names it in messages."""

    name: str
    where: str
    polygon: BaseGeometry


def read_regions(options: RegionOptions, size_wh: Size, reference: Georeference | None = None) -> Regions:
    """The regions of `options.file` in the pixels of an image that `reference` lays on the earth, cut at its edges.

    Coordinates are pixels (x right, y down, as QuPath writes them) or those of a map: of the system that the file's
    `crs` member names where it has one (GeoJSON 2008, which QGIS and GDAL still write), else of whichever puts most of
    the regions into the image: pixels, the image's own, or longitude and latitude.

    A region outside the image has no area and nobody in it; a note says so. Raises DataError for a file that is no
    GeoJSON of polygons, a polygon that crosses itself, and coordinates that cannot be converted.
    """
    path = options.file
    try:
        content = _load(path)
        shapes = [read_shape(path, number, feature) for number, feature in enumerate(_features(path, content), 1)]
        if not shapes:
            raise DataError(f"{path}: no regions in it; draw at least one polygon")
        shapes, coordinates = _to_pixels(path, _declared(path, content), shapes, reference, size_wh)
        regions = tuple(_region(shape, options, reference, size_wh) for shape in shapes)
        return Regions(regions, coordinates, _notes(path, regions, coordinates, size_wh))
    except shapely.errors.ShapelyError as error:
        raise DataError(f"{path}: its polygons are not valid: {brief(error, 100)}") from error


def _load(path: Path) -> Any:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(f"{path}: larger than {MAX_BYTES >> 20} MB; simplify the polygons")
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise DataError(f"{path}: cannot read the regions: {(error.strerror or str(error)).lower()}") from error
    except json.JSONDecodeError as error:
        raise DataError(f"{path}: line {error.lineno}: not JSON ({error.msg})") from error
    except (ValueError, RecursionError) as error:  # not UTF-8, numbers of thousands of digits, lists in lists
        raise DataError(f"{path}: not a GeoJSON file of text in UTF-8") from error


def _features(path: Path, content: Any) -> Iterator[dict[str, Any]]:
    """The features of a collection, of a bare list of them (QuPath), of a single one, or of a bare geometry."""
    kind = content.get("type") if isinstance(content, dict) else None
    if kind == "FeatureCollection":
        content = content.get("features")
    elif kind == "Feature":
        content = [content]
    elif kind is not None:
        content = [{"type": "Feature", "geometry": content}]
    if not isinstance(content, list) or not all(isinstance(feature, dict) for feature in content):
        raise DataError(f"{path}: not GeoJSON; expected a FeatureCollection of polygons")
    yield from content


def read_shape(path: Path, number: int, feature: dict[str, Any]) -> NamedPolygon:
    """A feature's polygon, checked; DataError where it is none or is not valid."""
    geometry = feature.get("geometry")
    name = _name(feature, number)
    where = f"{path}: region {number}" + (f" '{name:.60}'" if name != str(number) else "")
    kind = geometry.get("type") if isinstance(geometry, dict) else None
    if not isinstance(geometry, dict) or kind not in POLYGONS:
        raise DataError(
            f"{where} is a {_clean(str(kind or 'feature without geometry')):.60}; use {' or '.join(POLYGONS)}"
        )
    try:
        coordinates = geometry["coordinates"]
        parts = [coordinates] if kind == "Polygon" else coordinates
        polygons = [shapely.Polygon(_ring(part[0]), [_ring(hole) for hole in part[1:]]) for part in parts]
    except (LookupError, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{where}: its coordinates are not rings of at least 4 positions [x, y]") from error
    polygon = polygons[0] if len(polygons) == 1 else shapely.MultiPolygon(polygons)
    if not polygon.is_valid:
        reason = re.sub(r"\[(\S+) (\S+)\]", r" at \1, \2", shapely.is_valid_reason(polygon)).lower()
        raise DataError(f"{where}: {reason}; redraw it so that it neither crosses nor touches itself")
    if polygon.area == 0:
        raise DataError(f"{where} has no area")
    return NamedPolygon(name, where, polygon)


def _ring(positions: list[Any]) -> list[tuple[float, float]]:
    """x, y of a ring's positions, height left out; ValueError where they are no sane numbers, or fewer than 4."""
    ring = np.array([position[:2] for position in positions], np.float64)
    if len(ring) < 4 or ring.shape[1] != 2 or not (np.abs(ring) < FARTHEST).all():
        raise ValueError("no ring")
    return [(x, y) for x, y in ring.tolist()]


def _name(feature: dict[str, Any], number: int) -> str:
    """What the feature is called: its name, its class in QuPath, its id, or its place in the file."""
    properties = feature.get("properties") or {}
    classification = properties.get("classification") if isinstance(properties, dict) else None
    called = [properties.get(key) for key in ("name", "Name", "NAME")] if isinstance(properties, dict) else []
    called += [classification.get("name") if isinstance(classification, dict) else None, feature.get("id")]
    names = (_clean(str(name)) for name in called if isinstance(name, str | int))
    return next((name for name in names if name), str(number))


def _clean(name: str) -> str:
    """A name in one line, without control characters and half characters, at most NAME_LETTERS long."""
    printable = "".join(letter if letter.isprintable() else " " for letter in name)
    return " ".join(printable.split())[:NAME_LETTERS]


def _to_pixels(
    path: Path, system: str | None, shapes: list[NamedPolygon], reference: Georeference | None, size_wh: Size
) -> tuple[list[NamedPolygon], str]:
    """Shapes in pixels, and the name of the system that they came in; several names where none puts them in the image.

    Raises DataError where coordinates cannot be converted.
    """
    if system == PIXELS or (system is None and reference is None):
        return shapes, PIXELS
    if reference is None:
        raise DataError(f"{path}: its coordinates are {system}, but the image has no georeference; give pixels")
    if system is not None:
        return _converted(path, shapes, system, reference), system
    found = {PIXELS: shapes}
    for candidate in (None, WGS84):
        with suppress(DataError):
            found[candidate or reference.name] = _converted(path, shapes, candidate, reference)
    share = {name: _share_inside(tried, size_wh) for name, tried in found.items()}
    best = max(share, key=lambda name: share[name])
    if share[best] == 0:
        without = "" if has_pyproj() else " (longitude and latitude need pyproj: gigacount[geo])"
        return list(found.values())[-1], " and as ".join(found) + without
    return found[best], best


def _converted(
    path: Path, shapes: list[NamedPolygon], system: str | None, reference: Georeference
) -> list[NamedPolygon]:
    """Shapes from a system (None: that of the image) to pixels. Raises DataError."""
    if system is not None and system != reference.crs and reference.crs is None:
        raise DataError(
            f"{path}: its coordinates are {system}, but the image does not say what its own are; if they are the"
            " same, remove the member 'crs'"
        )

    def to_pixels(xy: NDArray[np.float64]) -> NDArray[np.float64]:
        assert reference.crs is not None or system is None
        return reference.to_pixels(xy if system is None else transform(xy, system, str(reference.crs)))

    try:
        return [NamedPolygon(shape.name, shape.where, shapely.transform(shape.polygon, to_pixels)) for shape in shapes]
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def _share_inside(shapes: list[NamedPolygon], size_wh: Size) -> float:
    """Share of the shapes' area that lies in the image; 0 for shapes too small to be meant in pixels."""
    parts = [part for shape in shapes for part in shapely.get_parts(shape.polygon)]
    if min(part.area for part in parts) < LEAST_PX:
        return 0.0
    return float(sum(_cut_at_edges(part, size_wh).area for part in parts) / sum(part.area for part in parts))


def _cut_at_edges(polygon: BaseGeometry, size_wh: Size) -> BaseGeometry:
    """What of a polygon lies in the image."""
    left, top, right, bottom = polygon.bounds
    if left >= 0 and top >= 0 and right <= size_wh[0] and bottom <= size_wh[1]:
        return polygon  # cutting takes seconds where an outline has thousands of crossings to look for
    return polygon.intersection(shapely.box(0, 0, *size_wh))


def _declared(path: Path, content: Any) -> str | None:
    """The coordinate system that the file's `crs` member names: "EPSG:code" or PIXELS; None without one."""
    crs = content.get("crs") if isinstance(content, dict) else None
    if crs is None:
        return None
    properties = crs.get("properties") if isinstance(crs, dict) else None
    name = _clean(str(properties.get("name", "") if isinstance(properties, dict) else crs))
    if name.lower() in ("pixel", PIXELS):
        return PIXELS
    if name.upper().endswith("CRS84"):
        return WGS84
    code = re.search(r"EPSG:+(?:[\d.]+:+)?(\d{1,6})$", name, re.IGNORECASE)
    if code is None:
        raise DataError(f"{path}: unknown coordinate system '{name:.60}'; name it as EPSG:code, or pixels")
    return f"EPSG:{int(code[1])}"


def _region(shape: NamedPolygon, options: RegionOptions, reference: Georeference | None, size_wh: Size) -> Region:
    inside = _cut_at_edges(shape.polygon, size_wh)
    if inside.area == 0:
        return Region(shape.name, (), 0.0)
    if shape.polygon.area < LEAST_PX:
        raise DataError(f"{shape.where} is smaller than a pixel; give pixels, or a GeoTIFF and its own coordinates")
    middle = inside.centroid
    square_metres = reference.square_metres((middle.x, middle.y)) if reference else None
    if options.metres_per_pixel is not None:
        square_metres = options.metres_per_pixel**2
    area_m2 = inside.area * square_metres if square_metres else None
    return Region(shape.name, tuple(rings_in(shape.polygon, size_wh)), inside.area, area_m2)


def _notes(path: Path, regions: Sequence[Region], coordinates: str, size_wh: Size) -> tuple[str, ...]:
    """A line for the user where regions lie outside the image."""
    outside = [f"'{region.name:.60}'" for region in regions if not region.rings]
    if not outside:
        return ()
    if len(outside) == len(regions):
        width, height = size_wh
        where = (
            f"all regions lie outside the image of {width} x {height} pixels, their coordinates read as {coordinates}"
        )
        return (f"{path}: {where}; if they belong in it, name their system as the member 'crs'",)
    which = listed(outside, NAMED)
    return (f"{path}: {len(outside)} of {plural(len(regions), 'region')} outside the image: {which}",)


def rings_in(polygon: BaseGeometry, size_wh: Size) -> list[NDArray[np.float64]]:
    """The rings of a polygon as `inside` takes them, as far as it lies in an image."""
    inside = polygon.intersection(shapely.box(0, 0, *size_wh))
    parts = [orient(part) for part in shapely.get_parts(inside) if part.geom_type == "Polygon" and not part.is_empty]
    return [np.array(ring.coords)[:-1, :2] for part in parts for ring in (part.exterior, *part.interiors)]
