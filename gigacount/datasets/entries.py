"""Pictures and label files brought together, and what happens to an entry that cannot be used.

Every reader takes an `on_error`, as `os.walk` does: by default the first picture or label file that cannot be used
raises its `EntryError`; with a list's `append` the reader goes on to the next, which is how `data check` sees all.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from gigacount.datasets.sample import Boxes, Points, Sample
from gigacount.errors import EntryError, NotFoundError

NO_LABELS = "picture without labels"
NO_PICTURE = "labels without a picture"
BAD_LABELS = "bad label file"
NOT_A_NUMBER = "position that is not a number"
UNREADABLE = "unreadable picture"
EMPTY = "no labelled pictures"

ALL = "all"
SPLITS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}  # split -> names of its folder
PICTURE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp", ".jp2", ".ppm", ".svs", ".ndpi"}
)

OnError = Callable[[EntryError], None]
Reader = Callable[[Path, str, OnError], Iterator[Sample]]


def strict(error: EntryError) -> None:
    """Raise it, except for labels whose picture is absent, which harm nobody."""
    if error.kind != NO_PICTURE:
        raise error


@dataclass(frozen=True)
class Heads:
    """What a label file says about one picture; fields as in `Sample`."""

    points_xy: Points
    boxes_xyxy: Boxes | None = None
    size_wh: tuple[int, int] | None = None

    def of(self, image: Path, labels: Path) -> Sample:
        """The sample of a picture; EntryError if a position is not a finite number."""
        values = self.points_xy if self.boxes_xyxy is None else np.hstack([self.points_xy, self.boxes_xyxy])
        bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
        if len(bad):
            message = f"{labels}: head {bad[0] + 1} of {len(values)} in {image.name} is not at a finite position"
            raise EntryError(NOT_A_NUMBER, message)
        return Sample(image, self.points_xy, self.boxes_xyxy, self.size_wh, labels)


def points_only(points: ArrayLike) -> Heads:
    """Heads from (N, 2) positions; an empty array of any shape is nobody. ValueError if they are not N x 2 numbers."""
    array = np.asarray(points, np.float64)
    if array.size and (array.ndim != 2 or array.shape[1] != 2):
        raise ValueError(f"positions are not N x 2 but {' x '.join(map(str, array.shape))}")
    return Heads(array.reshape(-1, 2))


def from_boxes(boxes: ArrayLike, size_wh: tuple[int, int] | None = None) -> Heads:
    """Heads at the centres of (N, 4) boxes: left, top, right, bottom."""
    array = np.asarray(boxes, np.float64).reshape(-1, 4)
    return Heads(array[:, :2] / 2 + array[:, 2:] / 2, array, size_wh)  # halved first: sums of huge ones are infinite


def mixed(
    points: Sequence[Sequence[float]], boxes: Sequence[Sequence[float]], size_wh: tuple[int, int] | None
) -> Heads:
    """Heads of which some are boxes and some points; they keep their boxes only where all have one."""
    if not points:
        return from_boxes(boxes, size_wh)
    positions = np.asarray(points, np.float64).reshape(-1, 2)
    return Heads(np.concatenate([from_boxes(boxes).points_xy, positions]), None, size_wh)


def read_pairs(
    images: Mapping[str, Path], labels: Mapping[str, Path], parse: Callable[[Path], Heads], on_error: OnError
) -> Iterator[Sample]:
    """Samples of a set with one label file per picture; both are given by the key that they have in common."""
    for key, image in images.items():
        try:
            if key not in labels:
                example = f" (others are like {next(iter(labels.values()))})" if labels else ""
                raise EntryError(NO_LABELS, f"{image}: no label file for it{example}")
            yield parse(labels[key]).of(image, labels[key])
        except EntryError as error:
            on_error(error)
    for key, path in labels.items():
        if key not in images:
            on_error(EntryError(NO_PICTURE, f"{path}: no picture for it"))


def read_listed(
    entries: Iterable[tuple[str, Callable[[], Heads]]], labels: Path, folders: Sequence[Path], on_error: OnError
) -> Iterator[Sample]:
    """Samples of a label file that names its pictures, which are looked for in `folders`."""
    for name, heads in entries:
        image = find_picture(name, folders)
        try:
            if image is None:
                looked = ", ".join(map(str, folders))
                raise EntryError(NO_PICTURE, f"{labels}: picture '{name}' is in none of: {looked}")
            yield heads().of(image, labels)
        except EntryError as error:
            on_error(error)


def report_unlisted(samples: Iterable[Sample], split: str, on_error: OnError) -> Iterator[Sample]:
    """Pass samples on, then report pictures beside them that no label file named.

    Only where all splits are read: the pictures of another split may lie in the same folder.
    """
    seen: dict[Path, Path | None] = {}
    for sample in samples:
        seen[sample.image] = sample.labels
        yield sample
    if split != ALL:
        return
    for folder in dict.fromkeys(image.parent for image in seen):
        for image in pictures(folder):
            if image not in seen:
                on_error(EntryError(NO_LABELS, f"{image}: not named in {next(iter(seen.values()))}"))


def find_picture(name: str, folders: Sequence[Path]) -> Path | None:
    """The picture that a label file calls `name`, by its path inside one of `folders` or else by its file name."""
    inside = Path(name.replace("\\", "/"))
    candidates = [folder / path for path in (inside, Path(inside.name)) for folder in folders]
    return next((path for path in candidates if os.path.isfile(path)), None)  # noqa: PTH113  no error for names that are too long


def pictures(folder: Path) -> list[Path]:
    """The pictures in a folder, in natural order: 2.jpg before 10.jpg."""
    return files(folder, PICTURE_SUFFIXES)


def files(folder: Path, suffixes: frozenset[str] | set[str]) -> list[Path]:
    """Files with one of these suffixes, in lower or upper case, in natural order; none if there is no such folder."""
    if not folder.is_dir():
        return []
    return sorted((p for p in folder.iterdir() if p.suffix.lower() in suffixes and p.is_file()), key=natural)


def natural(path: Path | str) -> tuple[list[tuple[int, str]], str]:
    """Sort key under which numbers inside names count as numbers."""
    parts = re.findall(r"[0-9]+|[^0-9]+", str(path))
    return [(int(part), "") if part[0] in "0123456789" else (-1, part) for part in parts], str(path)


def by_stem(paths: Iterable[Path], prefix: str = "", suffix: str = "") -> dict[str, Path]:
    """Paths by their stem without `prefix` and `suffix`; those whose stem lacks them are left out."""
    return {
        path.stem[len(prefix) : len(path.stem) - len(suffix)]: path
        for path in paths
        if path.stem.startswith(prefix) and path.stem.endswith(suffix)
    }


def choose(split: str, places: Mapping[str, Path]) -> list[Path]:
    """The folder or file of a split, or those of all that are there for 'all'; NotFoundError says where it looked."""
    present = {name: place for name, place in places.items() if place.exists()}
    if split == ALL and present:
        return list(present.values())
    if split in present:
        return [present[split]]
    if split in places or split == ALL:
        looked = ", ".join(str(place) for name, place in places.items() if split in (name, ALL))
        raise NotFoundError(f"no '{split}' split: looked for {looked}; give the folder that holds it")
    raise NotFoundError(f"this data set has no '{split}' split, only {', '.join(places)}")


def divided(folder: Path, split: str) -> list[Path]:
    """The folders of a split inside `folder`; `folder` itself where it is not divided into train, val and test."""
    places = {
        name: next((folder / name for name in names if (folder / name).is_dir()), folder / name)
        for name, names in SPLITS.items()
    }
    if not any(place.is_dir() for place in places.values()):
        return [folder]
    return choose(split, places)
