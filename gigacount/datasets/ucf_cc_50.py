"""UCF_CC_50 (Idrees et al., CVPR 2013): fifty pictures, measured by five-fold cross-validation.

    1.jpg ... 50.jpg
    1_ann.mat ... 50_ann.mat

Labels: `annPoints`, N x 2 pixels x, y. The publication leaves the folds open; here fold k tests on the pictures
10 (k - 1) + 1 to 10 k and trains on the others: splits 'train-1' and 'test-1' to 'train-5' and 'test-5'. 'train' and
'test' are those of fold 1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from gigacount.datasets.entries import ALL, OnError, by_stem, files, pictures, read_pairs, strict
from gigacount.datasets.sample import Sample
from gigacount.datasets.ucf_qnrf import parse_ann_points
from gigacount.errors import NotFoundError

FOLD_SIZE = 10


def read_ucf_cc_50(root: Path, split: str, on_error: OnError = strict) -> Iterator[Sample]:
    match = re.fullmatch(r"(train|test)(?:-([1-5]))?", split)
    if match is None and split != ALL:
        raise NotFoundError(f"this data set has no '{split}' split, only train-1, test-1 ... train-5, test-5")
    images = by_stem(path for path in pictures(root) if path.stem.isdecimal())
    labels = by_stem(files(root, {".mat"}), suffix="_ann")
    if not images:
        raise NotFoundError(f"no pictures of UCF_CC_50: looked for {root / '1.jpg'} to 50.jpg")
    if match is not None:
        side, fold = match[1], int(match[2] or 1)
        images, labels = (
            {key: path for key, path in paths.items() if (_fold(key) == fold) == (side == "test")}
            for paths in (images, labels)
        )
    yield from read_pairs(images, labels, parse_ann_points, on_error)


def _fold(key: str) -> int:
    return (int(key) - 1) // FOLD_SIZE + 1 if key.isdecimal() else 0
