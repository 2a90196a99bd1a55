"""Truth files: heads as CSV and GeoJSON, annotations in the form of PANDA.

Same truth, same bytes: numbers are written with a fixed number of digits or as the shortest text that reads back equal.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gigacount.output.files import replacing
from gigacount.synthesize.scene import Truth


def heads_csv(truth: Truth, name: str) -> str:
    """A line `image,x,y` per head, with `left,top,right,bottom` where boxes are known, in full-resolution pixels.

    The form that the csv data set and the point files of `evaluate` read; a line with the name alone is nobody.
    """
    heads, columns = truth.points_xy, ["image", "x", "y"]
    if truth.boxes_xyxy is not None:
        heads, columns = np.hstack([heads, truth.boxes_xyxy]), [*columns, "left", "top", "right", "bottom"]
    rows = [[f"{value:.3f}" for value in head] for head in heads] or [[""] * (len(columns) - 1)]
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([name, *row] for row in rows)
    return text.getvalue()


def points_geojson(truth: Truth) -> str:
    """A FeatureCollection with a Point per head, in pixels, as QuPath imports it."""
    features = [
        {
            "type": "Feature",
            "geometry": {"type": "Point", "coordinates": [round(float(x), 3), round(float(y), 3)]},
            "properties": {"objectType": "annotation", "classification": {"name": "head"}},
        }
        for x, y in truth.points_xy
    ]
    return json.dumps({"type": "FeatureCollection", "features": features}, indent=1) + "\n"


def panda_json(truths: Mapping[str, Truth]) -> str:
    """PANDA's annotations of pictures by name: head boxes where all pictures have them, else head points.

    Coordinates are shares of the picture's sides; objects are {"rect": {"tl", "br"}} in the mode that PANDA's toolkit
    calls headbbox, {"rect": {"x", "y"}} in its headpoint mode.
    """
    boxed = has_boxes(truths.values())
    pictures = {
        name: {
            "image id": number,
            "image size": {"height": truth.size_wh[1], "width": truth.size_wh[0]},
            "objects list": [{"rect": rect} for rect in _rects(truth, boxed)],
        }
        for number, (name, truth) in enumerate(truths.items(), 1)
    }
    return json.dumps(pictures, indent=1) + "\n"


def has_boxes(truths: Iterable[Truth]) -> bool:
    return all(truth.boxes_xyxy is not None for truth in truths)


def write_truth(truth: Truth, picture: Path, overwrite: bool = True) -> list[Path]:
    """Write `<stem>.csv` and `<stem>.geojson` beside a picture; return their paths. Raises OutputError."""
    texts = {".csv": heads_csv(truth, picture.name), ".geojson": points_geojson(truth)}
    return [_write(picture.with_suffix(suffix), text, overwrite) for suffix, text in texts.items()]


def write_panda(truths: Mapping[str, Truth], folder: Path, overwrite: bool = True) -> Path:
    """Write the annotations of a folder's pictures, by file name, under the name that PANDA gives them.

    head_bbox_annotations.json, or head_point_annotations.json where boxes are unknown. Raises OutputError.
    """
    kind = "bbox" if has_boxes(truths.values()) else "point"
    return _write(folder / f"head_{kind}_annotations.json", panda_json(truths), overwrite)


def _rects(truth: Truth, boxed: bool) -> Iterable[dict[str, Any]]:
    width, height = truth.size_wh
    if boxed and truth.boxes_xyxy is not None:
        for left, top, right, bottom in truth.boxes_xyxy.tolist():
            yield {"tl": {"x": left / width, "y": top / height}, "br": {"x": right / width, "y": bottom / height}}
    else:
        for x, y in truth.points_xy.tolist():
            yield {"x": x / width, "y": y / height}


def _write(path: Path, text: str, overwrite: bool) -> Path:
    with replacing(path, overwrite) as fresh:
        fresh.write_text(text, encoding="utf-8", newline="\n")
    return path
