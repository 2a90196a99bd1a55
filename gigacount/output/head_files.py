"""Located heads as files, one function each; `POINT_WRITERS` finds them by the file's extension.

Every text format is one pattern per head. Thousands of heads are filled into the pattern at once and written, so a
million take seconds and no memory to speak of.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gigacount.atomic import replacing
from gigacount.errors import DataError, UnknownNameError, UsageError
from gigacount.image.georeference import WGS84, Georeference, has_pyproj, transform
from gigacount.points import boxes_of
from gigacount.results import CountResult

if TYPE_CHECKING:
    from gigacount.points import Points

ROWS = 10_000  # filled in at once

PIXEL, MAP, LONLAT = "pixel", "map", "wgs84"

OWN_SYSTEM = {".csv": MAP, ".geojson": LONLAT, ".gpkg": MAP}
"""Extension -> the coordinates that a georeferenced image's heads are written in unless others are asked for."""


@dataclass(frozen=True)
class Placed:
    """Heads (N, 2) in some coordinates. crs: their system; None for pixels, and for a map's without a name."""

    xy: NDArray[np.float64]
    on_map: bool = False
    crs: str | None = None

    @property
    def number(self) -> str:
        """The pattern of a coordinate: a hundredth of a pixel, or about a millimetre."""
        return "%.2f" if not self.on_map else "%.8f" if np.abs(self.xy).max(initial=0) <= 540 else "%.3f"


def require_coordinates(wanted: str, place: Georeference | None) -> None:
    """Raise DataError where an image does not have the coordinates that were asked for, or pyproj is missing."""
    if wanted in ("auto", PIXEL):
        return
    if place is None:
        raise DataError(f"--coordinates {wanted} needs a georeferenced image, which this is not; use pixel")
    if wanted == LONLAT:
        if place.crs is None:
            raise DataError(f"--coordinates {wanted} needs an image that names its coordinate system; use map or pixel")
        transform(np.zeros((0, 2)), place.crs, WGS84)  # says what is missing


def choose_coordinates(wanted: str, suffix: str, place: Georeference | None) -> str:
    """PIXEL, MAP or LONLAT: what a file with this extension is written in, by `CountOptions.coordinates`."""
    if place is None or suffix not in OWN_SYSTEM or wanted == PIXEL:
        return PIXEL
    if wanted != "auto":
        return wanted
    own = OWN_SYSTEM[suffix]
    return own if own == MAP or (place.crs is not None and not _obstacle(place)) else PIXEL


def _obstacle(place: Georeference) -> str:
    """Why coordinates of a named system, which may be any, cannot be brought to longitude and latitude here."""
    if place.crs == WGS84:
        return ""
    if not has_pyproj():
        return "for longitude and latitude, pip install 'gigacount[geo]'"
    try:
        transform(np.zeros((0, 2)), str(place.crs), WGS84)
    except DataError:
        return f"pyproj does not know the image's coordinate system ({place.name:.60})"
    return ""


def coordinates_note(result: CountResult, suffix: str) -> str | None:
    """A line for the user where heads are written in pixels though the image has a coordinate system."""
    place = result.georeference
    if suffix != ".geojson" or result.options.coordinates != "auto" or place is None or place.crs is None:
        return None
    obstacle = _obstacle(place)
    return f"heads are written in pixels; {obstacle}" if obstacle else None


def placed(result: CountResult, suffix: str) -> Placed:
    """The located heads in the coordinates of a file with this extension. Raises DataError, UsageError."""
    xy, place = heads_of(result).xy.astype(np.float64), result.georeference
    chosen = choose_coordinates(result.options.coordinates, suffix, place)
    if chosen == PIXEL or place is None:
        return Placed(xy)
    on_map = place.to_map(xy)
    if chosen == MAP:
        return Placed(on_map, True, place.crs)
    return Placed(transform(on_map, str(place.crs), WGS84), True, WGS84)


def heads_csv(result: CountResult) -> Iterator[str]:
    """x and y in full-resolution pixels, score, and the zoom level and number of the look that each head is from.

    Where the network gives boxes, left, top, right, bottom and area besides; of a georeferenced image map_x, map_y.
    """
    points, there = heads_of(result), placed(result, ".csv")
    columns = [*points.xy.T, points.score, points.level, points.window]
    names, pattern = "x,y,score,level,window", "%.2f,%.2f,%.3f,%d,%d"
    if points.boxes is not None:
        names, pattern = f"{names},left,top,right,bottom,area", pattern + ",%.2f" * 5
        columns += [*points.boxes.T]
    if there.on_map:
        names, pattern = f"{names},map_x,map_y", f"{pattern},{there.number},{there.number}"
        columns += [*there.xy.T]
    yield f"{names}\n"
    yield from rows(f"{pattern}\n", columns)


def heads_geojson(result: CountResult) -> Iterator[str]:
    """A FeatureCollection (RFC 7946) of a Point feature a head, with properties as QuPath imports them: as detections.

    Of a georeferenced image in longitude and latitude; each feature has its pixels as the property `pixel`, too.
    Other map coordinates are named by the member `crs` of GeoJSON 2008.
    """
    points, there = heads_of(result), placed(result, ".geojson")
    members: dict[str, Any] = {
        "type": "FeatureCollection",
        "image": {"file": result.name, "width": result.size_wh[0], "height": result.size_wh[1]},
    }
    if there.crs not in (None, WGS84):
        name = re.sub(r"^EPSG:(\d+)$", r"urn:ogc:def:crs:EPSG::\1", str(there.crs))
        members["crs"] = {"type": "name", "properties": {"name": name}}
    yield json.dumps(members, ensure_ascii=False)[:-1] + ', "features": [\n'
    pixel = '"pixel":[%.2f,%.2f],' if there.on_map else ""
    feature = (
        f'{{"type":"Feature","geometry":{{"type":"Point","coordinates":[{there.number},{there.number}]}},"properties":{{'
        '"objectType":"detection","classification":{"name":"Person","color":[230,60,40]},' + pixel + '"measurements":'
        '{"score":%.3f,"level":%d,"window":%d}}}'
    )
    columns = [*there.xy.T, *(points.xy.T if there.on_map else ()), points.score, points.level, points.window]
    yield from rows(feature, columns, between=",\n")
    yield "\n]}\n"


def heads_nwpu(result: CountResult) -> Iterator[str]:
    """One line as the NWPU-Crowd benchmark takes it: the image's name, how many, and x y of each in whole pixels."""
    name, points = re.sub(r"\s+", "_", Path(result.name).stem), heads_of(result)
    yield f"{name} {len(points)}"
    yield from rows(" %d %d", [*points.xy.T])
    yield "\n"


def heads_coco(result: CountResult) -> Iterator[str]:
    """COCO annotations without keypoints: each head's box, area and score; of no size where the network gives none."""
    points = heads_of(result)
    boxes = boxes_of(np.hstack([points.xy, points.score[:, None]])) if points.boxes is None else points.boxes
    left, top, right, bottom, area = boxes.T
    image = {"id": 1, "file_name": result.name, "width": result.size_wh[0], "height": result.size_wh[1]}
    members = {"images": [image], "categories": [{"id": 1, "name": "head", "supercategory": "person"}]}
    yield json.dumps(members, ensure_ascii=False)[:-1] + ', "annotations": [\n'
    annotation = '{"id":%d,"image_id":1,"category_id":1,"bbox":[%.2f,%.2f,%.2f,%.2f],"area":%.2f,'
    annotation += '"iscrowd":0,"score":%.3f}'
    columns = [range(1, len(points) + 1), left, top, right - left, bottom - top, area, points.score]
    yield from rows(annotation, columns, between=",\n")
    yield "\n]}\n"


def heads_geopackage(result: CountResult) -> Iterator[bytes]:
    """A GeoPackage with a layer `heads` of points, made in memory; in pixels where the image has no georeference."""
    import pyogrio
    import shapely

    points, there = heads_of(result), placed(result, ".gpkg")
    fields: dict[str, NDArray[Any]] = {"x": points.xy[:, 0], "y": points.xy[:, 1], "score": points.score}
    fields |= {"level": points.level, "window": points.window}
    made, points_wkb = BytesIO(), shapely.to_wkb(shapely.points(there.xy))
    about = {"layer": "heads", "driver": "GPKG", "geometry_type": "Point", "crs": there.crs}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "'crs' was not provided")  # pixels have none
        try:
            pyogrio.raw.write(made, points_wkb, list(fields.values()), list(fields), **about)
        except (pyogrio.errors.CRSError, ValueError) as error:
            raise DataError(
                f"a GeoPackage cannot be in the image's coordinate system ({there.crs!s:.60}), which GDAL does not"
                " know; choose another format, or --coordinates pixel"
            ) from error
    yield made.getvalue()


PointWriter = Callable[[CountResult], Iterator[str] | Iterator[bytes]]

POINT_WRITERS: dict[str, PointWriter] = {
    ".csv": heads_csv,
    ".geojson": heads_geojson,
    ".gpkg": heads_geopackage,
    ".json": heads_coco,
    ".txt": heads_nwpu,
}
"""Extension -> the content of the file, piece by piece."""


def heads_of(result: CountResult) -> Points:
    """The located heads; raises UsageError where people were only counted."""
    if result.points is None:
        raise UsageError("people were counted here, not located; use localize")
    return result.points


def find_writer(path: Path) -> PointWriter:
    """The writer for a file by its extension.

    Raises UnknownNameError, which lists them; UsageError for one that needs a package which is not installed.
    """
    suffix = path.suffix.lower()
    if suffix not in POINT_WRITERS:
        raise UnknownNameError("format for heads with the extension", suffix or path.name, POINT_WRITERS)
    if suffix == ".gpkg" and find_spec("pyogrio") is None:
        raise UsageError("GeoPackages are written by pyogrio, which is not installed; pip install 'gigacount[geo]'")
    return POINT_WRITERS[suffix]


def write_points(result: CountResult, path: Path, overwrite: bool = False) -> None:
    """Write the located heads in the format of the file's extension.

    Raises UnknownNameError for another extension, DataError for coordinates that the image does not have, OutputError
    for a file that stands already or cannot be written.
    """
    content = find_writer(path)(result)
    with replacing(path, overwrite) as fresh, fresh.open("wb") as file:
        for piece in content:
            file.write(piece if isinstance(piece, bytes) else piece.encode("utf-8", "backslashreplace"))


def rows(pattern: str, columns: Sequence[NDArray[Any] | range], between: str = "") -> Iterator[str]:
    """`pattern` filled with each row of the columns, `between` them."""
    for first in range(0, len(columns[0]), ROWS):
        part = [column[first : first + ROWS] for column in columns]
        values = zip(*(np.asarray(column).tolist() for column in part), strict=True)
        text = between.join([pattern] * len(part[0])) % tuple(chain.from_iterable(values))
        yield (between if first else "") + text
