"""Where a GeoTIFF's pixels lie on the earth, from its tags alone (OGC GeoTIFF 1.1, sections 7 and B)."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

ORIENTATION, PIXEL_SCALE, TIE_POINTS, TRANSFORMATION, GEO_KEYS = 274, 33550, 33922, 34264, 34735
MODEL_TYPE, RASTER_TYPE, GEOGRAPHIC_CRS, PROJECTED_CRS, LINEAR_UNIT = 1024, 1025, 2048, 3072, 3076
GEOGRAPHIC, PIXEL_IS_POINT, USER_DEFINED = 2, 2, 32767

METRES = {9001: 1.0, 9002: 0.3048, 9003: 1200 / 3937}
"""EPSG unit of length -> metres: metre, foot, US survey foot."""

IN_METRES = {3857, *range(32601, 32661), *range(32701, 32761), *range(25828, 25839)}
"""Coordinate systems known to be in metres where the file does not say: web Mercator, UTM (WGS 84, ETRS89)."""

WEB_MERCATOR, EARTH_RADIUS = 3857, 6_378_137.0
STRUCTS = {1: "B", 2: "s", 3: "H", 4: "I", 9: "i", 11: "f", 12: "d", 16: "Q"}
MAX_VALUES = 1_000_000  # of one tag, so that a damaged file does not ask for the whole memory


@dataclass(frozen=True)
class GeoReference:
    """An affine map from pixels to map coordinates.

    affine: (2, 3); map = affine @ (x, y, 1) for full-resolution pixels, centres at +0.5. epsg: code of the coordinate
    system, None for one without. geographic: whether it is longitude and latitude in degrees. metres_per_unit: of
    projected coordinates; None where the file does not say.
    """

    affine: NDArray[np.float64]
    epsg: int | None
    geographic: bool = False
    metres_per_unit: float | None = None

    @property
    def name(self) -> str:
        return f"EPSG:{self.epsg}" if self.epsg else "its own coordinate system"

    def to_map(self, xy: NDArray[Any]) -> NDArray[np.float64]:
        """Pixels (N, 2) -> map coordinates (N, 2)."""
        found: NDArray[np.float64] = xy.astype(np.float64) @ self.affine[:, :2].T + self.affine[:, 2]
        return found

    def to_pixels(self, map_xy: NDArray[Any]) -> NDArray[np.float64]:
        """Map coordinates (N, 2) -> pixels (N, 2)."""
        return np.linalg.solve(self.affine[:, :2], (map_xy - self.affine[:, 2]).T).T.astype(np.float64)

    def square_metres(self, xy: tuple[float, float]) -> float | None:
        """Square metres on the ground that a pixel at `xy` covers; None where the unit is unknown.

        Degrees by the WGS 84 ellipsoid; web Mercator, which enlarges with latitude, by the sphere that it is made of.
        Other projections as they are: within their zones they are true to about a thousandth.
        """
        area = abs(float(np.linalg.det(self.affine[:, :2])))
        _, north = self.to_map(np.array([xy]))[0]
        if self.geographic:
            phi = math.radians(north)
            metres_north = 111_132.954 - 559.822 * math.cos(2 * phi) + 1.175 * math.cos(4 * phi)
            metres_east = 111_412.84 * math.cos(phi) - 93.5 * math.cos(3 * phi) + 0.118 * math.cos(5 * phi)
            return area * metres_north * metres_east
        if self.epsg == WEB_MERCATOR:
            return area / math.cosh(north / EARTH_RADIUS) ** 2
        return area * self.metres_per_unit**2 if self.metres_per_unit else None


def read_georeference(path: Path) -> GeoReference | None:
    """The georeference of a TIFF's first picture.

    None for any other file, and for one without an affine georeference or whose orientation tag turns the picture.
    """
    try:
        with path.open("rb") as file:
            tags = _tags(file)
    except (OSError, OverflowError, struct.error, ValueError):
        return None
    affine = _affine(tags)
    if affine is None or tags.get(ORIENTATION, (1,))[0] != 1 or abs(np.linalg.det(affine[:, :2])) < 1e-300:
        return None
    keys = _geo_keys(tags.get(GEO_KEYS, ()))
    if keys.get(RASTER_TYPE) == PIXEL_IS_POINT:
        affine[:, 2] -= affine[:, :2].sum(axis=1) / 2
    geographic = keys.get(MODEL_TYPE) == GEOGRAPHIC
    epsg = keys.get(GEOGRAPHIC_CRS if geographic else PROJECTED_CRS)
    known = epsg if epsg is not None and 0 < epsg < USER_DEFINED else None
    unit = METRES.get(keys.get(LINEAR_UNIT, 9001 if known in IN_METRES else 0))
    return GeoReference(affine, known, geographic, None if geographic else unit)


def _affine(tags: dict[int, tuple[Any, ...]]) -> NDArray[np.float64] | None:
    """(2, 3) from the transformation, or from one tie point and the pixel scale; raster (0, 0) is the first corner."""
    matrix, scale, tie = (tags.get(tag, ()) for tag in (TRANSFORMATION, PIXEL_SCALE, TIE_POINTS))
    if len(matrix) == 16:
        return np.array([[matrix[0], matrix[1], matrix[3]], [matrix[4], matrix[5], matrix[7]]], np.float64)
    if len(scale) < 2 or len(tie) < 6:
        return None
    (column, row, _, east, north, _), (width, height) = tie[:6], scale[:2]
    return np.array([[width, 0, east - column * width], [0, -height, north + row * height]], np.float64)


def _geo_keys(directory: tuple[Any, ...]) -> dict[int, int]:
    """Keys whose value stands in the directory itself: entries of key, location (0), count and value."""
    entries = [directory[i : i + 4] for i in range(4, len(directory) - 3, 4)]
    return {key: value for key, location, _, value in entries if location == 0}


def _tags(file: BinaryIO) -> dict[int, tuple[Any, ...]]:
    """Tags of the first directory of a TIFF or BigTIFF that a georeference is made of; ValueError for another file."""
    mark = file.read(2)
    if mark not in (b"II", b"MM"):
        raise ValueError("no TIFF")
    order = "<" if mark == b"II" else ">"

    def unpack(form: str) -> tuple[Any, ...]:
        return struct.unpack(order + form, file.read(struct.calcsize(order + form)))

    (version,) = unpack("H")
    if version not in (42, 43):
        raise ValueError("no TIFF")
    big = version == 43
    if big:
        unpack("HH")
    (offset,) = unpack("Q" if big else "I")
    file.seek(offset)
    (count,) = unpack("Q" if big else "H")
    if count > 65_536:
        raise ValueError("damaged TIFF")
    entries = [unpack("HHQ8s" if big else "HHI4s") for _ in range(count)]
    tags = {}
    for tag, kind, length, inline in entries:
        if tag not in (ORIENTATION, PIXEL_SCALE, TIE_POINTS, TRANSFORMATION, GEO_KEYS):
            continue
        if kind not in STRUCTS or length > MAX_VALUES:
            raise ValueError("damaged TIFF")
        form = f"{order}{length}{STRUCTS[kind]}"
        size = struct.calcsize(form)
        if size > len(inline):
            file.seek(struct.unpack(order + ("Q" if big else "I"), inline)[0])
            tags[tag] = struct.unpack(form, file.read(size))
        else:
            tags[tag] = struct.unpack(form, inline[:size])
    return tags
