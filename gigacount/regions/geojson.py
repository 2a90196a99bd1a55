"""Regions from GeoJSON (RFC 7946): polygons with holes, in pixels or in a GeoTIFF's own coordinates."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry
from shapely.geometry.polygon import orient

from gigacount.errors import DataError
from gigacount.geometry import Size
from gigacount.options import RegionOptions
from gigacount.regions.geotiff import GeoReference, read_georeference
from gigacount.regions.regions import Region, Regions

PIXELS = "pixels"
POLYGONS = ("Polygon", "MultiPolygon")
WGS84 = 4326
LEAST_PX = 1.0  # area of a region below which its numbers are surely no pixels


@dataclass(frozen=True)
class Shape:
    """A named polygon as the file has it; `where` names it in messages."""

    name: str
    where: str
    polygon: BaseGeometry


def read_regions(options: RegionOptions, image: Path, size_wh: Size) -> Regions:
    """The regions of `options.file` in the pixels of a picture, cut at its edges.

    Coordinates are pixels (x right, y down, as QuPath writes them) or those of the GeoTIFF `image`: as the file's
    `crs` member says where it has one (GeoJSON 2008, which QGIS and GDAL still write), else whichever puts more of the
    regions into the picture.

    Raises DataError for a file that is no GeoJSON of polygons, a polygon that crosses itself, coordinates of another
    system, and a region outside the picture.
    """
    path = options.file
    content = _load(path)
    shapes = [_shape(path, number, feature) for number, feature in enumerate(_features(path, content), 1)]
    if not shapes:
        raise DataError(f"{path}: no regions in it; draw at least one polygon")
    reference = read_georeference(image)
    if _in_pixels(path, content, shapes, reference, size_wh):
        coordinates = PIXELS
    else:
        assert reference is not None
        coordinates = reference.name
        shapes = [
            Shape(shape.name, shape.where, shapely.transform(shape.polygon, reference.to_pixels)) for shape in shapes
        ]
    return Regions(tuple(_region(shape, options, reference, size_wh) for shape in shapes), coordinates)


def _load(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise DataError(f"{path}: cannot read the regions: {(error.strerror or str(error)).lower()}") from error
    except json.JSONDecodeError as error:
        raise DataError(f"{path}: line {error.lineno}: not JSON ({error.msg})") from error
    except (UnicodeDecodeError, RecursionError) as error:
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


def _shape(path: Path, number: int, feature: dict[str, Any]) -> Shape:
    """A feature's polygon, checked; DataError where it is none or is not valid."""
    geometry = feature.get("geometry")
    name = _name(feature, number)
    where = f"{path}: region {number}" + (f" '{name}'" if name != str(number) else "")
    kind = geometry.get("type") if isinstance(geometry, dict) else None
    if not isinstance(geometry, dict) or kind not in POLYGONS:
        raise DataError(f"{where} is a {kind or 'feature without geometry'}; use {' or '.join(POLYGONS)}")
    try:
        coordinates = geometry["coordinates"]
        parts = [coordinates] if kind == "Polygon" else coordinates
        polygons = [shapely.Polygon(_ring(part[0]), [_ring(hole) for hole in part[1:]]) for part in parts]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise DataError(f"{where}: its coordinates are no rings of at least 4 positions [x, y]") from error
    polygon = polygons[0] if len(polygons) == 1 else shapely.MultiPolygon(polygons)
    with np.errstate(all="ignore"):  # coordinates near the largest number there is
        valid, area, said = polygon.is_valid, polygon.area, shapely.is_valid_reason(polygon)
    if not valid:
        reason = re.sub(r"\[(\S+) (\S+)\]", r" at \1, \2", said).lower()
        raise DataError(f"{where}: {reason}; redraw it so that it neither crosses nor touches itself")
    if area == 0:
        raise DataError(f"{where} has no area")
    return Shape(name, where, polygon)


def _ring(positions: list[Any]) -> list[tuple[float, float]]:
    """x, y of a ring's positions, height left out; ValueError where they are not finite or fewer than 4."""
    ring = np.array([position[:2] for position in positions], np.float64)
    if len(ring) < 4 or ring.shape[1] != 2 or not np.isfinite(ring).all():
        raise ValueError("no ring")
    return [(x, y) for x, y in ring.tolist()]


def _name(feature: dict[str, Any], number: int) -> str:
    """What the feature is called: its name, its class in QuPath, its id, or its place in the file."""
    properties = feature.get("properties") or {}
    classification = properties.get("classification") if isinstance(properties, dict) else None
    called = [properties.get(key) for key in ("name", "Name", "NAME")] if isinstance(properties, dict) else []
    called += [classification.get("name") if isinstance(classification, dict) else None, feature.get("id")]
    return next((str(name) for name in called if isinstance(name, str | int) and str(name).strip()), str(number))


def _in_pixels(path: Path, content: Any, shapes: list[Shape], reference: GeoReference | None, size_wh: Size) -> bool:
    """Whether the coordinates are pixels and not map coordinates; DataError where they are of another system."""
    system = _declared(path, content)
    if system == PIXELS:
        return True
    if system is not None:
        if reference is None:
            raise DataError(f"{path}: its coordinates are EPSG:{system}, but the picture has none; give pixels")
        if reference.epsg is None:
            raise DataError(
                f"{path}: its coordinates are EPSG:{system}, but the picture does not say what its own are; if they are"
                " the same, remove the member 'crs'"
            )
        if system != reference.epsg:
            raise DataError(
                f"{path}: its coordinates are EPSG:{system}, but those of the picture {reference.name}; convert them,"
                f" for example: ogr2ogr -t_srs {reference.name} converted.geojson {path.name}"
            )
        return False
    if reference is None:
        return True
    everything = shapely.MultiPolygon([part for shape in shapes for part in shapely.get_parts(shape.polygon)])
    as_map = shapely.transform(everything, reference.to_pixels)
    inside = [_share_inside(geometry, size_wh) for geometry in (everything, as_map)]
    if max(inside) == 0:
        raise DataError(
            f"{path}: its regions lie outside the picture both in pixels (0..{size_wh[0]}, 0..{size_wh[1]}) and in"
            f" {reference.name}; convert their coordinates to one of these"
        )
    return inside[0] > inside[1]


def _share_inside(polygons: BaseGeometry, size_wh: Size) -> float:
    """Share of the polygons' area that lies in the picture; 0 for polygons too small to be meant in pixels."""
    parts = shapely.get_parts(polygons)
    if min(part.area for part in parts) < LEAST_PX:
        return 0.0
    return float(
        sum(part.intersection(shapely.box(0, 0, *size_wh)).area for part in parts) / sum(p.area for p in parts)
    )


def _declared(path: Path, content: Any) -> int | str | None:
    """The coordinate system that the file's `crs` member names: an EPSG code or PIXELS; None without one."""
    crs = content.get("crs") if isinstance(content, dict) else None
    if crs is None:
        return None
    properties = crs.get("properties") if isinstance(crs, dict) else None
    name = str(properties.get("name", "")) if isinstance(properties, dict) else str(crs)
    if name.lower() in ("pixel", PIXELS):
        return PIXELS
    if name.upper().endswith("CRS84"):
        return WGS84
    code = re.search(r"EPSG:+(?:[\d.]+:+)?(\d+)$", name, re.IGNORECASE)
    if code is None:
        raise DataError(f"{path}: unknown coordinate system '{name}'; name it as EPSG:code, or pixels")
    return int(code[1])


def _region(shape: Shape, options: RegionOptions, reference: GeoReference | None, size_wh: Size) -> Region:
    inside = shape.polygon.intersection(shapely.box(0, 0, *size_wh))
    if inside.area == 0:
        raise DataError(f"{shape.where} lies outside the picture of {size_wh[0]} x {size_wh[1]} pixels")
    if shape.polygon.area < LEAST_PX:
        raise DataError(f"{shape.where} is smaller than a pixel; give pixels, or a GeoTIFF and its own coordinates")
    parts = [part for part in shapely.get_parts(inside) if part.geom_type == "Polygon"]
    rings = [ring for part in parts for ring in _open_rings(part)]
    middle = inside.centroid
    square_metres = reference.square_metres((middle.x, middle.y)) if reference else None
    if options.metres_per_pixel is not None:
        square_metres = options.metres_per_pixel**2
    area_m2 = inside.area * square_metres if square_metres else None
    return Region(shape.name, tuple(rings), inside.area, area_m2)


def _open_rings(polygon: Any) -> list[np.ndarray[Any, np.dtype[np.float64]]]:
    """The outer ring one way round and the holes the other, each without its repeated last vertex."""
    turned = orient(polygon)
    return [np.array(ring.coords)[:-1, :2] for ring in (turned.exterior, *turned.interiors)]
