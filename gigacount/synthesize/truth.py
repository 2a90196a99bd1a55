"""Truth files: points as CSV and GeoJSON, head boxes as CSV, annotations in the form of PANDA.

Same truth, same bytes: numbers are written with a fixed number of digits or as the shortest text that reads back equal.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from gigacount.synthesize.files import replacing
from gigacount.synthesize.scene import Truth


def points_csv(truth: Truth) -> str:
    """A line `x,y` per head centre, in full-resolution pixels."""
    return _csv("x,y", truth.points_xy)


def boxes_csv(truth: Truth) -> str:
    """A line `left,top,right,bottom` per head, in the order of the points; only the heading where boxes are unknown."""
    return _csv("left,top,right,bottom", () if truth.boxes_xyxy is None else truth.boxes_xyxy)


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


def write_truth(truth: Truth, picture: Path) -> list[Path]:
    """Write `<stem>.csv`, `<stem>.geojson` and, where known, `<stem>.boxes.csv` beside a picture; return their paths.

    Raises OutputError where that fails.
    """
    texts = {".csv": points_csv(truth), ".geojson": points_geojson(truth)}
    if truth.boxes_xyxy is not None:
        texts[".boxes.csv"] = boxes_csv(truth)
    return [_write(picture.with_name(picture.stem + suffix), text) for suffix, text in texts.items()]


def write_panda(truths: Mapping[str, Truth], folder: Path) -> Path:
    """Write the annotations of a folder's pictures, by file name, under the name that PANDA gives them.

    head_bbox_annotations.json, or head_point_annotations.json where boxes are unknown. Raises OutputError.
    """
    kind = "bbox" if has_boxes(truths.values()) else "point"
    return _write(folder / f"head_{kind}_annotations.json", panda_json(truths))


def _csv(heading: str, rows: Iterable[Iterable[float]]) -> str:
    return "\n".join([heading, *(",".join(f"{value:.3f}" for value in row) for row in rows)]) + "\n"


def _rects(truth: Truth, boxed: bool) -> Iterable[dict[str, Any]]:
    width, height = truth.size_wh
    if boxed and truth.boxes_xyxy is not None:
        for left, top, right, bottom in truth.boxes_xyxy.tolist():
            yield {"tl": {"x": left / width, "y": top / height}, "br": {"x": right / width, "y": bottom / height}}
    else:
        for x, y in truth.points_xy.tolist():
            yield {"x": x / width, "y": y / height}


def _write(path: Path, text: str) -> Path:
    with replacing(path) as fresh:
        fresh.write_text(text, encoding="utf-8", newline="\n")
    return path
