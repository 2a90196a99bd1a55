"""Images and label files brought together, and what happens to an entry that cannot be used.

Every reader takes an `on_error`, as `os.walk` does: by default the first image or label file that cannot be used
raises its `EntryError`; with a list's `append` the reader goes on to the next, which is how `data check` sees all.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gigacount.errors import EntryError, NotFoundError

Positions = NDArray[np.float64]
Boxes = NDArray[np.float64]


@dataclass(frozen=True)
class Sample:
    """An image and its heads.

    image: file path. points_xy: (N, 2) head positions in pixels of the upright image, x right, y down.
    boxes_xyxy: (N, 4) head boxes (left, top, right, bottom) in pixels, or None where the set has only points.
    size_wh: the image's size according to its labels, or None where they do not say.
    labels: the file that holds the labels, or None for a set without label files.
    region_xy: (V, 2) corners of the part of the image in which the data set's protocol counts; None is all of it.
    """

    image: Path
    points_xy: Positions
    boxes_xyxy: Boxes | None = None
    size_wh: tuple[int, int] | None = None
    labels: Path | None = None
    region_xy: Positions | None = None

    @property
    def name(self) -> str:
        return self.image.stem


NO_LABELS = "image without labels"
NO_IMAGE = "labels without an image"
BAD_LABELS = "bad label file"
NOT_A_NUMBER = "position that is not a number"
NO_PIXELS = "positions that are not pixels"
UNREADABLE = "unreadable image"
CLAIMED_TWICE = "image that two entries claim"
ELSEWHERE = "image outside the data set"
EMPTY = "no labelled images"

PASSED_OVER = "shape left out"
NO_ENTRY = "annotation of no image in the file"
REPEATED_ID = "annotation id that occurs twice"
ASSUMED = "only class, taken for people"
TURNED = "turned image whose labels do not say which way"
NOTICES = frozenset({NO_IMAGE, PASSED_OVER, NO_ENTRY, REPEATED_ID, ASSUMED, TURNED})
"""What is worth a look, but harms nobody."""

ALL = "all"
SPLITS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}  # split -> names of its folder
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp", ".jp2", ".ppm", ".svs", ".ndpi"})

OnError = Callable[[EntryError], None]

MAX_SHOWN = 160


def shown(text: object, most: int = MAX_SHOWN) -> str:
    """Text of a file for a message: one line, at most so long, control characters escaped."""
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text)[: most + 1])
    return line if len(line) <= most else f"{line[: most - 3]}..."


def strict(error: EntryError) -> None:
    if error.kind not in NOTICES:
        raise error


@dataclass(frozen=True)
class LabelledHeads:
    """What a label file says about one image.

    points_xy, boxes_xyxy, size_wh as in `Sample`, but in the unit and the orientation of the labels. fractions: they
    are fractions of the image's sides. region_xy: see `Sample`. passed: how many shapes of which kind are no heads.
    """

    points_xy: Positions
    boxes_xyxy: Boxes | None = None
    size_wh: tuple[int, int] | None = None
    fractions: bool = False
    passed: Mapping[str, int] = field(default_factory=dict)
    region_xy: Positions | None = None


@dataclass(frozen=True)
class Entry:
    """An image with what its labels say. name: what the labels call the image, None where they do not name it."""

    image: Path
    labels: Path | None
    heads: LabelledHeads
    name: str | None = None


Reader = Callable[[Path, str, OnError], Iterator[Entry]]


def points_only(points: ArrayLike) -> LabelledHeads:
    """Heads from (N, 2) positions; an empty array of any shape is nobody. ValueError if they are not N x 2 numbers."""
    array = np.asarray(points, np.float64)
    if array.size and (array.ndim != 2 or array.shape[1] != 2):
        raise ValueError(f"positions are not N x 2 but {' x '.join(map(str, array.shape))}")
    return LabelledHeads(array.reshape(-1, 2))


def from_boxes(boxes: ArrayLike, size_wh: tuple[int, int] | None = None) -> LabelledHeads:
    """Heads at the centres of (N, 4) boxes: left, top, right, bottom."""
    array = np.asarray(boxes, np.float64).reshape(-1, 4)
    return LabelledHeads(
        array[:, :2] / 2 + array[:, 2:] / 2, array, size_wh
    )  # halved first: sums of huge ones are infinite


def read_pairs(
    images: Mapping[str, Path], labels: Mapping[str, Path], parse: Callable[[Path], LabelledHeads], on_error: OnError
) -> Iterator[Entry]:
    """Entries of a set with one label file per image; both are given by the key that they have in common."""
    for key, image in images.items():
        try:
            if key not in labels:
                example = f" (others are like {next(iter(labels.values()))})" if labels else ""
                raise EntryError(NO_LABELS, f"{image}: no label file for it{example}")
            yield Entry(image, labels[key], parse(labels[key]))
        except EntryError as error:
            on_error(error)
    for key, path in labels.items():
        if key not in images:
            on_error(EntryError(NO_IMAGE, f"{path}: no image for it"))


@dataclass(frozen=True)
class Claim:
    """What a label file says of the image that it calls `name`, to be looked for in `folders`."""

    name: str
    labels: Path
    folders: Sequence[Path]
    heads: Callable[[], LabelledHeads]


def read_listed(
    entries: Iterable[tuple[str, Callable[[], LabelledHeads]]], labels: Path, folders: Sequence[Path], on_error: OnError
) -> Iterator[Entry]:
    yield from read_claims([Claim(name, labels, folders, heads) for name, heads in entries], on_error)


def read_claims(claims: Sequence[Claim], on_error: OnError) -> Iterator[Entry]:
    """The entries of label files that name their images; an image that two of them claim is given to neither."""
    found = [find_image(claim.name, claim.folders) for claim in claims]
    claimed: dict[str, list[int]] = {}
    for number, image in enumerate(found):
        if image is not None:
            claimed.setdefault(os.path.realpath(image), []).append(number)
    for number, (claim, image) in enumerate(zip(claims, found, strict=True)):
        try:
            if image is None:
                looked = ", ".join(map(str, claim.folders))
                raise EntryError(NO_IMAGE, f"{claim.labels}: image '{shown(claim.name)}' is in none of: {looked}")
            those = claimed[os.path.realpath(image)]
            if len(those) > 1:
                if number == those[0]:
                    both = " and ".join(f"entry {i + 1} '{shown(claims[i].name)}' of {claims[i].labels}" for i in those)
                    raise EntryError(CLAIMED_TWICE, f"{image}: claimed by {both}; name each image once")
                continue
            yield Entry(image, claim.labels, claim.heads(), claim.name)
        except EntryError as error:
            on_error(error)


def report_unlisted(entries: Iterable[Entry], split: str, on_error: OnError) -> Iterator[Entry]:
    """Pass entries on, then, where all splits are read, report images beside them that no label file named."""
    seen: dict[Path, Path | None] = {}
    for entry in entries:
        seen[entry.image] = entry.labels
        yield entry
    if split != ALL:
        return
    for folder in dict.fromkeys(image.parent for image in seen):
        for image in images_in(folder):
            if image not in seen:
                on_error(EntryError(NO_LABELS, f"{image}: not named in {next(iter(seen.values()))}"))


def find_image(name: str, folders: Sequence[Path]) -> Path | None:
    """The image that a label file calls `name`: by its path inside one of `folders`, or by as much of the end of that
    path as is there (the folders before it may be those of another machine), or at the path itself."""
    parts = [part for part in PureWindowsPath(name).parts if part != PureWindowsPath(name).anchor]
    ends = [Path(*parts[start:]) for start in range(len(parts))]
    candidates = [folder / end for end in ends for folder in folders] + [Path(name)]
    return next((path for path in candidates if os.path.isfile(path)), None)  # noqa: PTH113  no error for names that are too long


def images_in(folder: Path) -> list[Path]:
    return files(folder, IMAGE_SUFFIXES)


def files(folder: Path, suffixes: frozenset[str] | set[str]) -> list[Path]:
    """Files with one of these suffixes, in lower or upper case, in natural order; none if there is no such folder."""
    if not folder.is_dir():
        return []
    return sorted((p for p in folder.iterdir() if p.suffix.lower() in suffixes and p.is_file()), key=natural)


def folders(folder: Path) -> list[Path]:
    """The folders in a folder, in natural order; none if there is no such folder."""
    return sorted((p for p in folder.iterdir() if p.is_dir()), key=natural) if folder.is_dir() else []


def natural(path: Path | str) -> tuple[list[tuple[int, str]], str]:
    """Sort key under which numbers inside names count as numbers."""
    parts = re.findall(r"[0-9]+|[^0-9]+", str(path))
    return [(len(p := part.lstrip("0")), p) if part[0] in "0123456789" else (-1, part) for part in parts], str(path)


def by_stem(paths: Iterable[Path], on_error: OnError, prefix: str = "", suffix: str = "") -> dict[str, Path]:
    """Paths by their stem without `prefix` and `suffix`; those whose stem lacks them are left out.

    Of two of one stem nobody can say which labels belong to which image: that is told, and both are left out.
    """
    found: dict[str, list[Path]] = {}
    for path in paths:
        if path.stem.startswith(prefix) and path.stem.endswith(suffix):
            found.setdefault(path.stem[len(prefix) : len(path.stem) - len(suffix)], []).append(path)
    for same in found.values():
        if len(same) > 1:
            both = " and ".join(map(str, same))
            on_error(EntryError(CLAIMED_TWICE, f"{both} have the same name; labels cannot tell them apart"))
    return {key: same[0] for key, same in found.items() if len(same) == 1}


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
    places = {name: [p for p in folders(folder) if p.name.lower() in names] for name, names in SPLITS.items()}
    if not any(places.values()):
        return [folder]
    chosen = [place for name, found in places.items() if split in (name, ALL) for place in found]
    return chosen or choose(split, {name: folder / name for name in SPLITS})
