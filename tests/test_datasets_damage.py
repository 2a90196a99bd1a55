"""Label files that are damaged, malformed or hold what is no position: named in one line, and nothing else raised."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import tiny_datasets as tiny
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_datasets import TINY, label_files

from gigacount.datasets import ALL, Sample, read
from gigacount.errors import DataError, EntryError

LABELLED = sorted(set(TINY) - {"people-free"})


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: write(tmp_path_factory.mktemp(name)) for name, write in TINY.items()}


def collect(name: str, root: Path) -> tuple[list[Sample], list[EntryError]]:
    errors: list[EntryError] = []
    return list(read(f"{name}:{root}", ALL, errors.append)), errors


@pytest.mark.parametrize("name", LABELLED)
@pytest.mark.parametrize("garbage", [b"damaged", b"", b"\xff\xfe\x00\x80", b"[]", b"{", b"null"])
def test_damaged_label_files_are_named_in_one_line(copies, tmp_path, name, garbage):
    root = Path(shutil.copytree(copies[name], tmp_path / name))
    for path in label_files(root):
        path.write_bytes(garbage)
    samples, errors = collect(name, root)
    assert not any(len(sample.points_xy) for sample in samples)
    if samples:  # an empty text is a picture without people
        assert (name, garbage) in {("jhu", b""), ("yolo", b"")}
    else:
        assert "bad label file" in {error.kind for error in errors}
    for error in errors:
        assert str(root) in str(error)
        assert "\n" not in str(error)


@pytest.mark.parametrize("name", ["shanghaitech-a", "mall", "worldexpo", "ucf-cc-50"])
def test_truncated_matlab_files(copies, tmp_path, name):
    root = Path(shutil.copytree(copies[name], tmp_path / name))
    for path in label_files(root):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(EntryError, match=r"\.mat: not a MATLAB file that can be read"):
        list(read(f"{name}:{root}"))


def test_matlab_7_3_files_say_what_to_do(tmp_path):
    root = tiny.beijing_brt(tmp_path)
    header = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM"
    (root / "train/ground_truth/1-20160620091221.mat").write_bytes(header + bytes(400))
    with pytest.raises(EntryError, match="save it in MATLAB with `save -v7`"):
        list(read(f"beijing-brt:{root}"))


def test_matlab_positions_of_another_shape(tmp_path):
    root = tiny.beijing_brt(tmp_path)
    tiny.mat(root / "train/ground_truth/1-20160620091221.mat", loc=np.zeros((2, 3)))
    with pytest.raises(EntryError, match=r"221\.mat: not in the expected form \(positions are not N x 2 but 2 x 3\)"):
        list(read(f"beijing-brt:{root}"))
    tiny.mat(root / "train/ground_truth/1-20160620091221.mat", location=np.zeros((2, 2)))
    with pytest.raises(EntryError, match=r"221\.mat: there is no 'loc' in it"):
        list(read(f"beijing-brt:{root}"))


@pytest.mark.parametrize(
    ("name", "file", "text", "message"),
    [
        (
            "csv",
            "train.csv",
            "image,x,y\na.jpg,1,2\na.jpg,1,two\n",
            "train.csv, line 3: '1,two' is not a number for each of x,y",
        ),
        ("csv", "train.csv", "image,x,y\na.jpg,1\n", "train.csv, line 2: '1,' is not a number for each of x,y"),
        (
            "csv",
            "train.csv",
            "photo,x,y\na.jpg,1,2\n",
            "train.csv, line 1: no column image; the first line must",
        ),
        ("jhu", "train/gt/0001.txt", "5 5 2 2 1 0\n\n5 5 2\n", "0001.txt, line 3: 3 numbers instead of 4"),
        ("jhu", "train/gt/0001.txt", "5 5 2 x 1 0\n", "0001.txt, line 1: '5 5 2 x 1 0' is not 4 numbers"),
        ("yolo", "labels/train/many.txt", "1 .5 .5 .1\n", "many.txt, line 1: 4 numbers instead of 5"),
        ("nwpu", "jsons/0001.json", '{"points": [],\n"boxes": [}', "0001.json, line 2: not JSON"),
        (
            "nwpu",
            "jsons/0001.json",
            '{"points": [[1, 2]], "boxes": []}',
            "0001.json: not in the expected form (1 points",
        ),
        ("fdst", "train_data/1/001.json", '{"a": {"region": []}}', "001.json: there is no 'regions' in it"),
        ("cvat", "annotations.xml", "<annotations>\n<image>\n</annotations>", "annotations.xml, line 3: not XML"),
        ("cvat", "annotations.xml", "<annotations><track/></annotations>", "export it from CVAT as 'CVAT for images"),
        ("coco", "annotations/instances_train2017.json", "[]", "instances_train2017.json: not in the expected form"),
        (
            "geojson",
            "train/many.geojson",
            '{"features": [{"geometry": {"type": "Polygon"}}]}',
            "there is no 'coordinates' in it",
        ),
    ],
)
def test_malformed_labels_name_file_and_line(copies, tmp_path, name, file, text, message):
    root = Path(shutil.copytree(copies[name], tmp_path / name))
    (root / file).write_text(text)
    with pytest.raises(EntryError) as caught:
        list(read(f"{name}:{root}"))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "file", "text"),
    [
        ("csv", "train.csv", "image,x,y\nmany.jpg,1,2\nmany.jpg,nan,3\n"),
        ("jhu", "train/gt/0001.txt", "5 5 2 2 1 0\ninf 5 2 2 1 0\n"),
        ("nwpu", "jsons/0001.json", '{"points": [[1, 2], [NaN, 3]], "boxes": [[1, 2, 3, 4], [1, 2, 3, 4]]}'),
    ],
)
def test_positions_that_are_not_numbers(copies, tmp_path, name, file, text):
    root = Path(shutil.copytree(copies[name], tmp_path / name))
    (root / file).write_text(text)
    with pytest.raises(EntryError, match=r"head 2 of 2 in .* is not at a finite position") as caught:
        list(read(f"{name}:{root}"))
    assert caught.value.kind == "position that is not a number"


def nodes(content: object, path: tuple[object, ...] = ()) -> Iterator[tuple[object, ...]]:
    """The path of every value inside a JSON document."""
    yield path
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in items:
        yield from nodes(value, (*path, key))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["x", "tl", "rects"]), inner, max_size=3)
    ),
    max_leaves=4,
)


@pytest.mark.parametrize("name", ["panda", "nwpu", "fdst", "coco", "labelme", "geojson"])
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_any_value_anywhere_in_json_labels_is_read_or_refused(copies, name, data):
    path = next(p for p in label_files(copies[name]) if p.suffix in (".json", ".geojson"))
    original = path.read_text()
    content = {"document": json.loads(original)}
    *parents, last = data.draw(st.sampled_from([node for node in nodes(content) if node]))
    target = content
    for key in parents:
        target = target[key]
    target[last] = data.draw(json_values)
    path.write_text(json.dumps(content["document"]))
    try:
        with suppress(DataError):
            for split in ("train", "test"):
                for sample in read(f"{name}:{copies[name]}", split):
                    assert np.isfinite(sample.points_xy).all()
    finally:
        path.write_text(original)
