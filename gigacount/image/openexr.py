"""OpenEXR, read some rows at a time by the package OpenEXR: linear light in 16 or 32 bits.

The colours are the channels R, G and B, or Y, of no layer, else of the first layer that has them (as Blender writes
them); A of the same layer is opacity, by which the colours are multiplied. A viewer shows 0 black and 1 white.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .form import Form, NotReadError, ReadRows


def read_form(path: Path) -> Form:
    """Raises ImportError, NotReadError, ValueError."""
    header, names = _header(path)
    left, top, right, bottom = _window(header)
    coloured = len(names) > 2
    interpretation = "scrgb" if coloured else "b-w"
    return Form((right - left + 1, bottom - top + 1), len(names), "float32", interpretation)


def open_rows(path: Path) -> ReadRows:
    """Numbers of float32, the colours no longer multiplied by the opacity. Raises as `read_form` does."""
    import Imath
    import OpenEXR

    header, names = _header(path)
    left, first, right, _ = _window(header)
    file = OpenEXR.InputFile(str(path))
    floats = Imath.PixelType(Imath.PixelType.FLOAT)

    def read(top: int, count: int) -> NDArray[Any]:
        bands = file.channels(names, floats, first + top, first + top + count - 1)
        shape = count, right - left + 1
        pixels = np.stack([np.frombuffer(band, np.float32).reshape(shape) for band in bands], axis=2)
        if len(names) % 2 == 0:
            alpha = pixels[:, :, -1:]
            np.divide(pixels[:, :, :-1], alpha, out=pixels[:, :, :-1], where=alpha > 0)
        return pixels

    return read


def _header(path: Path) -> tuple[dict[str, Any], list[str]]:
    """The header of the file's first picture, and its channels that are seen: colours, then opacity if there is one."""
    import OpenEXR

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Not by InputFile, which crashes over names that are no UTF-8.
        parts = OpenEXR.File(str(path), separate_channels=True, header_only=True).parts
    if not parts:
        raise ValueError("its header cannot be read")
    header: dict[str, Any] = parts[0].header
    if header["type"] in (OpenEXR.deepscanline, OpenEXR.deeptile):
        raise NotReadError("with deep pixels is no picture; flatten it")
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
    raise NotReadError(f"without channels R, G and B, or Y, is no picture; it has {', '.join(channels):.100}")


def _window(header: dict[str, Any]) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the pixels that there are, the last ones included."""
    (left, top), (right, bottom) = header["dataWindow"]
    return int(left), int(top), int(right), int(bottom)
