"""Labelled images to cut crops from: small ones are decoded once, large ones are read where a crop falls."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from tempfile import gettempdir
from typing import Any

import numpy as np

from gigacount.datasets import Sample, read, stands_apart
from gigacount.datasets.check import OUTSIDE, check
from gigacount.datasets.entries import EMPTY, NOTICES
from gigacount.datasets.listed import read_list
from gigacount.errors import DataError, EntryError, UsageError
from gigacount.geometry import Size, Window, whole
from gigacount.image import GigaImage
from gigacount.options import TrainOptions
from gigacount.train.decoded import Decoded, Pixels

SMALL_PX = 16_000_000  # images up to this are decoded as a whole
EXAMPLES = 3  # problems of a kind that are shown

Notify = Callable[[str], None]


@dataclass
class TrainingPicture:
    """One labelled image. `decoded_once` has its pixels kept where they are few; else each crop decodes it.

    A process that is spawned with it opens the file itself.
    """

    sample: Sample
    decoded: Decoded | None = None
    number: int = 0  # in `decoded`
    _large: GigaImage | None = None
    _size_wh: Size | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_large": None, "_size_wh": None}

    def read(self, window: Window, size_wh: Size) -> Pixels:
        """uint8 (H, W, 3) of a window at `size_wh`; a window of a small image must be read at its own size."""
        width, height = self.size_wh
        if self._large is not None:
            return self._large.read(window, size_wh)
        shape = height, width, 3
        pixels = self._decode() if self.decoded is None else self.decoded.image(self.number, shape, self._decode)
        return pixels[window.top : window.bottom, window.left : window.right]

    @property
    def size_wh(self) -> Size:
        if self._size_wh is None:
            image = GigaImage.open(self.sample.image)
            width, height = self._size_wh = image.size_wh
            if width * height > SMALL_PX:
                self._large = image
            else:
                image.close()
        return self._size_wh

    @property
    def small(self) -> bool:
        width, height = self.size_wh
        return width * height <= SMALL_PX

    def _decode(self) -> Pixels:
        with GigaImage.open(self.sample.image) as image:
            return image.read(whole(image.size_wh), image.size_wh)


@contextmanager
def decoded_once(pictures: Sequence[TrainingPicture], notify: Notify) -> Iterator[None]:
    """All processes of a training share what any of them has decoded of these images, as long as the block lasts."""
    try:
        decoded = Decoded(len(pictures))
    except OSError as error:
        notify(
            f"no scratch file in {gettempdir()} ({error.strerror}): each crop decodes its image; TMPDIR is its folder"
        )
        yield
        return
    for number, picture in enumerate(pictures, 1):
        picture.decoded, picture.number = decoded, number
    try:
        yield
    finally:
        for picture in pictures:
            picture.decoded = None
        decoded.close()


@dataclass(frozen=True)
class TrainingSet:
    """One data set of a training: its share of the crops, and its images for training and for validation.

    from_above: whether they are taken straight down, and so may be turned by any angle. spec: of which several sets
    have the name, what tells them apart.
    """

    name: str
    weight: float
    train: list[TrainingPicture]
    held_out: list[TrainingPicture]
    from_above: bool = False
    spec: str = ""

    @property
    def title(self) -> str:
        """The set's own name in logs and records."""
        return self.spec or self.name


def open_sources(options: TrainOptions, notify: Notify = lambda line: None) -> list[TrainingSet]:
    """Read all labels, list what is wrong with the data, divide by a fixed seed.

    Raises DataError where a set has nothing to train on, or holds images or labels that cannot be used and are not
    to be left out; all sets are looked at first.
    """
    listed = read_list(options.held_out) if options.held_out else None
    sets = [
        (spec, weight, *checked(spec, options, notify), *validation_split(spec, options, notify))
        for spec, weight in map(split_weight, options.sets)
    ]
    total = sum(bad + bad_held for _, _, _, bad, _, bad_held in sets)
    if total and not options.skip_bad:
        raise DataError(
            f"{total} of the problems listed above must be put right before training; or leave those images out with "
            "--skip-bad"
        )
    sources: list[TrainingSet] = []
    names = [spec.split(":")[0] for spec, *_ in sets]
    for name, (spec, weight, samples, _, validation, _) in zip(names, sets, strict=True):
        pictures = [TrainingPicture(sample) for sample in samples + validation]
        if validation:
            held = set(range(len(samples), len(pictures)))
        elif listed is None:
            order = np.random.default_rng(options.seed).permutation(len(pictures))
            held = set(order[: round(options.validation * len(pictures))].tolist())
        else:
            held = {i for i, picture in enumerate(pictures) if listed.holds(name, picture.sample.image)}
        train = [picture for i, picture in enumerate(pictures) if i not in held]
        if not train:
            raise DataError(f"{spec}: no image is left to train on; lower --validation")
        held_out = [picture for i, picture in enumerate(pictures) if i in held]
        share = float(len(train)) if weight is None else weight
        above = len(sources) >= len(options.data)
        sources.append(TrainingSet(name, share, train, held_out, above, spec if names.count(name) > 1 else ""))
    return sources


def checked(spec: str, options: TrainOptions, notify: Notify, split: str | None = None) -> tuple[list[Sample], int]:
    """The samples of a data set that can be used, and how many problems must be put right; what `check` finds is told.

    Heads outside their image are in no crop, and harm nobody. A run that is resumed was checked when it was begun.
    """
    errors: list[EntryError] = []
    samples = list(read(spec, split or options.split, errors.append, options.labels))
    empty = [error for error in errors if error.kind == EMPTY]
    if empty:
        raise DataError(f"{empty[0]}; gigacount data check {spec} says more")
    if options.resume and not options.skip_bad and all(error.kind in NOTICES for error in errors):
        return samples, 0
    report = check(samples, errors)
    bad = [finding for finding in report.findings if finding.kind != OUTSIDE and not finding.notice]
    tell(spec, report.lines(EXAMPLES), notify)
    unusable = {finding.image for finding in bad}
    return [sample for sample in samples if sample.image not in unusable], len(bad)


def validation_split(spec: str, options: TrainOptions, notify: Notify) -> tuple[list[Sample], int]:
    """The data set's own images for validation, as `checked` gives them; none where it has no such split."""
    if options.held_out or options.validation == 0 or options.split != "train" or not stands_apart(spec, "val"):
        return [], 0
    return checked(spec, options, notify, "val")


def tell(spec: str, lines: Iterable[str], notify: Notify) -> None:
    lines = iter(lines)
    for line in islice(lines, 1):
        notify(f"{spec}: {line}")
    for line in lines:
        notify(f"  {line}")


def split_weight(text: str) -> tuple[str, float | None]:
    """`csv:photos@0.4` -> ("csv:photos", 0.4); a path may hold an @ of its own."""
    match = re.fullmatch(r"(.+)@(\d+|\d*\.\d+)", text)
    if not match:
        return text, None
    if float(match[2]) <= 0:
        raise UsageError(f"the weight in '{text}' must be above 0")
    return match[1], float(match[2])
