"""Finished results of small pictures, for tests of what is done with results."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from gigacount.density import DensityMap
from gigacount.geometry import View, whole
from gigacount.key import content_hash, image_identity
from gigacount.options import CountOptions
from gigacount.output.folder import ResultFolder, result_folder
from gigacount.output.writers import write_result
from gigacount.points import Points
from gigacount.results import CountResult, Interval, Located, LocatedHeads, Looked

SIZE = (1603, 1201)


def crowd() -> DensityMap:
    """About 300 people, most of them in a corner."""
    density = DensityMap.empty(SIZE)
    rows, cols = np.indices(density.cells.shape)
    density.cells[:] = 240 * np.exp(-((rows - 40) ** 2 + (cols - 50) ** 2) / 800) / 2513 + 60 / density.cells.size
    return density


CROWD = crowd()


def crowd_result(image: Path, density: DensityMap = CROWD, heads: int = 0) -> CountResult:
    """A result as counting makes it; with so many located heads."""
    rng = np.random.default_rng(3)
    xy = (rng.random((heads, 2)) * SIZE).astype(np.float32)
    zeros = np.zeros(heads, np.int32)
    points = Points(xy, rng.random(heads).astype(np.float32), zeros, zeros)
    none = Located(0.0, 0.0, 0)
    return CountResult(
        image=image,
        density=density,
        looked=[Looked(View(whole(SIZE), SIZE), density.count)],
        networks={"network": {"name": "light", "sha256": "a" * 64, "record": "b"}},
        options=CountOptions(),
        identity=image_identity(image) | content_hash(image),
        key="0123456789abcdef",
        inferences=1,
        device="cpu",
        precision="fp32",
        backend="torch",
        seconds={"total": 1.5},
        heads=LocatedHeads(points, {}, none) if heads else None,
        preview=np.full((600, 800, 3), 120, np.uint8),
        interval=Interval(220.0, 420.0, 0.9, "4% by how close people stand", ("a <doubt>",)),
        notes=("a <note>",),
    )


def stored_result(
    folder: Path, density: DensityMap = CROWD, heads: int = 0, name: str = "crowd.png", formats: tuple[str, ...] = ()
) -> Path:
    """The result folder of a picture that is made in `folder`, or stands there."""
    image = folder / name
    if not image.exists():
        spots = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8))
        spots.resize(SIZE, Image.Resampling.BILINEAR).save(image, compress_level=1)
    target = ResultFolder(result_folder(image, None))
    formats = (*formats, "tif", *(("csv",) if heads else ()))
    write_result(crowd_result(image, density, heads), target, formats)
    return target.path
