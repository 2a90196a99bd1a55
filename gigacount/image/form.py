"""What a format that Python decodes says of its pixels, and how it hands them out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from gigacount.geometry import Size

ReadRows = Callable[[int, int], NDArray[Any]]
"""Numbers (rows, cols, bands) of the rows from the first on, as many as the second says."""


class NotReadError(Exception):
    """A sound file of a kind that is not read: what it is, and what to do."""


@dataclass(frozen=True)
class Form:
    """A picture's header. size_wh: as it will be decoded. dtype, interpretation: of the numbers, as NumPy and libvips
    name them. profile: ICC. pages: pictures in the file. orientation: EXIF.
    """

    size_wh: Size
    bands: int = 3
    dtype: str = "uint8"
    interpretation: str = "srgb"
    profile: bytes = b""
    pages: int = 1
    orientation: int = 1
