"""GeoJSON points: a FeatureCollection per picture, Point and MultiPoint features in pixels, x right, y down.

photo.jpg
photo.geojson     or in the folder labels
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gigacount.datasets.entries import Heads, OnError, by_stem, files, pictures, points_only, read_pairs, strict
from gigacount.datasets.files import load_json, parse_content
from gigacount.datasets.forms import paired_folders
from gigacount.datasets.sample import Sample

SUFFIX = ".geojson"


def read_geojson(root: Path, split: str, on_error: OnError = strict) -> Iterator[Sample]:
    for images, labels in paired_folders(root, split):
        yield from read_pairs(by_stem(pictures(images)), by_stem(files(labels, {SUFFIX})), _parse, on_error)


def _parse(path: Path) -> Heads:
    def heads(content: Any) -> Heads:
        points = []
        for number, feature in enumerate(content["features"], 1):
            geometry = feature["geometry"]
            if geometry["type"] not in ("Point", "MultiPoint"):
                raise ValueError(f"feature {number} is a {geometry['type']}, which is no head; use Point or MultiPoint")
            found = [geometry["coordinates"]] if geometry["type"] == "Point" else geometry["coordinates"]
            points += [(x, y) for x, y, *_ in found]
        return points_only(points)

    return parse_content(path, load_json(path), heads)
