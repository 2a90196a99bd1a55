"""MATLAB files of versions 5 to 7: the numbers in them, in arrays, cells and structs.

SciPy reads them too, but its compiled reader can take the whole process down with a damaged file. This one checks every
size against what the file holds before it takes it at its word.

Format: MathWorks, "MAT-File Format", chapter 1 ("Level 5 MAT-File Format").
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gigacount.errors import DataError

HEADER_BYTES = 128
MAX_BYTES = 2**28
"""What a file may unpack to; the labels of an image are a few thousand times smaller."""

MAX_NESTED = 20

NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
"""Types of data elements."""

MATRIX, COMPRESSED = 14, 15
CELL, STRUCT = 1, 2
NUMERIC = range(6, 16)
"""Classes of arrays: double, single, and the integers."""

COMPLEX = 0x800

Payload = memoryview


class MatlabError(DataError):
    """What is wrong with a file, without its name."""


def read_matlab(content: bytes) -> dict[str, Any]:
    """The variables of a file by name. Raises MatlabError.

    Numbers are arrays of MATLAB's shape, cells object arrays of values, structs ones of dictionaries. What no labels
    consist of (text, sparse and complex arrays, objects) is None.
    """
    order = byte_order(content)
    variables: dict[str, Any] = {}
    left = MAX_BYTES
    for kind, payload in elements(memoryview(content)[HEADER_BYTES:], order):
        if kind == COMPRESSED:
            unpacked = unpack(payload, left)
            left -= len(unpacked)
            kind, payload = next(elements(unpacked, order), (0, payload))
        if kind != MATRIX:
            raise MatlabError(f"a data element of type {kind} where a variable should be")
        name, value = read_array(payload, order)
        variables[name] = value
    return variables


def byte_order(content: bytes) -> str:
    marks = {b"IM": "<", b"MI": ">"}
    order = marks.get(content[126:HEADER_BYTES])
    if order is None:
        raise MatlabError("not a MATLAB file of version 5 to 7")
    (version,) = struct.unpack_from(f"{order}H", content, 124)
    if version == 0x200:
        raise MatlabError("a MATLAB 7.3 file; save it in MATLAB with `save -v7`")
    return order


def elements(data: Payload, order: str) -> Iterator[tuple[int, Payload]]:
    """Type and payload of each data element, one after the other."""
    at = 0
    while at < len(data):
        if len(data) - at < 8:
            raise MatlabError("cut short")
        kind, size = struct.unpack_from(f"{order}II", data, at)
        start, padding = at + 8, -size % 8
        if kind >> 16:  # a small element: size and type share a word, the payload is in the next one
            kind, size = kind & 0xFFFF, kind >> 16
            start, padding = at + 4, 4 - size
        elif kind == COMPRESSED:
            padding = 0
        if padding < 0 or start + size > len(data):
            raise MatlabError("cut short, or damaged")
        yield kind, data[start : start + size]
        at = start + size + padding


def unpack(payload: Payload, most: int) -> Payload:
    try:
        unpacked = zlib.decompressobj().decompress(payload, most + 1)
    except zlib.error as error:
        raise MatlabError(f"damaged ({error})") from error
    if len(unpacked) > most:
        raise MatlabError(f"unpacks to more than {MAX_BYTES >> 20} MiB, which no labels do")
    return memoryview(unpacked)


def read_array(payload: Payload, order: str, depth: int = 0) -> tuple[str, Any]:
    """Name and value of an array element."""
    if not payload:  # what a cell holds where nothing was put
        return "", np.zeros((0, 0))
    if depth > MAX_NESTED:
        raise MatlabError(f"nested more than {MAX_NESTED} deep")
    parts = elements(payload, order)
    flags = numbers(parts, order, "u4")
    shape = tuple(numbers(parts, order, "i4").tolist())
    name = text(parts)
    if flags.size == 0 or not shape or min(shape) < 0:
        raise MatlabError("an array without class or shape")
    kind = int(flags[0]) & 0xFF
    if kind in NUMERIC and not flags[0] & COMPLEX:
        return name, shaped(numbers(parts, order), shape)
    if kind not in (CELL, STRUCT):
        return name, None
    fields = field_names(parts, order) if kind == STRUCT else None
    count = prod(shape)
    if count * max(len(fields or ()), 1) > len(payload) // 8:  # each of them takes eight bytes at the least
        raise MatlabError("a cell or struct of more values than the file has room for")
    values = np.empty(count, object)
    for number in range(count):
        values[number] = (
            inner(parts, order, depth) if fields is None else {field: inner(parts, order, depth) for field in fields}
        )
    return name, shaped(values, shape)


def inner(parts: Iterator[tuple[int, Payload]], order: str, depth: int) -> Any:
    kind, payload = next(parts, (0, Payload(b"")))
    if kind != MATRIX:
        raise MatlabError("a cell or struct with values missing")
    return read_array(payload, order, depth + 1)[1]


def numbers(parts: Iterator[tuple[int, Payload]], order: str, expected: str | None = None) -> NDArray[Any]:
    """The numbers of the next element, which must be of the `expected` type if one is given."""
    kind, payload = next(parts, (0, Payload(b"")))
    found = NUMBERS.get(kind)
    if found is None or (expected or found) != found or len(payload) % np.dtype(found).itemsize:
        raise MatlabError(f"a data element of type {kind} where numbers should be")
    return np.frombuffer(payload, np.dtype(f"{order}{found}"))


def text(parts: Iterator[tuple[int, Payload]]) -> str:
    return bytes(next(parts, (0, Payload(b"")))[1]).decode("latin-1")


def field_names(parts: Iterator[tuple[int, Payload]], order: str) -> list[str]:
    """The names of a struct's fields, each in so many bytes, filled up with zeros."""
    width, names = numbers(parts, order, "i4"), text(parts)
    if width.size != 1 or width[0] < 1 or len(names) % width[0]:
        raise MatlabError("a struct without names for its fields")
    step = int(width[0])
    return [names[at : at + step].partition("\0")[0] for at in range(0, len(names), step)]


def shaped(values: NDArray[Any], shape: Sequence[int]) -> NDArray[Any]:
    """`values` in MATLAB's order, columns first."""
    if values.size != prod(shape):
        raise MatlabError(f"{values.size} values in an array of {' x '.join(map(str, shape))}")
    return values.reshape(shape, order="F")
