"""LabelMe: a JSON file per image, beside it or in the folder labels.

    {"imagePath", "imageWidth", "imageHeight", "shapes": [{"label", "shape_type", "points": [[x, y], ...]}]}

Shapes labelled head count, or else those labelled person. Points are heads; other shapes are heads in the middle of
their extent. The image is the one that imagePath names, or else the one of the same name.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from gigacount.datasets.entries import (
    NO_LABELS,
    Claim,
    Entry,
    OnError,
    files,
    find_image,
    images_in,
    read_claims,
)
from gigacount.datasets.files import load_json
from gigacount.datasets.forms import paired_folders
from gigacount.datasets.shapes import DrawnFiles, DrawnHeads, HeadShape, around, ellipse
from gigacount.errors import EntryError


def read_labelme(root: Path, split: str, on_error: OnError) -> Iterator[Entry]:
    parts = [(images, labels, files(labels, {".json"})) for images, labels in paired_folders(root, split)]
    drawings = DrawnFiles([path for _, _, paths in parts for path in paths], _parse, root, on_error)
    for images, labels, paths in parts:
        beside = {image.stem: image.name for image in images_in(images)}
        claims = []
        for path in paths:
            name = drawings.image(path)
            if not name or find_image(name, [labels, images]) is None:
                name = beside.get(path.stem, name or path.stem)
            claims.append(Claim(name, path, [labels, images], partial(drawings.heads, path)))
        named = {find_image(claim.name, claim.folders) for claim in claims}
        for image in images_in(images):
            if image not in named:
                on_error(EntryError(NO_LABELS, f"{image}: no label file for it"))
        yield from read_claims(claims, on_error)


def _parse(path: Path) -> DrawnHeads:
    content = load_json(path)
    size = content.get("imageWidth"), content.get("imageHeight")
    return DrawnHeads(
        [(str(shape["label"]), shape) for shape in content["shapes"]],
        _shape,
        (int(size[0]), int(size[1])) if all(size) else None,
        image=str(content["imagePath"]) if content.get("imagePath") else None,
    )


def _shape(shape: Any) -> HeadShape:
    corners = np.array(shape["points"], np.float64).reshape(-1, 2)
    kind = shape.get("shape_type", "polygon")
    if kind in ("point", "points"):
        return HeadShape(corners.tolist())
    if kind == "circle":  # its centre and a point on it
        return ellipse(corners[0], [np.hypot(*(corners[1] - corners[0]))] * 2)
    return around(corners)
