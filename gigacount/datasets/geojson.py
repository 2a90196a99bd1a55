"""GeoJSON: a FeatureCollection per image, positions in pixels, x right, y down.

photo.jpg
photo.geojson     or in the folder labels

Points are heads; lines and polygons are heads in the middle of their extent. Where an image lies on a map, `localize`
writes positions in pixels as the property `pixel`, and that is read. A feature may have a class, as QuPath writes it
(`classification`) or as its property class, label or category: then heads count, or else persons.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from gigacount.datasets.entries import Entry, OnError
from gigacount.datasets.files import load_json
from gigacount.datasets.forms import paired_folders, read_drawings
from gigacount.datasets.shapes import DrawnHeads, HeadShape, around

CLASS_PROPERTIES = ("classification", "class", "label", "category")
PARTS = {"MultiPoint": "Point", "MultiLineString": "LineString", "MultiPolygon": "Polygon"}
SUFFIX = ".geojson"


def read_geojson(root: Path, split: str, on_error: OnError) -> Iterator[Entry]:
    yield from read_drawings(paired_folders(root, split), SUFFIX, _parse, root, on_error)


def _parse(path: Path) -> DrawnHeads:
    things: list[tuple[str, Any]] = []
    for feature in load_json(path)["features"]:
        label = feature_class(feature)
        for kind, coordinates in feature_parts(feature):
            things.append((label, (kind, coordinates)))
    return DrawnHeads(things, part_shape)


def feature_class(feature: Any) -> str:
    properties = feature.get("properties") or {}
    found = next((properties[name] for name in CLASS_PROPERTIES if properties.get(name)), "")
    return str(found.get("name") or "" if isinstance(found, dict) else found)


def feature_parts(feature: Any) -> list[tuple[str, Any]]:
    """The points, lines and polygons of a feature in pixels: those of its property `pixel`, where it lies on a map."""
    pixel = (feature.get("properties") or {}).get("pixel")
    return simple_parts(feature["geometry"]) if pixel is None else [("Point", pixel)]


def simple_parts(geometry: Any) -> list[tuple[str, Any]]:
    """The points, lines and polygons of a geometry: kind and coordinates of each."""
    if geometry is None:
        return []
    kind = geometry["type"]
    if kind == "GeometryCollection":
        return [part for one in geometry["geometries"] for part in simple_parts(one)]
    if kind in PARTS:
        return [(PARTS[kind], part) for part in geometry["coordinates"]]
    return [(kind, geometry["coordinates"])]


def part_shape(thing: tuple[str, Any]) -> HeadShape:
    kind, coordinates = thing
    if kind == "Point":
        x, y, *_ = coordinates
        return HeadShape([[float(x), float(y)]])
    vertices = chain.from_iterable(coordinates) if kind == "Polygon" else coordinates
    return around([(float(x), float(y)) for x, y, *_ in vertices])
