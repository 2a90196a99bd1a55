"""Mutated copies of files: damaged as any bytes may be, or by the structure of their format.

Each takes the bytes of a sound file and gives those of another; the chance decides how.
"""

from __future__ import annotations

import json
import math
import random
import re
import struct
import zlib
from collections.abc import Callable
from copy import deepcopy
from typing import Any
from xml.etree import ElementTree

ODD: list[Any] = [None, True, -1, 0, 1.5, 1e308, math.nan, 10**40, "", "x" * 999, "\ud800", [], [[]], {}, "../x"]
EXTREMES = [0, 1, 2, 0x7F, 0xFF, 0x100, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]


def mutated(content: bytes, rng: random.Random) -> bytes:
    """Cut, flip bits, overwrite, edit the head or the tail, set a word to an extreme, repeat or leave out a piece."""
    data = bytearray(content or b"\0")
    size = len(data)
    kind = rng.randrange(8)
    if kind == 0:
        del data[rng.randrange(size) :]
    elif kind == 1:
        for _ in range(rng.randrange(1, 20)):
            data[rng.randrange(size)] ^= 1 << rng.randrange(8)
    elif kind == 2:
        for _ in range(rng.randrange(1, 6)):
            data[rng.randrange(min(size, 400))] = rng.randrange(256)
    elif kind == 3:
        at = rng.randrange(size)
        data[at : at + rng.randrange(1, 2000)] = rng.randbytes(rng.randrange(1, 200))
    elif kind == 4:
        for _ in range(rng.randrange(1, 6)):
            data[-rng.randrange(1, min(size, 600) + 1)] = rng.randrange(256)
    elif kind == 5:
        for _ in range(rng.randrange(1, 4)):
            at = rng.randrange(min(size, rng.choice([64, 600, size])))
            data[at : at + 4] = struct.pack(rng.choice(["<I", ">I"]), rng.choice(EXTREMES))
    elif kind == 6:
        at, length = rng.randrange(size), rng.randrange(1, 3000)
        data[at:at] = data[at : at + length] * rng.randrange(1, 3)
    else:
        at = rng.randrange(size)
        del data[at : at + rng.randrange(1, 3000)]
    return with_right_checksum(bytes(data))


def with_right_checksum(data: bytes) -> bytes:
    """A PNG's header is not looked at with a wrong checksum."""
    if data.startswith(b"\x89PNG\r\n\x1a\n") and len(data) > 33:
        data = data[:29] + struct.pack(">I", zlib.crc32(data[12:29])) + data[33:]
    return data


def mutated_json(content: bytes, rng: random.Random) -> bytes:
    """The same with another value somewhere, or damaged as any file."""
    if rng.random() < 0.3:
        return mutated(content, rng)
    root = [json.loads(content)]
    places: list[tuple[Any, Any]] = []

    def walk(value: Any) -> None:
        for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
            places.append((value, key))
            walk(value[key])

    walk(root)
    holder, key = rng.choice(places)
    value = holder[key]
    if type(value) in (int, float) and rng.random() < 0.5:
        holder[key] = value * rng.choice([-1, 0, 0.5, 1 + 1e-9, 2, 1000])
    else:
        holder[key] = rng.choice([*ODD, [value], {"a": value}])
    if rng.random() < 0.2 and isinstance(holder, dict):
        del holder[key]
    text = json.dumps(root[0])
    return b"[" * 100_000 if rng.random() < 0.1 else text.encode()


def mutated_text(content: bytes, rng: random.Random) -> bytes:
    """Another value in one of the lines, another line, or damaged as any file."""
    if rng.random() < 0.3:
        return mutated(content, rng)
    lines = content.decode().splitlines()
    at = rng.randrange(len(lines))
    values = ["-1", "0", "1e999", "nan", "[]", '""', "true", "{}", '"../../x"', "[1, 2, 3]", "12345678901234567890"]
    names = ["stride", "density_divisor", "head_px", "min_score", "fusion_theta", "settings", "errors", "mean", "std"]
    name = lines[at].partition(" = ")[0] if rng.random() < 0.5 else rng.choice([*names, "paper", "about"])
    lines = [line for line in lines if not line.startswith(f"{name} = ")]
    return "\n".join([f"{name} = {rng.choice(values)}", *lines]).encode()


def mutated_tensors(content: bytes, rng: random.Random) -> bytes:
    """Weights with other numbers, or another header, which is a hundredth of the file."""
    length = struct.unpack("<Q", content[:8])[0]
    head, values = content[8 : 8 + length], bytearray(content[8 + length :])
    kind = rng.randrange(4)
    if kind == 0:
        return mutated(content[: 8 + length], rng) + values
    if kind == 1:
        return mutated(content, rng)
    if kind == 2:
        head = mutated_json(head, rng)
    else:
        for _ in range(rng.randrange(1, 2000)):
            values[rng.randrange(len(values))] = rng.randrange(256)
    return struct.pack("<Q", len(head)) + head + values


# ---- XML and other markup


NESTED = [b"<x>" * 999, b"<x>" * 20_000 + b"</x>" * 20_000, b"[" * 20_000, b"{{", b"- " * 5000]
WORDS = [b"", b"-1", b"1e999", b"nan", b"9" * 5000, b"\0", b"x" * 5000, b"../x", b"&#0;", b"&a;", b"&#xd800;", b"\xff"]
CHARSETS = [b"utf-16", b"cp037", b"ascii", b"utf-7", b"big5", b"hex", b"idna", b"shift_jis", b"ucs-4", b"x" * 99]
DOCTYPES = [
    b"<!DOCTYPE a [<!ENTITY a 'aa'>]>",
    b"<!DOCTYPE a SYSTEM 'file:///etc/passwd'>",
    b"<!DOCTYPE a [<!ENTITY % b SYSTEM 'file:///etc/passwd'> %b;]>",
    b"<!DOCTYPE a [" + b"".join(b"<!ENTITY a%d '%s'>" % (n, b"&a%d;" % (n - 1) * 10) for n in range(1, 9)) + b"]>",
]


def mutated_markup(content: bytes, rng: random.Random) -> bytes:
    """XML, YAML or a table with another value somewhere, other elements or another encoding, or damaged as any file."""
    if rng.random() < 0.3:
        return mutated(content, rng)
    if content.startswith(b"<") and rng.random() < 0.6:
        return mutated_xml(content, rng)
    values = list(re.finditer(rb"[\w.]+", content))
    odd = rng.choice([*WORDS, *NESTED])
    if not values:
        return odd
    at = rng.choice(values)
    return content[: at.start()] + odd + content[at.end() :]


def mutated_xml(content: bytes, rng: random.Random) -> bytes:
    """An element with another name, text or attribute, away, twice, elsewhere or in itself; entities; an encoding."""
    root = ElementTree.fromstring(content)
    for _ in range(rng.randrange(1, 4)):
        rng.choice(XML_CHANGES)(root, rng)
    words = rng.choice(WORDS)
    body = ElementTree.tostring(root).replace(PLACEHOLDER.encode(), words)
    head = rng.choice([b"", b"", rng.choice(DOCTYPES), b"<!-- -- -->", b"<?x ?>", b" "])
    if rng.random() < 0.3:  # says one encoding, and is in this or another
        text = (body if rng.random() < 0.5 else content.partition(b"?>")[2] or content).decode("utf-8", "replace")
        said, real = rng.choice(CHARSETS), rng.choice(["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp037", "latin-1"])
        return f"<?xml version='1.0' encoding='{said.decode()}'?>{text}".encode(real, "replace")
    return b"<?xml version='1.0'?>" + head + body if rng.random() < 0.7 else head + body


PLACEHOLDER = "MUTATED"
"""Stands for a word that ElementTree would not write."""


def change_text(root: ElementTree.Element, rng: random.Random) -> None:
    element = rng.choice(list(root.iter()))
    setattr(element, rng.choice(["text", "text", "tail"]), PLACEHOLDER)


def change_attribute(root: ElementTree.Element, rng: random.Random) -> None:
    element = rng.choice([one for one in root.iter() if one.attrib] or [root])
    element.attrib[rng.choice([*element.attrib, "name", "x" * 5000])] = PLACEHOLDER


def change_name(root: ElementTree.Element, rng: random.Random) -> None:
    rng.choice(list(root.iter())).tag = rng.choice([one.tag for one in root.iter()] + ["x", "x:y"])


def leave_out(root: ElementTree.Element, rng: random.Random) -> None:
    parents = [one for one in root.iter() if len(one)]
    if parents:
        parent = rng.choice(parents)
        parent.remove(rng.choice(list(parent)))


def repeat(root: ElementTree.Element, rng: random.Random) -> None:
    copied = deepcopy(rng.choice(list(root.iter())))
    rng.choice(list(root.iter())).extend([copied] * rng.choice([1, 2, 200]))


def nest(root: ElementTree.Element, rng: random.Random) -> None:
    element = rng.choice(list(root.iter()))
    for _ in range(rng.choice([1, 30, 300])):
        element = ElementTree.SubElement(element, element.tag, dict(element.attrib))
        element.text = "1"


XML_CHANGES = (change_text, change_text, change_attribute, change_attribute, change_name, leave_out, repeat, nest)


# ---- TIFF


TIFF_TAGS = [254, 256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 280, 281, 284, 296, 297, 317, 318, 320, 322]
TIFF_TAGS += [323, 324, 325, 330, 338, 339, 340, 341, 347, 529, 530, 531, 532, 33550, 33922, 34264, 34665, 34675]
TIFF_TAGS += [34735, 34736, 34737, 42112, 42113, 50706, 65000]
TIFF_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
DOUBLES = [0.0, -0.0, -1.0, 1e-300, 1e10, 1e308, math.nan, math.inf, -math.inf]


class Tiff:
    """The directories of a TIFF file as bytes that can be changed in place."""

    def __init__(self, content: bytes) -> None:
        self.data = bytearray(content)
        self.order = "<" if content[:2] == b"II" else ">"
        self.big = content[2:4] in (b"+\0", b"\0+")
        self.word, self.entry_bytes, self.head = ("Q", 20, 8) if self.big else ("I", 12, 2)
        self.directories: list[tuple[int, int]] = []  # place of the first entry, number of entries
        self._find(self.get(self.word, 8 if self.big else 4))

    def get(self, kind: str, at: int) -> int:
        return int(struct.unpack_from(self.order + kind, self.data, at)[0])

    def put(self, kind: str, at: int, value: float) -> None:
        size = struct.calcsize(kind)
        if 0 <= at <= len(self.data) - size:
            whole = value if kind in "fd" else int(value) % (1 << 8 * size)
            struct.pack_into(self.order + kind, self.data, at, whole)

    def _find(self, at: int) -> None:
        while at and at < len(self.data) and all(at + self.head != place for place, _ in self.directories):
            count = self.get("Q" if self.big else "H", at)
            self.directories.append((at + self.head, count))
            end = at + self.head + count * self.entry_bytes
            for entry in range(at + self.head, end, self.entry_bytes):
                if self.get("H", entry) == 330:
                    for inner in self.values(entry):
                        self._find(self.get(self.word, inner))
            at = self.get(self.word, end)

    def values(self, entry: int) -> list[int]:
        """Where the values of a tag lie in the file."""
        size, count = TIFF_BYTES.get(self.get("H", entry + 2), 1), self.get(self.word, entry + 4)
        place = entry + (12 if self.big else 8)
        start = place if count * size <= struct.calcsize(self.word) else self.get(self.word, place)
        return [at for at in range(start, start + min(count, 10_000) * size, size) if at + size <= len(self.data)]


def mutated_tiff(content: bytes, rng: random.Random) -> bytes:
    """Other tags in a directory of the file: number, type, count, value, order, twice; other offsets; or any damage."""
    if rng.random() < 0.25:
        return mutated(content, rng)
    tiff = Tiff(content)
    for _ in range(rng.choice([1, 1, 2, 3])):
        change_tag(tiff, rng)
    return bytes(tiff.data)


def change_tag(tiff: Tiff, rng: random.Random) -> None:
    first, count = rng.choice(tiff.directories)
    size, word, end = tiff.entry_bytes, tiff.word, first + count * tiff.entry_bytes
    one, other = (first + rng.randrange(count) * size for _ in range(2))
    places, offsets = tiff.values(one), [0, 1, first - tiff.head, end, len(tiff.data), len(tiff.data) - 1, 2**32 + 8]
    value = rng.choice([*EXTREMES, *offsets, rng.randrange(len(tiff.data))])
    kind = rng.randrange(10)
    if kind == 0:
        tiff.put("H", one, rng.choice([*TIFF_TAGS, rng.randrange(2**16)]))
    elif kind == 1:
        tiff.put("H", one + 2, rng.choice([*TIFF_BYTES, 0, 14, 15, 129, 0xFFFF]))
    elif kind == 2:
        tiff.put(word, one + 4, rng.choice([value, tiff.get(word, one + 4) + rng.choice([-1, 1])]))
    elif kind == 3:
        tiff.put(word, one + (12 if tiff.big else 8), value)
    elif kind == 4:  # out of order, or one of them twice
        a, b = tiff.data[one : one + size], tiff.data[other : other + size]
        tiff.data[one : one + size] = b
        tiff.data[other : other + size] = a if rng.random() < 0.5 else b
    elif kind == 5:
        tiff.put(word, end, value)  # of the next directory
    elif kind == 6:
        tiff.put("Q" if tiff.big else "H", first - tiff.head, rng.choice([0, 1, count - 1, count + 1, 0xFFFF]))
    elif kind in (7, 8) and places:
        change_value(tiff, one, rng)
    else:  # a tag that was not there, in the place of another
        tiff.put("H", one, rng.choice(TIFF_TAGS))
        tiff.put("H", one + 2, rng.choice([3, 4, 16, 12, 2]))
        tiff.put(word, one + 4, rng.choice([0, 1, 2, 3, 4, 6, 16, 2**20]))
        tiff.put(word, one + (12 if tiff.big else 8), value)


def change_value(tiff: Tiff, entry: int, rng: random.Random) -> None:
    """One of a tag's values, or all of them."""
    kind = {1: "B", 3: "H", 4: "I", 8: "h", 9: "i", 11: "f", 12: "d", 16: "Q"}.get(tiff.get("H", entry + 2), "B")
    odd = rng.choice(DOUBLES if kind in "fd" else EXTREMES)
    places = tiff.values(entry)
    for at in places if rng.random() < 0.2 else [rng.choice(places)]:
        tiff.put(kind, at, min(odd, 3e38) if kind == "f" else odd)


BY_SUFFIX: dict[str, Callable[[bytes, random.Random], bytes]] = {
    ".toml": mutated_text,
    ".safetensors": mutated_tensors,
    **dict.fromkeys((".json", ".geojson"), mutated_json),
    **dict.fromkeys((".xml", ".yaml", ".csv", ".txt"), mutated_markup),
    **dict.fromkeys((".tif", ".tiff"), mutated_tiff),
}
"""How a file is mutated by the structure of its format; all others as bytes, by `mutated`."""


def mutated_file(suffix: str, content: bytes, rng: random.Random) -> bytes:
    return BY_SUFFIX.get(suffix, mutated)(content, rng)
