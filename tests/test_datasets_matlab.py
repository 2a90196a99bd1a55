"""Our reader of MATLAB files against SciPy's writer and reader; on damage see test_hostile_fuzz.py."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays, integer_dtypes
from scipy.io import loadmat, savemat

from gigacount.datasets import matlab
from gigacount.datasets.files import load_mat
from gigacount.datasets.matlab import MatlabError, read_matlab
from gigacount.errors import EntryError

SHARED = Path(__file__).parent.parent.parent / "shared" / "data"


def written(compressed: bool, **variables: object) -> bytes:
    file = io.BytesIO()
    savemat(file, variables, do_compression=compressed)
    return file.getvalue()


@given(
    arrays(
        st.one_of(integer_dtypes(), st.sampled_from([np.dtype(np.float32), np.dtype(np.float64)])),
        array_shapes(min_dims=2, max_dims=3, min_side=0, max_side=5),
        elements={},
    ),
    st.booleans(),
)
def test_numbers_come_back_as_they_were(values: np.ndarray, compressed: bool) -> None:
    (name, found), *others = read_matlab(written(compressed, some=values)).items()
    assert (name, others) == ("some", [])
    np.testing.assert_array_equal(found, values)


def test_cells_and_structs_nest() -> None:
    cell = np.empty((2, 3), object)
    for place in np.ndindex(2, 3):
        cell[place] = np.full((1, 2), 10 * place[0] + place[1], float)
    cell[1, 2] = {"at": np.eye(2), "number": 4.0, "note": "hello", "sparse": None}
    del cell[1, 2]["sparse"]
    found = read_matlab(written(True, cell=cell))["cell"]
    assert found.shape == (2, 3)
    assert found[0, 2].tolist() == [[2.0, 2.0]]
    inside = found[1, 2][0, 0]
    assert inside["at"].tolist() == [[1, 0], [0, 1]]
    assert inside["number"].tolist() == [[4.0]]
    assert inside["note"] is None
    assert read_matlab(written(False, z=np.array([[1j]])))["z"] is None


def element(kind: int, payload: bytes, order: str = "<") -> bytes:
    return struct.pack(f"{order}II", kind, len(payload)) + payload + bytes(-len(payload) % 8)


def array_of(kind: int, shape: tuple[int, ...], *parts: bytes, order: str = "<") -> bytes:
    head = element(6, struct.pack(f"{order}II", kind, 0), order)
    head += element(5, struct.pack(f"{order}{len(shape)}i", *shape), order) + element(1, b"loc", order)
    return element(14, head + b"".join(parts), order)


def file_of(*parts: bytes, order: str = "<") -> bytes:
    return (
        b"MATLAB 5.0".ljust(124) + struct.pack(f"{order}H2s", 0x100, b"IM" if order == "<" else b"MI") + b"".join(parts)
    )


@pytest.mark.parametrize("order", ["<", ">"])
def test_bytes_by_hand_in_either_order(order: str) -> None:
    """Columns first, and doubles that MATLAB has stored as bytes because they fit."""
    stored = element(2, bytes([1, 2, 3, 4, 5, 6]), order)
    found = read_matlab(file_of(array_of(6, (3, 2), stored, order=order), order=order))
    assert found["loc"].tolist() == [[1, 4], [2, 5], [3, 6]]
    small = struct.pack(f"{order}I4B", 4 << 16 | 2, 7, 8, 9, 10)
    assert read_matlab(file_of(array_of(6, (1, 4), small, order=order), order=order))["loc"].tolist() == [[7, 8, 9, 10]]


def nested(depth: int) -> bytes:
    inside = array_of(6, (1, 1), element(2, b"\1"))
    for _ in range(depth):
        inside = array_of(1, (1, 1), inside)
    return file_of(inside)


LIES = {
    "a cell of more values than there are bytes": file_of(array_of(1, (2**15, 2**15))),
    "a struct of them": file_of(array_of(2, (2**15, 2**15), element(5, struct.pack("<i", 4)), element(1, b"abc\0"))),
    "more fields than bytes": file_of(array_of(2, (9, 1), element(5, struct.pack("<i", 1)), element(1, b"a" * 999))),
    "numbers that are not there": file_of(array_of(6, (2**15, 2**15), element(9, bytes(16)))),
    "a negative side": file_of(array_of(6, (-1, -4), element(2, bytes(4)))),
    "no shape": file_of(array_of(6, (), element(2, bytes(4)))),
    "names of no length": file_of(array_of(2, (1, 1), element(5, struct.pack("<i", 0)), element(1, b"abc\0"))),
    "half a number": file_of(array_of(6, (1, 1), element(9, bytes(7)))),
    "an element that is too long": file_of(struct.pack("<II", 14, 2**31)),
    "a small element that is too long": file_of(array_of(6, (1, 9), struct.pack("<II", 9 << 16 | 2, 0))),
    "a tail": file_of(b"1234567"),
    "too deep": nested(100),
    "not compressed": file_of(element(15, b"these are words")),
    "compressed nothing": file_of(element(15, zlib.compress(b""))),
    "no header": b"",
}


@pytest.mark.parametrize("lie", LIES)
def test_lies_about_sizes_are_not_believed(lie: str) -> None:
    with pytest.raises(MatlabError):
        read_matlab(LIES[lie])


def test_a_bomb_is_refused_before_it_goes_off(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(matlab, "MAX_BYTES", 2**20)
    bomb = zlib.compress(array_of(6, (2**9, 2**9), element(9, bytes(2**21))))
    with pytest.raises(MatlabError, match="unpacks to more than 1 MiB"):
        read_matlab(file_of(struct.pack("<II", 15, len(bomb)) + bomb))
    half = zlib.compress(array_of(6, (2**8, 2**8), element(9, bytes(2**19))))
    packed = struct.pack("<II", 15, len(half)) + half
    assert read_matlab(file_of(packed))["loc"].shape == (256, 256)
    with pytest.raises(MatlabError, match="unpacks to more than 1 MiB"):
        read_matlab(file_of(packed, packed, packed))
    monkeypatch.setattr("gigacount.datasets.files.MAX_BYTES", 2**20)
    (tmp_path / "a.mat").write_bytes(bytes(2**21))
    with pytest.raises(EntryError, match=r"a\.mat: larger than 1 MiB"):
        load_mat(tmp_path / "a.mat")


def plain(value: Any) -> Any:
    """What SciPy gives, in our terms."""
    if isinstance(value, np.ndarray) and value.dtype.names:
        return [{name: plain(one[name]) for name in value.dtype.names} for one in value.ravel(order="F")]
    if isinstance(value, np.ndarray) and value.dtype == object:
        return [plain(one) for one in value.ravel(order="F")]
    return None if value.dtype.kind == "U" else value.tolist()


def ours(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: ours(one) for name, one in value.items()}
    if isinstance(value, np.ndarray) and value.dtype == object:
        return [ours(one) for one in value.ravel(order="F")]
    return None if value is None else value.tolist()


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the published labels")
@pytest.mark.parametrize("folder", ["shanghaitech/part_A", "shanghaitech/part_B", "beijing_brt"])
def test_published_labels_are_read_as_scipy_reads_them(folder: str) -> None:
    files = sorted((SHARED / folder).rglob("*.mat"))[::10]
    assert len(files) > 10
    for path in files:
        expected = {name: plain(value) for name, value in loadmat(path).items() if not name.startswith("__")}
        assert {name: ours(value) for name, value in load_mat(path).items()} == expected
