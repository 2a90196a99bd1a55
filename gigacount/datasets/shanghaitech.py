"""ShanghaiTech parts A and B (Zhang et al., CVPR 2016)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy.io import loadmat

from gigacount.datasets.sample import Sample


def read_shanghaitech(root: Path, split: str) -> Iterator[Sample]:
    folder = root / f"{split}_data"
    truth = next(f for f in (folder / "ground-truth", folder / "ground_truth") if f.is_dir())
    for image in sorted((folder / "images").glob("IMG_*.jpg"), key=lambda p: int(p.stem[4:])):
        points = loadmat(truth / f"GT_{image.stem}.mat")["image_info"][0, 0][0, 0][0]
        yield Sample(image, np.asarray(points, np.float64).reshape(-1, 2))
