"""A result opened for looking at, with its regions, its zones that do not count, and its audit."""

from __future__ import annotations

import hashlib
from pathlib import Path

from gigacount.image import GigaImage
from gigacount.options import RegionOptions
from gigacount.output.opened import StoredResult, open_result
from gigacount.regions import Regions, read_regions
from gigacount.view.trail import Audit


def open_audit(
    path: Path,
    image: Path | None = None,
    exclude: Path | None = None,
    seed: int | None = None,
    heads: float | None = None,
    anew: bool = False,
) -> Audit:
    """The audit of a result, as far as it is, or a new one: see `Audit`. Raises DataError, ImageError, UsageError."""
    result = open_result(path, image)
    if exclude is None:
        return Audit(result, seed=seed, heads=heads, anew=anew)
    excluded = open_regions(result, exclude)
    return Audit(result, excluded, hashlib.sha256(exclude.read_bytes()).hexdigest(), seed, heads, anew)


def open_regions(result: StoredResult, file: Path) -> Regions:
    """Polygons of a file in the pixels of a result's picture. Raises DataError, ImageError."""
    with GigaImage.open(result.image, result.reading) as image:
        return read_regions(RegionOptions(file), result.size_wh, image.georeference)
