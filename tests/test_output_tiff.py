"""density.tif: what it holds, and that it lies on the map where the picture does, as GDAL sees it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gigacount.density import DensityMap
from gigacount.image.georeference import Georeference
from gigacount.image.geotags import System, georeference_of, wkt_system
from gigacount.output.writers import write_density_tiff

rasterio = pytest.importorskip("rasterio")
pytest.importorskip("rasterio.warp")
pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul")

SIZE = (3001, 1999)
UTM = Georeference((0.05, 0.01, 500_000, 0.01, -0.05, 5_400_000), "EPSG:32633", metres_per_unit=1)


def density(cell_px: int = 8) -> DensityMap:
    canvas = DensityMap.empty(SIZE, cell_px)
    canvas.cells[100 * 8 // cell_px, 200 * 8 // cell_px] = 3.5
    return canvas


@pytest.mark.parametrize("cell_px", [8, 16])
def test_the_map_lies_on_the_picture(cell_px: int, tmp_path: Path) -> None:
    write_density_tiff(density(cell_px), tmp_path / "density.tif", UTM)
    with rasterio.open(tmp_path / "density.tif") as file:
        cells = file.read(1)
        assert file.crs == rasterio.crs.CRS.from_epsg(32633)
        row, col = np.argwhere(cells == 3.5)[0]
        there = file.xy(row, col)
    assert cells.sum() == 3.5
    middle = np.array([[(200 * 8 // cell_px + 0.5) * cell_px, (100 * 8 // cell_px + 0.5) * cell_px]])
    np.testing.assert_allclose(there, UTM.to_map(middle)[0], atol=1e-6)


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:2263", "ESRI:102003", "+proj=laea +lat_0=10 +lon_0=5"])
@pytest.mark.parametrize("point", [False, True])
def test_any_system_of_a_geotiff_is_that_of_its_map(crs: str, point: bool, tmp_path: Path) -> None:
    image, path = tmp_path / "a.tif", tmp_path / "density.tif"
    place = rasterio.Affine(1e-6, 0, 13.4, 0, -1e-6, 52.5)
    options: dict[str, Any] = {"crs": crs, "transform": place, "driver": "GTiff", "count": 1, "dtype": "uint8"}
    with rasterio.open(image, "w", width=SIZE[0], height=SIZE[1], **options) as file:
        if point:
            file.update_tags(AREA_OR_POINT="Point")
    write_density_tiff(density(), path, georeference_of(image, SIZE))
    with rasterio.open(path) as made, rasterio.open(image) as given:
        assert made.crs == given.crs
        assert tuple(made.transform)[:6] == pytest.approx(
            tuple(given.transform @ rasterio.Affine.scale(8))[:6], rel=1e-12
        )


@pytest.mark.parametrize("crs", ["ESRI:102003", "+proj=laea +lat_0=10 +lon_0=5", "+proj=longlat +a=6378000 +b=6350000"])
def test_a_system_in_wkt_is_that_of_the_map(crs: str, tmp_path: Path) -> None:
    system = wkt_system(rasterio.crs.CRS.from_user_input(crs).to_wkt())
    assert isinstance(system, System)
    place = Georeference((1e-6, 0, 13.4, 0, -1e-6, 52.5), *system)
    write_density_tiff(density(), tmp_path / "density.tif", place)
    with rasterio.open(tmp_path / "density.tif") as file:
        there = rasterio.warp.transform(file.crs, "EPSG:4326", [13.4], [52.5])
        assert there == tuple(pytest.approx(v) for v in rasterio.warp.transform(crs, "EPSG:4326", [13.4], [52.5]))
        assert file.crs.is_geographic == place.geographic
    read_again = georeference_of(tmp_path / "density.tif", (376, 250))
    assert read_again is not None
    assert read_again.geographic == place.geographic


def test_a_picture_without_a_place_gives_a_plain_map(tmp_path: Path) -> None:
    write_density_tiff(density(), tmp_path / "density.tif")
    assert georeference_of(tmp_path / "density.tif", (376, 250)) is None
    nameless = Georeference((2, 0, 10, 0, -2, 20))
    write_density_tiff(density(), tmp_path / "nameless.tif", nameless)
    again = georeference_of(tmp_path / "nameless.tif", (376, 250))
    assert again is not None
    assert again.affine == (16, 0, 10, 0, -16, 20)
    assert again.crs is None
