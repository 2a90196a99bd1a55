"""Regions and georeferences from the file to the answer: excluded parts, ground alone, map coordinates, the table."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image
from untrained import untrained_light

from gigacount.cli import main
from gigacount.count import Counter
from gigacount.errors import DataError
from gigacount.geometry import Size, Window
from gigacount.image import GigaImage
from gigacount.key import RunKey, records_of
from gigacount.options import CountOptions, RegionOptions

NOISE = np.random.default_rng(0).integers(0, 256, (200, 320, 3), np.uint8)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(untrained_light(tmp_path_factory.mktemp("network")))


def box(path: Path, left: float, right: float, name: str = "gate") -> Path:
    ring = [[left, 0], [right, 0], [right, 200], [left, 200], [left, 0]]
    geometry = {"type": "Polygon", "coordinates": [ring]}
    path.write_text(json.dumps({"type": "Feature", "properties": {"name": name}, "geometry": geometry}))
    return path


def geotiff(path: Path) -> Path:
    keys = (1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, 32633)
    tags = [(34735, "H", len(keys), keys, True), (33550, "d", 3, (0.1, 0.1, 0.0), True)]
    tags += [(33922, "d", 6, (0, 0, 0, 390_000.0, 5_800_000.0, 0), True)]
    tifffile.imwrite(path, NOISE, photometric="rgb", extratags=tags, metadata=None)
    return path


def test_nobody_is_counted_or_located_in_excluded_parts(network: str, tmp_path: Path) -> None:
    picture = tmp_path / "a.png"
    Image.fromarray(NOISE).save(picture)
    plain_options = CountOptions(network=network)
    options = CountOptions(network=network, exclude=box(tmp_path / "posters.geojson", 0, 164))
    plain = Counter(plain_options, locate=True).count(picture)
    rest = Counter(options, locate=True).count(picture)
    kept = plain.density.cells[:, 20:].sum() + plain.density.cells[:, 20].sum() * -0.5
    assert rest.count == pytest.approx(float(kept), rel=1e-3)
    assert plain.points is not None
    assert rest.points is not None
    assert (plain.points.xy[:, 0] < 164).any()
    assert len(rest.points) == (plain.points.xy[:, 0] >= 164).sum() > 0
    key = RunKey.of(options, records_of(options))
    assert key.hash != RunKey.of(plain_options, records_of(plain_options)).hash
    box(tmp_path / "posters.geojson", 0, 165)
    assert key.hash != RunKey.of(options, records_of(options)).hash


def test_regions_outside_the_image_do_not_lose_its_count(network: str, tmp_path: Path) -> None:
    image = tmp_path / "a.png"
    Image.fromarray(NOISE).save(image)
    plain = Counter(CountOptions(network=network)).count(image)
    far, posters = box(tmp_path / "far.geojson", 4000, 4100), box(tmp_path / "posters.geojson", 5000, 5100)
    options = CountOptions(network=network, regions=RegionOptions(far, 0.5), exclude=posters)
    result = Counter(options, locate=True).count(image)
    assert result.count == plain.count
    (region,) = result.region_counts()
    assert (region.count, region.points, region.people_per_m2) == (0, 0, None)
    assert [note for note in result.notes if "lie outside the image of 320 x 200 pixels" in note] == [
        *result.notes[-2:]
    ]
    folder = result.save(tmp_path / "saved", ("overlay", "report"))
    assert (folder / "regions.csv").read_text().splitlines()[1] == "gate,0.0,0,0.0,,"


def test_a_regions_area_is_of_ground_alone(network: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def valid(self: GigaImage, window: Window, size_wh: Size) -> NDArray[np.float32]:
        """The left 80 pixels are no ground."""
        x = window.left + (np.arange(size_wh[0]) + 0.5) * window.width / size_wh[0]
        return np.broadcast_to((x >= 80).astype(np.float32), size_wh[::-1])

    monkeypatch.setattr(GigaImage, "valid", valid)
    picture = tmp_path / "a.png"
    Image.fromarray(NOISE).save(picture)
    regions = RegionOptions(box(tmp_path / "gate.geojson", 0, 160), 0.5)
    (count,) = Counter(CountOptions(network=network, regions=regions)).count(picture).region_counts()
    assert count.region.area_px == pytest.approx(80 * 200)
    assert count.region.area_m2 == pytest.approx(80 * 200 / 4)


def test_a_georeferenced_picture_from_the_file_to_the_answer(
    network: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    picture, gate = geotiff(tmp_path / "ortho.tif"), box(tmp_path / "gate.geojson", 0, 160, "Gate Ω")

    def run(*words: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["gigacount", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            main()
        told = capsys.readouterr()
        return int(end.value.code or 0), told.out, told.err

    status, said, told = run("count", picture, "--network", network, "--region", gate, "--json")
    assert status == 0, told
    (region,) = json.loads(said)["regions"]
    assert region["area_m2"] == pytest.approx(160 * 200 * 0.01)
    head, row = [line for line in told.splitlines() if line.startswith(("region", "Gate"))]
    assert head.split() == ["region", "people", "m2", "people", "per", "m2"]
    assert row.split()[:2] == ["Gate", "Ω"]
    with tifffile.TiffFile(tmp_path / "ortho.tif.gigacount" / "density.tif") as file:
        assert file.pages[0].geotiff_tags["ProjectedCSTypeGeoKey"] == 32633
        assert file.pages[0].tags[34264].value[:4] == (pytest.approx(0.8), 0, 0, 390_000)
    for out in ("a.csv", "b.csv"):
        status, _, told = run("localize", picture, "--network", network, "--region", gate, "--out", tmp_path / out)
        assert status == 0, told
        assert (tmp_path / out).with_suffix(".regions.csv").is_file()
    assert (tmp_path / "a.csv").read_text().startswith("x,y,score,level,window,map_x,map_y\n")
    plain = tmp_path / "plain.png"
    Image.fromarray(NOISE).save(plain)
    status, _, told = run("localize", plain, "--network", network, "--coordinates", "map", "--out", tmp_path / "c.csv")
    assert status == 1
    assert "needs a georeferenced image" in told
    assert not (tmp_path / "c.csv").exists()


def test_a_damaged_georeference_is_said_and_the_picture_is_counted(network: str, tmp_path: Path) -> None:
    picture = geotiff(tmp_path / "a.tif")
    (tmp_path / "a.tif.aux.xml").write_text("<PAMDataset><GeoTransform>1,2</GeoTransform></PAMDataset>")
    result = Counter(CountOptions(network=network)).count(picture)
    assert result.georeference is None
    assert any("damaged" in note and "no georeference is used" in note for note in result.notes)
    regions = RegionOptions(box(tmp_path / "gate.geojson", 0, 160))
    regions.file.write_text(regions.file.read_text()[:-1] + ', "crs": {"properties": {"name": "EPSG:32633"}}}')
    with pytest.raises(DataError, match="has no georeference"):
        Counter(CountOptions(network=network, regions=regions)).count(picture)
