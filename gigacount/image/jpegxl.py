"""The header of a JPEG XL file, read bit by bit (ISO/IEC 18181-1, annexes C and D); imagecodecs decodes the rest."""

from __future__ import annotations

from pathlib import Path

from gigacount.geometry import Size

from .form import Form

SHAPES = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
ALPHA = 0
"""The type of an extra channel that is opacity."""


class Bits:
    """Numbers from the least significant bit on."""

    def __init__(self, data: bytes) -> None:
        self._number, self._at = int.from_bytes(data, "little"), 0

    def take(self, count: int) -> int:
        value = self._number >> self._at & (1 << count) - 1
        self._at += count
        return value

    def choice(self, *forms: tuple[int, int]) -> int:
        """One of four forms: a value to which some bits are added."""
        value, bits = forms[self.take(2)]
        return value + self.take(bits)


def read_form(path: Path) -> Form:
    """Raises OSError."""
    with path.open("rb") as file:
        data = file.read(65_536)
    start = 0 if data[:2] == b"\xff\x0a" else data.find(b"\xff\x0a", data.find(b"jxl", 16))
    bits = Bits(data[start + 2 : start + 258])
    width, height = _size(bits)
    if bits.take(1):  # all as usual
        return Form((width, height))
    turned, animated = False, False
    if bits.take(1):
        turned = bits.take(3) >= 4
        if bits.take(1):
            _size(bits)
        if bits.take(1):
            return Form((height, width) if turned else (width, height))  # a preview, which nobody writes
        animated = bool(bits.take(1))
        if animated:
            bits.choice((100, 0), (1000, 0), (1, 10), (1, 30))
            bits.choice((1, 0), (1001, 0), (1, 8), (1, 10))
            bits.choice((0, 0), (0, 3), (0, 16), (0, 32))
            bits.take(1)
    depth, floating = _depth(bits)
    bits.take(1)
    extra = bits.choice((0, 0), (1, 0), (2, 4), (1, 12))
    alpha = False
    for _ in range(min(extra, 1)):  # the others are not looked at: imagecodecs hands out opacity alone
        alpha = bool(bits.take(1)) or bits.choice((0, 0), (1, 0), (2, 4), (18, 6)) == ALPHA
    deep = depth > 8 or floating
    kind, interpretation = ("uint16", "rgb16") if deep else ("uint8", "srgb")
    size_wh = (height, width) if turned else (width, height)
    return Form(size_wh, 3 + alpha, kind, interpretation)


def _size(bits: Bits) -> Size:
    def side(small: bool) -> int:
        return (bits.take(5) + 1) * 8 if small else bits.take((9, 13, 18, 30)[bits.take(2)]) + 1

    small = bool(bits.take(1))
    height = side(small)
    ratio = bits.take(3)
    width = height * SHAPES[ratio - 1][0] // SHAPES[ratio - 1][1] if ratio else side(small)
    return width, height


def _depth(bits: Bits) -> tuple[int, bool]:
    if not bits.take(1):
        return bits.choice((8, 0), (10, 0), (12, 0), (1, 6)), False
    depth = bits.choice((32, 0), (16, 0), (24, 0), (1, 6))
    bits.take(4)
    return depth, True
