"""What is wrong with a data set, counted and named before training starts."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gigacount.datasets import read
from gigacount.datasets.entries import ALL, NOTICES, UNREADABLE, Sample
from gigacount.errors import EntryError, ImageError
from gigacount.geometry import Size, whole
from gigacount.image import GigaImage
from gigacount.options import LabelOptions

SIZE_DIFFERS = "size that differs from the labels"
OUTSIDE = "head outside the image"
REPEATED = "head on the same position as another"
SAME_FILE = "image that is a copy"
ALIKE = "image that looks like another"

OWN_NOTICES = frozenset({REPEATED, SAME_FILE, ALIKE})

HASH_SIDE = 16
OVERSAMPLING = 4  # reading straight at 17 x 16 leaves aliasing, which differs between sizes of one image
# Of 256 bits. Measured: two known pairs in ShanghaiTech A differ by 5 and 13, unrelated photographs by 76 or more.
ALIKE_BITS = 24


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: its kind, one line that names the file, how often it occurs there, and the image."""

    kind: str
    message: str
    times: int = 1
    image: Path | None = None

    @property
    def notice(self) -> bool:
        """Whether it is worth a look, but training can go on."""
        return self.kind in NOTICES | OWN_NOTICES


@dataclass(frozen=True)
class CheckReport:
    """What `check` saw. images, heads: of samples that could be read; empty: images without a head."""

    images: int
    heads: int
    empty: int
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        return all(finding.notice for finding in self.findings)

    def counts(self) -> dict[str, int]:
        """How often each kind of finding occurs, the most frequent first."""
        counts: Counter[str] = Counter()
        for finding in self.findings:
            counts[finding.kind] += finding.times
        return dict(counts.most_common())

    def lines(self, most: int = 10) -> Iterator[str]:
        """The report for a reader: totals, then each kind with its count and at most `most` examples."""
        yield f"{self.images} images, {self.heads} heads, {self.empty} images without a head"
        for kind, count in self.counts().items():
            those = [finding for finding in self.findings if finding.kind == kind]
            yield f"{count} x {kind}"
            yield from (f"  {finding.message}" for finding in islice(those, most))
            if len(those) > most:
                yield f"  ... and {len(those) - most} more"


def check_dataset(spec: str, split: str = ALL, options: LabelOptions | None = None) -> CheckReport:
    errors: list[EntryError] = []
    return check(read(spec, split, errors.append, options), errors)


def check(samples: Iterable[Sample], errors: Iterable[EntryError] = ()) -> CheckReport:
    """Check labels against images, each read once at low resolution, and images against each other.

    errors: what the reader of the samples reported; looked at after the last sample.
    """
    images = heads = empty = 0
    findings: list[Finding] = []
    looks: dict[Path, NDArray[np.float32]] = {}
    for sample in samples:
        images += 1
        heads += len(sample.points_xy)
        empty += len(sample.points_xy) == 0
        try:
            size_wh, looks[sample.image] = _look(sample.image)
            findings += _against_size(sample, size_wh)
        except ImageError as error:
            findings.append(Finding(UNREADABLE, str(error), image=sample.image))
        findings += _repeated(sample)
    findings += _alike(looks)
    findings += [Finding(error.kind, str(error), error.times) for error in errors]
    return CheckReport(images, heads, empty, tuple(findings))


def _look(path: Path) -> tuple[Size, NDArray[np.float32]]:
    """An image's size, and its difference hash: 1 where one of 16 x 16 cells is darker than the next, else -1."""
    with GigaImage.open(path) as image:
        rows, cols, n = HASH_SIDE, HASH_SIDE + 1, OVERSAMPLING
        pixels = image.read(whole(image.size_wh), (cols * n, rows * n))
        grey = pixels.reshape(rows, n, cols, n * 3).mean(axis=(1, 3))  # (16, 17)
        return image.size_wh, np.where(grey[:, 1:] > grey[:, :-1], 1, -1).astype(np.float32).ravel()


def _against_size(sample: Sample, size_wh: Size) -> Iterator[Finding]:
    if sample.size_wh is not None and tuple(sample.size_wh) != tuple(size_wh):
        stated = f"{sample.size_wh[0]} x {sample.size_wh[1]}"
        message = f"{sample.image}: {size_wh[0]} x {size_wh[1]} pixels, but {stated} in {sample.labels}"
        yield Finding(SIZE_DIFFERS, message, image=sample.image)
    outside = np.flatnonzero(((sample.points_xy < 0) | (sample.points_xy > size_wh)).any(axis=1))
    if len(outside):
        message = f"{_some(sample, outside)} outside its {size_wh[0]} x {size_wh[1]} pixels"
        yield Finding(OUTSIDE, message, len(outside))


def _repeated(sample: Sample) -> Iterator[Finding]:
    _, first = np.unique(sample.points_xy, axis=0, return_index=True)
    repeated = np.setdiff1d(np.arange(len(sample.points_xy)), first)
    if len(repeated):
        yield Finding(REPEATED, f"{_some(sample, repeated)} where another is", len(repeated))


def _some(sample: Sample, chosen: NDArray[np.int64]) -> str:
    x, y = sample.points_xy[chosen[0]]
    return f"{sample.image}: {len(chosen)} of {len(sample.points_xy)} heads, such as that at ({x:g}, {y:g}),"


def _alike(looks: dict[Path, NDArray[np.float32]]) -> Iterator[Finding]:
    """Each image that is a copy of an earlier one or looks like it, with the earliest such image."""
    paths = list(looks)
    if not paths:
        return
    hashes = np.stack(list(looks.values()))  # (N, 256)
    enough = hashes.shape[1] - 2 * ALIKE_BITS  # of the scalar product, which falls by 2 with each bit that differs
    digests: dict[int, str] = {}

    def digest(i: int) -> str:
        if i not in digests:
            with paths[i].open("rb") as file:
                digests[i] = hashlib.file_digest(file, "blake2b").hexdigest()
        return digests[i]

    for i in range(1, len(paths)):
        alike = np.flatnonzero(hashes[:i] @ hashes[i] >= enough).tolist()
        same = next((j for j in alike if digest(i) == digest(j)), None)
        if same is not None:
            yield Finding(SAME_FILE, f"{paths[i]}: the same file as {paths[same]}")
        elif alike:
            yield Finding(ALIKE, f"{paths[i]}: looks like {paths[alike[0]]}")
