"""Where an image's pixels lie on the earth: one value, whatever kind of file it was read from (see `geotags`)."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gigacount.errors import DataError
from gigacount.geometry import Size

from .info import Orientation

METRES = {9001: 1.0, 9002: 0.3048, 9003: 1200 / 3937}  # EPSG unit of length -> metres: metre, foot, US survey foot

IN_METRES = {3857, *range(32601, 32661), *range(32701, 32761), *range(25828, 25839)}
"""Coordinate systems known to be in metres where the file does not say: web Mercator, UTM (WGS 84, ETRS89)."""

WGS84 = "EPSG:4326"
WEB_MERCATOR, EARTH_RADIUS = "EPSG:3857", 6_378_137.0

UNKNOWN = "an unknown coordinate system (name it in a .prj file beside the image, or by gdal_edit -a_srs)"

FARTHEST = {"degrees": 540.0, "units": 1e9}
"""Map coordinates beyond which nothing lies on the earth in any system."""


@dataclass(frozen=True)
class GeoKeys:
    """The keys of a GeoTIFF as its tags 34735, 34736 and 34737 have them, so that they can be written again."""

    directory: tuple[int, ...]
    doubles: tuple[float, ...] = ()
    text: bytes = b""

    @property
    def entries(self) -> list[tuple[int, ...]]:
        """Key, location (0 for a value that stands here), count and value of each."""
        return [self.directory[i : i + 4] for i in range(4, len(self.directory) - 3, 4)]


@dataclass(frozen=True)
class Georeference:
    """An affine map from pixels to map coordinates.

    affine: (a, b, c, d, e, f) with east = a x + b y + c and north = d x + e y + f, for full-resolution pixels of the
    upright image, centres at +0.5. crs: the coordinate system as "EPSG:32633" or WKT; None where the file names none.
    geographic: whether it is longitude and latitude in degrees. metres_per_unit: of projected coordinates; None where
    unknown. keys: of the GeoTIFF that it was read from. said: what was assumed about it.
    """

    affine: tuple[float, float, float, float, float, float]
    crs: str | None = None
    geographic: bool = False
    metres_per_unit: float | None = None
    keys: GeoKeys | None = None
    said: str = ""

    @property
    def matrix(self) -> NDArray[np.float64]:
        """(3, 3): map coordinates = matrix @ (x, y, 1)."""
        return np.array([*self.affine, 0, 0, 1], np.float64).reshape(3, 3)

    @property
    def name(self) -> str:
        """The coordinate system in a few words."""
        if self.crs is None:
            has_keys = self.keys is not None and len(self.keys.directory) > 4
            return "a coordinate system without EPSG code" if has_keys else UNKNOWN
        named = re.match(r'\s*\w+\s*\[\s*"([^"]{1,80})', self.crs)
        return named[1] if named else self.crs

    def to_map(self, xy: NDArray[Any]) -> NDArray[np.float64]:
        """Pixels (N, 2) -> map coordinates (N, 2)."""
        found: NDArray[np.float64] = xy.astype(np.float64) @ self.matrix[:2, :2].T + self.matrix[:2, 2]
        return found

    def to_pixels(self, map_xy: NDArray[Any]) -> NDArray[np.float64]:
        """Map coordinates (N, 2) -> pixels (N, 2)."""
        return np.linalg.solve(self.matrix[:2, :2], (map_xy - self.matrix[:2, 2]).T).T.astype(np.float64)

    def square_metres(self, xy: tuple[float, float]) -> float | None:
        """Square metres on the ground that a pixel at `xy` covers; None where the unit is unknown.

        Degrees by the WGS 84 ellipsoid; web Mercator, which enlarges with latitude, by the sphere that it is made of.
        Other projections as they are: within their zones they are true to about a thousandth.
        """
        area = abs(float(np.linalg.det(self.matrix)))
        _, north = self.to_map(np.array([xy]))[0]
        if self.geographic:
            phi = math.radians(north)
            metres_north = 111_132.954 - 559.822 * math.cos(2 * phi) + 1.175 * math.cos(4 * phi)
            metres_east = 111_412.84 * math.cos(phi) - 93.5 * math.cos(3 * phi) + 0.118 * math.cos(5 * phi)
            return area * metres_north * metres_east
        if self.crs == WEB_MERCATOR:
            return area / math.cosh(min(abs(north) / EARTH_RADIUS, 20)) ** 2
        return area * self.metres_per_unit**2 if self.metres_per_unit else None

    def square_metres_of(self, size_wh: Size) -> float | None:
        """Square metres that a pixel in the middle of the image covers; None where the unit is unknown."""
        return self.square_metres((size_wh[0] / 2, size_wh[1] / 2))

    def summary(self, size_wh: Size) -> str:
        """One line for people: the coordinate system, and what a pixel in the middle of the image covers."""
        area = self.square_metres_of(size_wh)
        if not area:
            return f"{self.name}; the size of a pixel on the ground is unknown"
        metres = math.sqrt(area)
        return f"{self.name}; a pixel is {f'{metres:.3g} m' if metres >= 1 else f'{metres * 100:.3g} cm'} wide"

    def turned(self, orientation: Orientation, size_wh: Size) -> Georeference:
        """That of the upright image of `size_wh`, from that of the image as stored."""
        width, height = size_wh
        upright = np.eye(3)
        if orientation.mirror_x:
            upright[0] = (-1, 0, width)
        if orientation.mirror_y:
            upright[1] = (0, -1, height)
        if orientation.swap:
            upright = upright[[1, 0, 2]]
        return self._with(self.matrix @ upright)

    def scaled(self, cell_px: float) -> Georeference:
        """That of a raster whose cells are `cell_px` of this one's pixels wide."""
        return self._with(self.matrix @ np.diag([cell_px, cell_px, 1]))

    def _with(self, matrix: NDArray[np.float64]) -> Georeference:
        a, b, c, d, e, f = matrix[:2].ravel().tolist()
        return replace(self, affine=(a, b, c, d, e, f))

    def require_on_earth(self, size_wh: Size) -> None:
        """Raise ValueError for numbers that put no image of `size_wh` anywhere on the earth."""
        corners = np.array([[0, 0], [size_wh[0], 0], [0, size_wh[1]], size_wh])
        with np.errstate(all="ignore"):
            coordinates, area = self.to_map(corners), abs(np.linalg.det(self.matrix))
        if not np.isfinite(coordinates).all() or not np.isfinite(area):
            raise ValueError("its numbers are not finite")
        if area < 1e-30:
            raise ValueError("its pixels have no size")
        if np.abs(coordinates).max() > FARTHEST["degrees" if self.geographic else "units"]:
            raise ValueError("its coordinates are not on the earth")


def has_pyproj() -> bool:
    """Whether coordinates can be converted between systems here."""
    return find_spec("pyproj") is not None


def transform(xy: NDArray[np.float64], source: str, target: str) -> NDArray[np.float64]:
    """Coordinates (N, 2), east before north, of the system `source` in the system `target`.

    Raises DataError where pyproj is missing or does not know a system, or coordinates have no place in the other one.
    """
    if source == target:
        return xy
    if not has_pyproj():
        raise DataError(
            f"coordinates of {source:.60} are converted to {target:.60} by pyproj, which is not installed; run"
            " pip install 'gigacount[geo]'"
        )
    import pyproj

    try:
        convert = pyproj.Transformer.from_crs(source, target, always_xy=True)
        found = np.stack(convert.transform(*xy.T), axis=-1).astype(np.float64)
    except (pyproj.exceptions.ProjError, ValueError) as error:  # the latter for text that is no Unicode
        raise DataError(f"coordinates of {source:.60} cannot be converted to {target:.60}") from error
    if not np.isfinite(found).all():
        raise DataError(f"some coordinates of {source:.60} have no place in {target:.60}")
    return found
