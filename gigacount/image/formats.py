"""Headers of formats that Python decodes: what they have in common, JPEG XL and OpenEXR."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gigacount.geometry import Size

ReadRows = Callable[[int, int], NDArray[Any]]
"""Numbers (rows, cols, bands) of the rows from the first on, as many as the second says."""

Opened = tuple["Form", Callable[[], ReadRows]]
"""A file's header, and what begins to decode it."""

JXL_SHAPES = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
JXL_ALPHA = 0  # the type of an extra channel that is opacity


class NotReadError(Exception):
    """A sound file of a kind that is not read: what it is, and what to do."""


@dataclass(frozen=True)
class Form:
    """An image's header. size_wh: as it will be decoded. dtype, interpretation: of the numbers, as NumPy and libvips
    name them. profile: ICC. pages: images in the file.
    """

    size_wh: Size
    bands: int = 3
    dtype: str = "uint8"
    interpretation: str = "srgb"
    profile: bytes = b""
    pages: int = 1


class _Bits:
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

    def jxl_size(self) -> Size:
        def side(small: bool) -> int:
            return (self.take(5) + 1) * 8 if small else self.take((9, 13, 18, 30)[self.take(2)]) + 1

        small = bool(self.take(1))
        height = side(small)
        ratio = self.take(3)
        width = height * JXL_SHAPES[ratio - 1][0] // JXL_SHAPES[ratio - 1][1] if ratio else side(small)
        return width, height


def jxl_form(path: Path) -> Form:
    """The header of a JPEG XL file, read bit by bit (ISO/IEC 18181-1, annexes C and D). Raises OSError."""
    with path.open("rb") as file:
        data = file.read(65_536)
    start = 0 if data[:2] == b"\xff\x0a" else data.find(b"\xff\x0a", data.find(b"jxl", 16))
    bits = _Bits(data[start + 2 : start + 258])
    width, height = bits.jxl_size()
    if bits.take(1):  # all as usual
        return Form((width, height))
    if bits.take(1):
        if bits.take(3) >= 4:
            width, height = height, width
        if bits.take(1):
            bits.jxl_size()
        if bits.take(1):
            return Form((width, height))  # a preview, which nobody writes
        if bits.take(1):  # animated
            bits.choice((100, 0), (1000, 0), (1, 10), (1, 30))
            bits.choice((1, 0), (1001, 0), (1, 8), (1, 10))
            bits.choice((0, 0), (0, 3), (0, 16), (0, 32))
            bits.take(1)
    floating = bool(bits.take(1))
    depth = (
        bits.choice((32, 0), (16, 0), (24, 0), (1, 6)) if floating else bits.choice((8, 0), (10, 0), (12, 0), (1, 6))
    )
    bits.take(5 if floating else 1)
    extra = bits.choice((0, 0), (1, 0), (2, 4), (1, 12))
    alpha = False
    if extra:  # imagecodecs decodes opacity alone, not the others
        alpha = bool(bits.take(1)) or bits.choice((0, 0), (1, 0), (2, 4), (18, 6)) == JXL_ALPHA
    deep = depth > 8 or floating
    return Form((width, height), 3 + alpha, "uint16" if deep else "uint8", "rgb16" if deep else "srgb")


def open_exr(path: Path) -> Opened:
    """An OpenEXR file: linear light in float32. Raises ImportError, NotReadError, ValueError.

    The colours are the channels R, G and B, or Y, of no layer, else of the first layer that has them (as Blender writes
    them); A of the same layer is opacity, by which the colours are multiplied in the file, and are not any more here. A
    viewer shows 0 black and 1 white.
    """
    header, names = _exr_header(path)
    # Of the pixels that there are; the last ones included.
    (left, first), (right, last) = (map(int, corner) for corner in header["dataWindow"])

    def begin() -> ReadRows:
        import Imath
        import OpenEXR

        file, floats = OpenEXR.InputFile(str(path)), Imath.PixelType(Imath.PixelType.FLOAT)

        def read(top: int, count: int) -> NDArray[Any]:
            bands = file.channels(names, floats, first + top, first + top + count - 1)
            shape = count, right - left + 1
            pixels = np.stack([np.frombuffer(band, np.float32).reshape(shape) for band in bands], axis=2)
            if len(names) % 2 == 0:
                alpha = pixels[:, :, -1:]
                np.divide(pixels[:, :, :-1], alpha, out=pixels[:, :, :-1], where=alpha > 0)
            return pixels

        return read

    size_wh = right - left + 1, last - first + 1
    return Form(size_wh, len(names), "float32", "scrgb" if len(names) > 2 else "b-w"), begin


def _exr_header(path: Path) -> tuple[dict[str, Any], list[str]]:
    """The header of the file's first image, and its channels that are shown: colours, then opacity if there is one."""
    import OpenEXR

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Not by InputFile, which crashes over names that are no UTF-8.
        parts = OpenEXR.File(str(path), separate_channels=True, header_only=True).parts
    if not parts:
        raise ValueError("its header cannot be read")
    header: dict[str, Any] = parts[0].header
    if header["type"] in (OpenEXR.deepscanline, OpenEXR.deeptile):
        raise NotReadError("with deep pixels is not supported here; flatten it")
    channels = {channel.name: (channel.xSampling, channel.ySampling) for channel in header["channels"]}
    for layer in dict.fromkeys(["", *(name.rpartition(".")[0] for name in channels)]):
        start = f"{layer}." if layer else ""
        for colours in (("R", "G", "B"), ("Y",)):
            names = [f"{start}{colour}" for colour in colours]
            if all(name in channels for name in names):
                names += [f"{start}A"] if f"{start}A" in channels else []
                if any(channels[name] != (1, 1) for name in names):
                    raise NotReadError("with channels of different sizes is not supported here; save it as RGB")
                return header, names
    raise NotReadError(f"without channels R, G and B, or Y, is not supported here; it has {', '.join(channels):.100}")
