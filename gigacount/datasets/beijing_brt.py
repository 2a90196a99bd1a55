"""Beijing-BRT (Ding et al. 2018): a bus platform by day and night."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy.io import loadmat

from gigacount.datasets.sample import Sample


def read_beijing_brt(root: Path, split: str) -> Iterator[Sample]:
    folder = root / split
    for image in sorted((folder / "frame").glob("*.jpg")):
        points = loadmat(folder / "ground_truth" / f"{image.stem}.mat")["loc"]
        yield Sample(image, np.asarray(points, np.float64).reshape(-1, 2))
