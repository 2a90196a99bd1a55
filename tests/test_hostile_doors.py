"""Files and words that a parser stumbles over: at each door one line of ours, whatever the parser raises."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from mutations import Tiff, mutated_tiff, mutated_xml

from gigacount.ablate.measure import LevelShare, Measurement
from gigacount.ablate.run import MeasurementFile
from gigacount.density import DensityMap
from gigacount.errors import DataError, ImageError, UsageError
from gigacount.evaluate.pointfiles import read_pairs
from gigacount.geometry import whole
from gigacount.image import GigaImage
from gigacount.image.geotags import georeference_of
from gigacount.networks import build
from gigacount.networks.settings import read_settings
from gigacount.options import RegionOptions
from gigacount.regions import read_regions
from gigacount.train.checkpoint import Position, load_checkpoint, save_checkpoint
from gigacount.train.log import Log

GRID = [[0.5] * 8] * 8
MEASURED = Measurement("k", "a.jpg", 3.0, 2.5, GRID, GRID, 1, 64, 0.5, (LevelShare(0, 1.0, 1.0, 3, 2.5, None),))


LONG, DIGITS, DEEP = "x" * 5000, "9" * 5000, "[" * 90_000


@pytest.mark.parametrize("pair", ["width", "", "width=\0", LONG, f"{LONG}=1", f"width={DIGITS}", f"width={DEEP}"])
def test_settings(pair: str) -> None:
    with pytest.raises(UsageError) as found:
        read_settings("light", [pair])
    assert len(str(found.value)) < 300


@pytest.mark.parametrize(
    "line",
    [
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"seen": []}',
        b"9" * 5000,
        json.dumps(MEASURED.as_dict() | {"truth": "many"}).encode(),
        json.dumps(MEASURED.as_dict() | {"seen": {"a": 1}}).encode(),
        json.dumps(MEASURED.as_dict()).replace("2.5", "NaN").encode(),
    ],
)
def test_measurements(tmp_path: Path, line: bytes) -> None:
    MeasurementFile(tmp_path).add(MEASURED)
    assert MeasurementFile(tmp_path).find("k") == MEASURED
    file = tmp_path / "measured.jsonl"
    file.write_bytes(file.read_bytes() + line + b"\n")
    with pytest.raises(DataError, match=r"measured\.jsonl, line 2: not a measurement; remove that line"):
        MeasurementFile(tmp_path)


def test_a_log_keeps_the_lines_that_can_be_read(tmp_path: Path) -> None:
    lines = [b'{"step": 1}', b"\xff", b"[" * 100_000, b'{"step": "x"}', b"[1]", b'{"step": 2}', b'{"step": 9}']
    (tmp_path / "log.jsonl").write_bytes(b"\n".join(lines))
    Log(tmp_path, lambda entry: None, resumed=2)
    assert (tmp_path / "log.jsonl").read_bytes() == b'{"step": 1}\n{"step": 2}\n'


@pytest.mark.parametrize(
    "state",
    [
        [],
        {"weights": torch.zeros(2)},
        {"position": {"stop": 3}},
        {"position": vars(Position()), "run": "{"},
        {"position": vars(Position()), "run": "[]"},
        {"position": vars(Position()), "run": "[" * 100_000},
    ],
)
def test_checkpoints(tmp_path: Path, state: Any) -> None:
    save_checkpoint(tmp_path, state)
    with pytest.raises(DataError, match=r"checkpoint\.pt: not a checkpoint that can be read"):
        load_checkpoint(tmp_path)


def test_heads_larger_than_any_picture(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,y,width,height\n1,2,1e200,1e200\n")
    with pytest.raises(DataError, match=r"a\.csv, line 2: a value is larger than any image"):
        read_pairs(tmp_path / "a.csv", tmp_path / "a.csv")


@pytest.mark.parametrize("content", [b"", b"\x80\x02", b"PK\x03\x04", b"x" * 100])
def test_checkpoints_that_are_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(content)
    with pytest.raises(DataError, match=r"checkpoint\.pt: not a checkpoint that can be read"):
        load_checkpoint(tmp_path)


def test_a_coordinate_system_longer_than_a_geotiff_can_hold(tmp_path: Path) -> None:
    (tmp_path / "a.jgw").write_text("0.1\n0\n0\n-0.1\n390000\n5800000\n")
    (tmp_path / "a.prj").write_text('PROJCS["' + "x" * 70_000 + '"]')
    with pytest.raises(DataError, match=r"world file is damaged \(a coordinate system of 70010 letters\)"):
        georeference_of(tmp_path / "a.jpg", (96, 64))


@pytest.mark.parametrize("kind", ["a thousand regions", "an outline of a thousand crossings"])
def test_regions_take_as_long_as_their_outlines(tmp_path: Path, kind: str) -> None:
    """Not a look at every cell for each of them, nor a map for each part of them."""
    side = 16_000
    if kind == "a thousand regions":
        rings = [[[i, 0], [side, i], [side, side], [i, side], [i, 0]] for i in range(1000)]
    else:
        x = np.linspace(0, side - 10, 1000)
        teeth = [[float(a), 10.0 if number % 2 else side - 20.0] for number, a in enumerate(x)]
        rings = [[*teeth, [side, side], [0, side], teeth[0]]]
    features = [{"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]}} for ring in rings]
    path = tmp_path / "regions.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    density = DensityMap.empty((side, side))
    density.cells[:] = 0.01
    began = time.process_time()
    regions = read_regions(RegionOptions(path), (side, side))
    counted = regions.measure(density)
    regions.clear(density)
    assert time.process_time() - began < 3
    for one in counted:
        assert one.count == pytest.approx(one.region.area_px / 64 * 0.01, rel=1e-4)


# ---- the mutators themselves: what they make is what they say


def test_tags_are_found_and_changed_in_every_directory(tmp_path: Path) -> None:

    for big, order in [(False, "<"), (True, "<"), (False, ">")]:
        path = tmp_path / f"{big}{order == '<'}.tif"
        with tifffile.TiffWriter(path, bigtiff=big, byteorder=order) as writer:
            writer.write(np.zeros((64, 64), np.uint8), subifds=1)
            writer.write(np.zeros((32, 32), np.uint8), subfiletype=1)
            writer.write(np.zeros((16, 16), np.uint8))
        whole = path.read_bytes()
        tiff = Tiff(whole)
        assert len(tiff.directories) == 3
        widths = [
            tiff.get("H", at)
            for first, n in tiff.directories
            for at in range(first, first + n * tiff.entry_bytes, tiff.entry_bytes)
        ]
        assert widths.count(256) == 3
        rng = random.Random(0)
        assert len({mutated_tiff(whole, rng) for _ in range(50)}) > 40


def test_xml_is_changed_by_its_elements() -> None:

    rng = random.Random(0)
    whole = b'<?xml version="1.0"?><a x="1"><b>2</b><c/></a>'
    made = {mutated_xml(whole, rng) for _ in range(200)}
    assert len(made) > 100
    for word in (b"<!DOCTYPE", b"&a;", b"encoding='", b"<b>2</b><b>2</b>", b"\xff\xfe"):
        assert any(word in one for one in made), word


def test_widths_past_what_torch_counts_are_refused_in_a_line() -> None:
    with pytest.raises(UsageError, match=r"'light' cannot be built with width=1000000000000000000000"):
        build("light", width=10**21)


def test_a_checkpoint_of_an_odd_pickle_protocol_is_none(tmp_path: Path) -> None:
    torch.save({"position": {}}, tmp_path / "checkpoint.pt", pickle_protocol=4)
    with pytest.raises(DataError, match="not a checkpoint"):
        load_checkpoint(tmp_path)


def test_a_piece_longer_than_its_file_is_damage_before_memory_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "long.tif"
    tifffile.imwrite(path, np.zeros((64, 64, 3), np.uint8), tile=(64, 64), compression="lzma", metadata=None)
    with tifffile.TiffFile(path, mode="r+b") as file:
        file.pages[0].tags["TileByteCounts"].overwrite(2**32 - 2)
    with pytest.raises(ImageError, match="the file ends before it"), GigaImage.open(path) as image:
        image.read(whole(image.size_wh), image.size_wh)
