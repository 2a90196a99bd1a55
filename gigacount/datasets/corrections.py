"""What a person has checked in `gigacount view`: areas of images with every head in them.

square.tif.corrections.geojson       features whose property `correction` is checked: the area's image and its heads
square.tif.corrections/0123.png      such an area, cut out
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gigacount.datasets.entries import NO_IMAGE, Entry, LabelledHeads, OnError, divided, natural, points_only
from gigacount.datasets.files import guarded, load_json
from gigacount.errors import EntryError, NotFoundError

ENDING = ".corrections.geojson"


def read_corrections(root: Path, split: str, on_error: OnError) -> Iterator[Entry]:
    parts = [root] if root.is_file() else [path for part in divided(root, split) for path in part.rglob(f"*{ENDING}")]
    found = sorted(parts, key=natural)
    if not found:
        raise NotFoundError(f"no corrections: looked for *{ENDING} in {root}; check some in gigacount view")
    for path in found:
        try:
            areas = _areas(path)
        except EntryError as error:
            on_error(error)
            continue
        for area in areas:
            try:
                yield _entry(path, area)
            except EntryError as error:
                on_error(error)


def _areas(path: Path) -> list[dict[str, Any]]:
    content = load_json(path)
    with guarded(path):
        properties = [feature["properties"] for feature in content["features"]]
        return [one for one in properties if one.get("correction") == "checked"]


def _entry(path: Path, area: dict[str, Any]) -> Entry:
    with guarded(path):
        name, heads = str(area["image"]), points_only(area["heads"])
        image = path.parent / name
        if not image.is_file():
            raise EntryError(NO_IMAGE, f"{path}: the image {name} of a checked area is missing")
        width, height = area["window"][2:]
        return Entry(image, path, LabelledHeads(heads.points_xy, size_wh=(int(width), int(height))), name)
