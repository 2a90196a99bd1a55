"""A result opened for looking at, with its regions, its zones that do not count, and its audit."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from gigacount.errors import DataError
from gigacount.image import GigaImage
from gigacount.options import ReadOptions, RegionOptions
from gigacount.output.folder import COUNT_FILE, ResultFolder, result_folder
from gigacount.output.opened import StoredResult, open_result
from gigacount.regions import Regions, read_regions
from gigacount.view.trail import Audit

if TYPE_CHECKING:
    from gigacount.view.server import Viewed

MANY_LOOKS = 1000
"""As many as a person may take: a file without tiles is decoded once, to where it can be read anywhere."""


def open_audit(
    result: StoredResult,
    exclude: Path | None = None,
    seed: int | None = None,
    heads: float | None = None,
    anew: bool = False,
) -> Audit:
    """The audit of a result, as far as it is, or a new one: see `Audit`. Raises DataError, ImageError, UsageError."""
    if exclude is None:
        return Audit(result, seed=seed, heads=heads, anew=anew)
    excluded = open_regions(result, exclude)
    return Audit(result, excluded, hashlib.sha256(exclude.read_bytes()).hexdigest(), seed, heads, anew)


def open_regions(result: StoredResult, file: Path) -> Regions:
    """Polygons of a file in the pixels of a result's image. Raises DataError, ImageError."""
    with GigaImage.open(result.image, result.reading) as image:
        return read_regions(RegionOptions(file), result.size_wh, image.georeference)


@contextmanager
def open_scene(path: Path, image: Path | None = None, exclude: Path | None = None) -> Iterator[Viewed]:
    """What the viewer shows: a result, or an image without one. Raises DataError, ImageError, UsageError."""
    from gigacount.view.server import Viewed

    plain = path.is_file() and path.name != COUNT_FILE and ResultFolder(result_folder(path, None)).finished() is None
    result = None if plain else open_result(path, image)
    file, reading = (path, ReadOptions()) if result is None else (result.image, result.reading)
    with GigaImage.open(file, reading) as opened:
        opened.prepare(MANY_LOOKS)
        if result is None:
            yield Viewed(opened, lambda ending: path.with_name(f"{path.name}.{ending}"))
        elif opened.size_wh != result.size_wh:
            raise DataError(f"{file}: another image than the one that was counted; say where that is with --image")
        else:
            yield Viewed(opened, result.beside, result, lambda: open_audit(result, exclude))
