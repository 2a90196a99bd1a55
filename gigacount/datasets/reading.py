"""From what labels say to samples: pixels of the upright image, images inside the set, each of them once."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from gigacount.datasets.entries import (
    CLAIMED_TWICE,
    ELSEWHERE,
    EMPTY,
    NO_PIXELS,
    NOT_A_NUMBER,
    PASSED_OVER,
    TURNED,
    UNREADABLE,
    Entry,
    LabelledHeads,
    OnError,
    Positions,
    Reader,
    Sample,
    shown,
)
from gigacount.datasets.forms import set_folder
from gigacount.errors import EntryError, ImageError, NotFoundError
from gigacount.geometry import Size
from gigacount.image import GigaImage
from gigacount.image.info import ORIENTATIONS, Orientation
from gigacount.options import LabelOptions

PERCENT = 100
MIN_HEADS = 8  # heads that must all lie within 100 x 100 before they are taken for percentages, in images
MIN_SIDE_PX = 300  # of at least so many pixels


def samples(
    reader: Reader, spec: str, path: Path, split: str, on_error: OnError, options: LabelOptions
) -> Iterator[Sample]:
    """The samples that `reader` finds at `path`; what cannot be used, and what is to be told, goes to `on_error`."""
    empty = True
    seen: dict[str, Entry] = {}
    passed: Counter[str] = Counter()
    extents: list[tuple[int, float, int]] = []  # of each image with heads: how many, largest coordinate, least side
    try:
        for entry in reader(path, split, on_error):
            try:
                _require_own(entry, seen, path, options)
                sample, size_wh = place(entry, on_error, options)
            except EntryError as error:
                on_error(error)
                continue
            passed.update(entry.heads.passed)
            if len(sample.points_xy) and size_wh:
                extents.append((len(sample.points_xy), float(sample.points_xy.max()), min(size_wh)))
            empty = False
            yield sample
        for what, times in passed.most_common():
            on_error(EntryError(PASSED_OVER, f"{spec}: {times} x {what}", times))
        if problem := _percentages(extents):
            on_error(EntryError(NO_PIXELS, f"{spec}: {problem}"))
    except EntryError as error:  # a label file that serves many images
        on_error(error)
    except NotFoundError as error:
        raise NotFoundError(f"{spec}: {error}") from error
    else:
        if empty:
            on_error(EntryError(EMPTY, f"{spec}: no labelled images in its '{split}' split"))


def _require_own(entry: Entry, seen: dict[str, Entry], path: Path, options: LabelOptions) -> None:
    """Raise EntryError for an image that another label file has claimed, or that labels name outside their set."""
    real = os.path.realpath(entry.image)
    earlier = seen.setdefault(real, entry)
    if earlier is not entry:
        both = f"{earlier.labels} and {entry.labels}"
        raise EntryError(CLAIMED_TWICE, f"{entry.image}: claimed by {both}; name each image once")
    folder = set_folder(path)
    if entry.name is not None and not options.trust_paths and not Path(real).is_relative_to(folder.resolve()):
        message = f"{entry.labels}: '{shown(entry.name)}' is {real}, outside {folder}; move it there, or --trust-paths"
        raise EntryError(ELSEWHERE, message)


def place(entry: Entry, on_error: OnError, options: LabelOptions) -> tuple[Sample, Size | None]:
    """The sample of an entry, and its image's size, None where it cannot be read, which others will say.

    Raises EntryError for positions that are not finite or cannot be pixels.
    """
    heads = entry.heads
    values = heads.points_xy if heads.boxes_xyxy is None else np.hstack([heads.points_xy, heads.boxes_xyxy])
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(bad):
        message = (
            f"{entry.labels}: head {bad[0] + 1} of {len(values)} in {entry.image.name} is not at a finite position"
        )
        raise EntryError(NOT_A_NUMBER, message)
    try:
        with GigaImage.open(entry.image) as image:
            size_wh, orientation = image.size_wh, image.info.orientation
    except ImageError as error:
        if heads.fractions:
            raise EntryError(UNREADABLE, str(error)) from error
        return _sample(entry, heads), None
    points = heads.points_xy
    if not heads.fractions and len(np.unique(points, axis=0)) > 1 and points.min() >= 0 and points.max() <= 1:
        message = f"{entry.labels}: all {len(points)} heads of {entry.image.name} lie between 0 and 1, as fractions do"
        raise EntryError(NO_PIXELS, f"{message}; positions must be in pixels")
    turn = ORIENTATIONS[orientation]
    stored_wh = turn.size(size_wh)
    if orientation != 1 and _lies_stored(entry, size_wh, stored_wh, options, on_error):
        heads = _turned(heads, turn, stored_wh)
    if heads.fractions:
        boxes = None if heads.boxes_xyxy is None else heads.boxes_xyxy * np.tile(size_wh, 2)
        heads = replace(heads, points_xy=heads.points_xy * size_wh, boxes_xyxy=boxes)
    return _sample(entry, heads), size_wh


def _sample(entry: Entry, heads: LabelledHeads) -> Sample:
    return Sample(entry.image, heads.points_xy, heads.boxes_xyxy, heads.size_wh, entry.labels, heads.region_xy)


def _lies_stored(entry: Entry, size_wh: Size, stored_wh: Size, options: LabelOptions, on_error: OnError) -> bool:
    """Whether the labels of an image that EXIF turns lie on the image as stored."""
    if options.orientation is not None:
        return options.orientation == "stored"
    stated = entry.heads.size_wh
    if size_wh != stored_wh and stated in (size_wh, stored_wh):
        return stated == stored_wh
    if len(entry.heads.points_xy):
        message = (
            f"{entry.image}: taken as upright; say --labels-orientation upright, or stored if heads lie beside people"
        )
        on_error(EntryError(TURNED, message))
    return False


def _turned(heads: LabelledHeads, turn: Orientation, stored_wh: Size) -> LabelledHeads:
    """Heads on the image as stored, on the upright one: the axes swapped, then mirrored."""
    upright_wh = (1, 1) if heads.fractions else turn.size(stored_wh)

    def upright(points: Positions) -> Positions:
        turned = points[:, ::-1] if turn.swap else points
        mirrored = np.array([turn.mirror_x, turn.mirror_y])
        return np.where(mirrored, np.array(upright_wh) - turned, turned)

    boxes = heads.boxes_xyxy
    if boxes is not None:
        corners = upright(boxes[:, :2]), upright(boxes[:, 2:])
        boxes = np.hstack([np.minimum(*corners), np.maximum(*corners)])
    stated = turn.size(heads.size_wh) if heads.size_wh == stored_wh else heads.size_wh
    return replace(heads, points_xy=upright(heads.points_xy), boxes_xyxy=boxes, size_wh=stated)


def _percentages(extents: list[tuple[int, float, int]]) -> str:
    """What is wrong where all heads of a set lie within 100 x 100 pixels of images that are much larger."""
    many, furthest = sum(many for many, _, _ in extents), max((most for _, most, _ in extents), default=np.inf)
    if many < MIN_HEADS or furthest > PERCENT or min(side for _, _, side in extents) < MIN_SIDE_PX:
        return ""
    unit = "fractions" if furthest <= 1 else "percentages"
    return f"all {many} heads lie within 0 to {furthest:.3g}, as {unit} of the sides do; positions must be in pixels"
