"""Located heads as files, one function each; `POINT_WRITERS` finds them by the file's extension.

Every format is text of one pattern per head. Thousands of heads are filled into the pattern at once and written, so a
million take seconds and no memory to speak of.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from gigacount.errors import UnknownNameError, UsageError
from gigacount.output.files import replacing
from gigacount.results import CountResult

if TYPE_CHECKING:
    from gigacount.points import Points

ROWS = 10_000  # filled in at once


def csv_text(result: CountResult) -> Iterator[str]:
    """x and y in full-resolution pixels, score, and the zoom level and number of the look that each head is from."""
    points = heads_of(result)
    yield "x,y,score,level,window\n"
    yield from rows("%.2f,%.2f,%.3f,%d,%d\n", [*points.xy.T, points.score, points.level, points.window])


def geojson_text(result: CountResult) -> Iterator[str]:
    """A FeatureCollection (RFC 7946) of a Point feature a head, in pixels, as QuPath imports it: as detections.

    Where the picture is a GeoTIFF, each feature has its map coordinates too, as the property `map`, in the system that
    the collection's member `map_crs` names.
    """
    points, reference = heads_of(result), result.georeference
    members: dict[str, Any] = {
        "type": "FeatureCollection",
        "image": {"file": result.name, "width": result.size_wh[0], "height": result.size_wh[1]},
    }
    columns = [*points.xy.T]
    place = ""
    if reference is not None:
        members["map_crs"] = reference.name
        columns += [*reference.to_map(points.xy).T]
        place = '"map":[%.11g,%.11g],'
    yield json.dumps(members, ensure_ascii=False)[:-1] + ', "features": [\n'
    feature = (
        '{"type":"Feature","geometry":{"type":"Point","coordinates":[%.2f,%.2f]},"properties":{"objectType":"detection",'
        '"classification":{"name":"Person","color":[230,60,40]},' + place + '"measurements":'
        '{"score":%.3f,"level":%d,"window":%d}}}'
    )
    yield from rows(feature, [*columns, points.score, points.level, points.window], between=",\n")
    yield "\n]}\n"


def nwpu_text(result: CountResult) -> Iterator[str]:
    """One line as the NWPU-Crowd benchmark takes it: the picture's name, how many, and x y of each in whole pixels."""
    name, points = re.sub(r"\s+", "_", Path(result.name).stem), heads_of(result)
    yield f"{name} {len(points)}"
    yield from rows(" %d %d", [*points.xy.T])
    yield "\n"


def coco_text(result: CountResult) -> Iterator[str]:
    """COCO annotations without keypoints: a box of no size at each head, and its score."""
    points = heads_of(result)
    image = {"id": 1, "file_name": result.name, "width": result.size_wh[0], "height": result.size_wh[1]}
    members = {"images": [image], "categories": [{"id": 1, "name": "head", "supercategory": "person"}]}
    yield json.dumps(members, ensure_ascii=False)[:-1] + ', "annotations": [\n'
    annotation = '{"id":%d,"image_id":1,"category_id":1,"bbox":[%.2f,%.2f,0,0],"area":0,"iscrowd":0,"score":%.3f}'
    yield from rows(annotation, [range(1, len(points) + 1), *points.xy.T, points.score], between=",\n")
    yield "\n]}\n"


POINT_WRITERS: dict[str, Callable[[CountResult], Iterator[str]]] = {
    ".csv": csv_text,
    ".geojson": geojson_text,
    ".json": coco_text,
    ".txt": nwpu_text,
}
"""Extension -> the text of the file, piece by piece."""


def heads_of(result: CountResult) -> Points:
    """The located heads; raises UsageError where people were only counted."""
    if result.points is None:
        raise UsageError("people were counted here, not located; use localize")
    return result.points


def find_writer(path: Path) -> Callable[[CountResult], Iterator[str]]:
    """The writer for a file by its extension; raises UnknownNameError, which lists them."""
    suffix = path.suffix.lower()
    if suffix not in POINT_WRITERS:
        raise UnknownNameError("format for heads with the extension", suffix or path.name, POINT_WRITERS)
    return POINT_WRITERS[suffix]


def write_points(result: CountResult, path: Path, overwrite: bool = False) -> None:
    """Write the located heads in the format of the file's extension.

    Raises UnknownNameError for another extension, OutputError for a file that stands already or cannot be written.
    """
    text = find_writer(path)(result)
    with (
        replacing(path, overwrite) as fresh,
        fresh.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        for piece in text:
            file.write(piece)


def rows(pattern: str, columns: Sequence[NDArray[Any] | range], between: str = "") -> Iterator[str]:
    """`pattern` filled with each row of the columns, `between` them."""
    for first in range(0, len(columns[0]), ROWS):
        part = [column[first : first + ROWS] for column in columns]
        values = zip(*(list(column) if isinstance(column, range) else column.tolist() for column in part), strict=True)
        text = between.join([pattern] * len(part[0])) % tuple(chain.from_iterable(values))
        yield (between if first else "") + text
