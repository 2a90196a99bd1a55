"""The density map as a tiled float32 TIFF that QGIS, QuPath and tifffile open."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyvips

from gigacount.density import DensityMap
from gigacount.output.failures import system_errors


def write_density_tiff(density: DensityMap, path: Path) -> None:
    """People per cell as float32; cell and picture size as JSON in ImageDescription. Summing the pixels counts.

    Raises OSError where that fails.
    """
    rows, cols = density.cells.shape
    picture = pyvips.Image.new_from_memory(np.ascontiguousarray(density.cells).data, cols, rows, 1, "float")
    picture = picture.copy(interpretation="b-w")
    about = {
        "unit": "people per cell",
        "cell_px": density.cell_px,
        "image_width": density.size_wh[0],
        "image_height": density.size_wh[1],
        "count": density.count,
    }
    picture.set_type(pyvips.GValue.gstr_type, "image-description", json.dumps(about))
    with system_errors():
        picture.tiffsave(
            str(path),
            tile=True,
            tile_width=256,
            tile_height=256,
            compression="deflate",
            predictor="float",
            bigtiff=True,
        )
