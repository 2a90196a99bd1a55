"""The density map as a tiled float32 TIFF that QGIS, QuPath and tifffile open, on the map where the picture is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gigacount.density import DensityMap
from gigacount.image.georeference import Georeference
from gigacount.image.geotags import GEO_DOUBLES, GEO_KEYS, GEO_TEXT, TRANSFORMATION, geo_keys

TILE = 256
SHORT, DOUBLE, ASCII = 3, 12, 2


def write_density_tiff(density: DensityMap, path: Path, georeference: Georeference | None = None) -> None:
    """People per cell as float32; cell and picture size as JSON in ImageDescription. Summing the pixels counts.

    With the georeference of the picture, a GeoTIFF. Raises OSError where writing fails.
    """
    import tifffile  # half a second, which those who write no map need not wait for

    about = {
        "unit": "people per cell",
        "cell_px": density.cell_px,
        "image_width": density.size_wh[0],
        "image_height": density.size_wh[1],
        "count": density.count,
    }
    tifffile.imwrite(
        path,
        density.cells,
        bigtiff=True,
        tile=(TILE, TILE),
        compression="zlib",
        description=json.dumps(about),
        metadata=None,
        extratags=geo_tags(georeference.scaled(density.cell_px)) if georeference else (),
    )


def geo_tags(place: Georeference) -> list[tuple[int, int, int, Any, bool]]:
    """The tags of a GeoTIFF that lies as `place` says, as tifffile takes them."""
    a, b, c, d, e, f = place.affine
    tags: list[tuple[int, int, int, Any, bool]] = [
        (TRANSFORMATION, DOUBLE, 16, (a, b, 0, c, d, e, 0, f, 0, 0, 0, 0, 0, 0, 0, 1), True)
    ]
    keys = geo_keys(place)
    tags.append((GEO_KEYS, SHORT, len(keys.directory), keys.directory, True))
    if keys.doubles:
        tags.append((GEO_DOUBLES, DOUBLE, len(keys.doubles), keys.doubles, True))
    if keys.text:
        tags.append((GEO_TEXT, ASCII, len(keys.text), keys.text, True))
    return tags
