"""Labelled pictures to cut crops from: small ones are kept in memory, large ones are read where a crop falls."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gigacount.datasets import Sample, read
from gigacount.errors import DataError, UsageError
from gigacount.geometry import Size, Window, whole
from gigacount.image import GigaImage
from gigacount.options import TrainOptions

IN_MEMORY_PX = 16_000_000


@dataclass
class Picture:
    """One labelled picture; its pixels are decoded on first use and kept where they are few."""

    sample: Sample
    _pixels: NDArray[np.uint8] | None = None
    _large: GigaImage | None = None
    _size_wh: Size = (0, 0)

    def read(self, window: Window, size_wh: Size) -> NDArray[np.uint8]:
        """uint8 (H, W, 3) of a window at `size_wh`; a window of a picture in memory must be read at its own size."""
        self._open()
        if self._large is not None:
            return self._large.read(window, size_wh)
        assert self._pixels is not None
        return self._pixels[window.top : window.bottom, window.left : window.right]

    @property
    def size_wh(self) -> Size:
        self._open()
        return self._size_wh

    @property
    def in_memory(self) -> bool:
        self._open()
        return self._pixels is not None

    def _open(self) -> None:
        if self._pixels is not None or self._large is not None:
            return
        image = GigaImage.open(self.sample.image)
        self._size_wh = image.size_wh
        if image.size_wh[0] * image.size_wh[1] > IN_MEMORY_PX:
            self._large = image
            return
        with image:
            self._pixels = image.read(whole(image.size_wh), image.size_wh)


@dataclass(frozen=True)
class Source:
    """One data set of a training: its share of the crops, and its pictures for training and for validation."""

    name: str
    weight: float
    train: list[Picture]
    held_out: list[Picture]


def open_sources(options: TrainOptions) -> list[Source]:
    """Read all labels, divide by a fixed seed; raises DataError where a set has nothing to train on."""
    listed = read_held_out(options.held_out) if options.held_out else None
    sources = []
    for text in options.data:
        spec, weight = split_weight(text)
        name = spec.split(":")[0]
        pictures = [Picture(sample) for sample in read(spec, options.split)]
        if listed is None:
            order = np.random.default_rng(options.seed).permutation(len(pictures))
            held = set(order[: round(options.validation * len(pictures))].tolist())
        else:
            held = {i for i, picture in enumerate(pictures) if (name, picture.sample.image.name) in listed}
        train = [picture for i, picture in enumerate(pictures) if i not in held]
        if not train:
            raise DataError(f"{spec}: no picture is left to train on; lower --validation")
        held_out = [picture for i, picture in enumerate(pictures) if i in held]
        sources.append(Source(name, float(len(train)) if weight is None else weight, train, held_out))
    return sources


def read_held_out(file: Path) -> set[tuple[str, str]]:
    """Data set and picture names of a run's `validation.txt`. Raises DataError naming the line."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: cannot read the list of held-out pictures: {error}") from error
    pairs = [tuple(line.split("\t")) for line in lines]
    for number, pair in enumerate(pairs, 1):
        if len(pair) != 2:
            raise DataError(f"{file}, line {number}: expected a data set, a tab and a picture's file name")
    return {(name, picture) for name, picture in pairs}


def split_weight(text: str) -> tuple[str, float | None]:
    """`csv:photos@0.4` -> ("csv:photos", 0.4); a path may hold an @ of its own."""
    match = re.fullmatch(r"(.+)@(\d+|\d*\.\d+)", text)
    if not match:
        return text, None
    if float(match[2]) <= 0:
        raise UsageError(f"the weight in '{text}' must be above 0")
    return match[1], float(match[2])
