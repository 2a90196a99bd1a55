"""What can be told about a picture from its header."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gigacount.geometry import Size


@dataclass(frozen=True)
class ImageInfo:
    """A picture's header.

    size_wh: upright, in pixels. level_sizes: upright sizes of all resolutions in the file, the full one first.
    tile_wh: of the full resolution, as stored; None when the file must be decoded from top to bottom.
    colour: "grey", "RGB", "CMYK", ... bands: with transparency. bits: per band, of integers or floating point.
    orientation: EXIF, 1..8, as stored. icc: whether a colour profile is embedded.
    progressive: whether the file's layout makes libvips hold the whole picture while decoding.
    notes: what was assumed about the picture and what is odd about it, a line each.
    """

    path: Path
    format: str
    size_wh: Size
    level_sizes: tuple[Size, ...]
    tile_wh: Size | None
    colour: str
    bands: int
    bits: int
    floating_point: bool
    orientation: int
    icc: bool
    progressive: bool
    file_bytes: int
    notes: tuple[str, ...] = ()
