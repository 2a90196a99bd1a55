"""Any kind of pixel to the sRGB picture that a viewer shows.

In two steps, because a gigapixel is stored once and looked at many times: `store` brings pixels to 8 bits and one or
three bands, whatever they were; `finish` brings the few pixels of a look from there to sRGB, where an ICC profile
costs little.

Where viewers differ, this is what happens:
- Transparent parts lie on white.
- 16 bits count as 0..65535, other integers as 0..their largest value, without stretching.
- Floating point counts as linear light, 0 black and 1 white (as Photoshop and libvips take it).
- Pictures of more than four bands show the first three.
- A profile that does not fit its picture is ignored.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .vips import VipsError, VipsImage, errors, field, from_array, to_array, to_srgb, with_profile

_DEVICE = ("b-w", "srgb", "rgb", "multiband")
"""Interpretations whose 8-bit values are kept as they are until a look is finished."""

_LARGEST = {"char": 127, "ushort": 65535, "short": 32767, "uint": 2**32 - 1, "int": 2**31 - 1}

_WHITE: dict[str, Any] = {
    "b-w": 255,
    "srgb": 255,
    "grey16": 65535,
    "rgb16": 65535,
    "scrgb": 1,
    "cmyk": 0,
    "lab": [100, 0, 0],
    "labs": [32767, 0, 0],
}


@dataclass(frozen=True)
class Colour:
    """How the looks of one picture become sRGB. profile: the ICC profile to apply to stored pixels, if any."""

    profile: bytes | None

    @classmethod
    def of(cls, image: VipsImage) -> Colour:
        """Decide from an opened picture, without reading pixels."""
        profile = field(image, "icc-profile-data")
        if profile is None or not _is_device(image):
            return cls(None)
        colour = cls(bytes(profile))
        try:
            colour.finish(np.zeros((1, 1, 1 if image.bands < 3 else 3), np.uint8))
        except VipsError:
            return cls(None)
        return colour

    def finish(self, stored: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Stored pixels (rows, cols, 1 or 3) as sRGB (rows, cols, 3)."""
        if self.profile is not None:
            return to_array(to_srgb(with_profile(from_array(stored), self.profile)))
        if stored.shape[2] == 1:
            return np.repeat(stored, 3, axis=2)
        return stored


def store(image: VipsImage) -> VipsImage:
    """Any picture as one of 8 bits and one or three bands; lazily, no pixel is computed. Raises VipsError."""
    if "complex" in image.format:
        raise VipsError("complex numbers are no picture")
    with errors():
        if _is_device(image):
            return _flatten(image, "b-w" if image.bands < 3 else "srgb")
        kind = _kind(image)
        image = _flatten(image, kind)
        if field(image, "icc-profile-data") is not None and kind in ("cmyk", "grey16", "rgb16"):
            with suppress(VipsError):  # a profile of another kind of picture: go on without it
                return to_srgb(image)
        return _without_profile(image, kind)


def _is_device(image: VipsImage) -> bool:
    return image.coding == "none" and image.format == "uchar" and image.interpretation in _DEVICE


def _kind(image: VipsImage) -> str:
    """What the bands mean, in libvips' words, where the loader left that open."""
    kind: str = image.interpretation
    if kind not in (*_DEVICE, "grey16", "rgb16", "scrgb"):
        return kind
    if image.format in ("float", "double"):
        return "scrgb"
    return "grey16" if image.bands < 3 else "rgb16"


def _flatten(image: VipsImage, kind: str) -> VipsImage:
    """Lay transparent parts on white and drop bands that are no colour."""
    if image.coding != "none" or kind not in _WHITE:
        return image
    colours = 4 if kind == "cmyk" else 1 if image.bands < 3 else 3
    image = image.copy(interpretation=kind)
    if image.bands == colours + 1:
        return image.flatten(background=_WHITE[kind])
    return image.extract_band(0, n=colours) if image.bands > colours else image


def _without_profile(image: VipsImage, kind: str) -> VipsImage:
    if kind in ("grey16", "rgb16"):
        largest = _LARGEST[image.format]
        return (image * (255 / largest)).rint().cast("uchar").copy(interpretation="b-w" if image.bands == 1 else "srgb")
    if kind == "scrgb" and image.bands == 1:
        return image.bandjoin([image, image]).copy(interpretation="scrgb").colourspace("srgb").extract_band(1)
    return image.colourspace("srgb").cast("uchar")
