"""Results that stand already: reused where they are what is asked for, or read back."""

from __future__ import annotations

import json
import warnings
from collections.abc import Collection
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gigacount.density import DensityMap
from gigacount.errors import DataError, ImageError, UsageError
from gigacount.geometry import Size
from gigacount.key import RunKey, is_same_image
from gigacount.options import ReadOptions
from gigacount.output.folder import (
    COUNT_FILE,
    DENSITY_FILE,
    FILES,
    HEADS_FILE,
    RESULT_ENDING,
    ResultFolder,
    result_folder,
)
from gigacount.text import brief


@dataclass(frozen=True)
class Wanted:
    """What is asked of a result: its key, formats, and whether heads are located."""

    key: RunKey
    formats: Collection[str] = ()
    locate: bool = False

    def obstacle(self, folder: ResultFolder, image: Path) -> str:
        """Why a finished result of this image is not what is asked for, and what to do, in a line.

        Empty where there is none, or the image has changed since. Raises ImageError where the image is missing.
        """
        content = self._of_same_image(folder, image)
        if content is None or not self._missing(content):
            return ""
        if differences := self.key.differences(content):
            return (
                f"{folder.path} holds a result with other options ({'; '.join(differences)}); "
                "use --overwrite to replace it, or --out for another place"
            )
        missing = " and ".join(self._missing(content))
        return f"{folder.path} holds a result without {missing}; use --overwrite to count again and add what is missing"

    def finished(self, folder: ResultFolder, image: Path) -> dict[str, Any] | None:
        """The count.json of a finished result of this image that is what is asked for; None where there is none.

        Raises ImageError where the image is missing.
        """
        content = self._of_same_image(folder, image)
        return None if content is None or self._missing(content) else content

    def _missing(self, content: dict[str, Any]) -> list[str]:
        """What a result lacks of what is asked for."""
        missing = [] if content.get("key") == self.key.hash else ["the same options"]
        missing += [FILES[name] for name in self.formats if name not in ("json", *content["formats"])]
        if self.locate and "located" not in content:
            missing.append("located heads")
        return missing

    @staticmethod
    def _of_same_image(folder: ResultFolder, image: Path) -> dict[str, Any] | None:
        content = folder.finished()
        return content if content is not None and is_same_image(image, content["image"]) else None


@dataclass(frozen=True)
class StoredResult:
    """The result in `folder`. content: its count.json. image: where its image is now."""

    folder: Path
    content: dict[str, Any]
    image: Path

    @property
    def size_wh(self) -> Size:
        return self.content["image"]["width"], self.content["image"]["height"]

    @cached_property
    def density(self) -> DensityMap:
        """People per cell. Raises DataError where there is no map, or one of another image."""
        return read_density(self.folder / DENSITY_FILE, self.size_wh)

    @property
    def has_density(self) -> bool:
        """Whether its map was written: a result of `localize` may have its heads alone."""
        return (self.folder / DENSITY_FILE).is_file()

    @cached_property
    def heads(self) -> NDArray[np.float32] | None:
        """The machine's heads (N, 3): x, y, score; None where none were written as CSV. Raises DataError."""
        path = self.folder / HEADS_FILE
        return read_heads(path) if path.is_file() else None

    @property
    def reading(self) -> ReadOptions:
        """How the image was read when it was counted. Raises DataError where that makes no sense."""
        stored = self.content["options"].get("reading", {})
        names = {field.name for field in fields(ReadOptions)}
        try:
            known: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in stored.items() if n in names}
            return ReadOptions(**known)
        except (TypeError, AttributeError, ValueError, UsageError) as error:
            raise DataError(f"{self.folder / COUNT_FILE}: its options are damaged; count again") from error

    def beside(self, ending: str) -> Path:
        """The file of that ending that belongs to the result and outlives it: `photo.jpg.` + ending."""
        return self.folder.with_name(f"{self.folder.name.removesuffix(RESULT_ENDING)}.{ending}")

    @cached_property
    def changed(self) -> bool:
        """Whether the image is no longer the one that was counted."""
        return not is_same_image(self.image, self.content["image"])


def open_result(path: Path, image: Path | None = None) -> StoredResult:
    """The result in a folder, of a count.json, or beside an image. image: the image, where it has moved.

    Raises DataError where there is no finished result, ImageError where there is nothing or its image is gone.
    """
    if not path.exists():
        raise ImageError(f"{path}: no such file or directory")
    folder = path.parent if path.name == COUNT_FILE else path
    if folder.is_file():
        folder, image = result_folder(folder, None), image or folder
    content = ResultFolder(folder).finished()
    if content is None:
        raise DataError(f"{folder}: no finished result there; make one with gigacount count or localize")
    name = Path(content["image"]["path"]).name
    places = [image] if image else [Path(content["image"]["path"]), folder.parent / name]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise ImageError(f"{places[0]}: the image of {folder} is not there; say where it is with --image")
    return StoredResult(folder, content, found)


def read_density(path: Path, size_wh: Size) -> DensityMap:
    """The map of an image of `size_wh` that `write_density_tiff` wrote. Raises DataError."""
    import tifffile

    if not path.is_file():
        raise DataError(f"{path} is missing; count again with --format tif")
    try:
        with tifffile.TiffFile(path) as file:
            page: Any = file.pages[0]
            about, cells = json.loads(page.description), page.asarray()
        cell_px = int(about["cell_px"])
        if cell_px < 1 or cells.shape != (-(-size_wh[1] // cell_px), -(-size_wh[0] // cell_px)):
            raise ValueError(f"{cells.shape[1]} x {cells.shape[0]} cells of {cell_px} pixels")
        if cells.dtype != np.float32 or not np.isfinite(cells).all():
            raise ValueError("its values are not people per cell")
    except (ValueError, LookupError, TypeError, AttributeError, OSError, RuntimeError) as error:
        raise DataError(f"{path}: not the density map of this image ({brief(error, 100)}); count again") from error
    return DensityMap(cells, size_wh, cell_px)


def read_heads(path: Path) -> NDArray[np.float32]:
    """x, y, score (N, 3) of a points.csv. Raises DataError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of a file without heads
            heads = np.loadtxt(path, np.float32, delimiter=",", skiprows=1, usecols=(0, 1, 2), ndmin=2)
        if not np.isfinite(heads).all():
            raise ValueError("a value is not finite")
    except (ValueError, OSError) as error:
        raise DataError(f"{path}: not a file of heads ({brief(error, 100)}); locate again") from error
    return heads.reshape(-1, 3)
