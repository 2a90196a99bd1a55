"""Any kind of pixel to the sRGB image that a viewer shows.

In two steps, because a gigapixel image is stored once and read many times: `store` brings pixels to 8 bits and one or
three bands, whatever they were, and one more for how much of each is ground where that is not all; `finish` brings the
few pixels of a look from there to sRGB, where an ICC profile costs little.

Where viewers differ:
- What is no ground (transparent, masked, nodata) lies on white.
- Values are stretched where a part of their range is used (see samples): 12-bit cameras, reflectance, floats up to 255.
- Floating point up to about 1 counts as linear light, 0 black and 1 white (as Photoshop and libvips take it).
- Images of more bands show three (see samples).
- A profile that does not fit its image is ignored.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .samples import DEVICE, LARGEST, NODATA_TOLERANCE, Samples
from .vips import VipsError, VipsImage, errors, field, from_array, to_array, to_srgb


@dataclass(frozen=True)
class Colour:
    """How the looks of one image become sRGB. profile: the ICC profile to apply to stored pixels, if any."""

    profile: bytes | None

    @classmethod
    def of(cls, image: VipsImage, samples: Samples) -> Colour:
        """Decide from an opened image, without reading pixels."""
        profile = field(image, "icc-profile-data")
        if profile is None or samples.colours is None or samples.kind.format != "uchar":
            return cls(None)
        colour = cls(bytes(profile))
        try:
            colour.finish(np.zeros((1, 1, len(samples.colours)), np.uint8))
        except VipsError:
            return cls(None)
        return colour

    def finish(self, stored: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Stored pixels (rows, cols, 1 or 3) as sRGB (rows, cols, 3)."""
        if self.profile is not None:
            return to_array(to_srgb(from_array(stored, profile=self.profile)))
        if stored.shape[2] == 1:
            return np.repeat(stored, 3, axis=2)
        return stored


def store(image: VipsImage, samples: Samples) -> VipsImage:
    """Any image as one of 8 bits and one or three bands, and one for its ground; lazily, no pixel is computed.

    Raises VipsError.
    """
    if "complex" in image.format:
        raise VipsError("complex numbers")
    with errors():
        seen = _seen(image, samples)
        if not samples.has_nodata:
            return seen
        ground = _ground(image, samples)
        return seen.bandjoin(ground).flatten(background=255).bandjoin(ground)


def _seen(image: VipsImage, samples: Samples) -> VipsImage:
    """The bands that are shown, in 8 bits."""
    if samples.colours is None:
        colours = 4 if image.interpretation == "cmyk" else 3
        if image.coding == "none" and image.bands > colours:
            image = image.extract_band(0, n=colours)
        return _converted(image)
    image = _picked(image, samples.colours)
    floating = samples.kind.floating_point
    if samples.span is not None:
        low, high = samples.span
        top, kind = (255, "uchar") if image.format == "uchar" else (65535, "ushort")
        image = ((image - low) * (top / (high - low))).rint().cast(kind)
        floating = False
    if image.format == "uchar":
        return image if image.interpretation in DEVICE[:3] else image.copy(interpretation=_plain(image))
    return _converted(image.copy(interpretation="scrgb" if floating else "grey16" if image.bands == 1 else "rgb16"))


def _plain(image: VipsImage) -> str:
    return "b-w" if image.bands == 1 else "srgb"


def _picked(image: VipsImage, bands: Sequence[int]) -> VipsImage:
    if tuple(bands) == tuple(range(image.bands)):
        return image
    first, *others = (image.extract_band(band) for band in bands)
    return first.bandjoin(others).copy(interpretation=image.interpretation) if others else first


def _ground(image: VipsImage, samples: Samples) -> VipsImage:
    """How much of each pixel is ground, 0..255."""
    ground: VipsImage = None
    if samples.alpha is not None:
        alpha = image.extract_band(samples.alpha)
        whole = samples.alpha_full == 255 and alpha.format == "uchar"
        ground = alpha if whole else (alpha * (255 / samples.alpha_full)).rint().cast("uchar")
    seen = _picked(image, samples.seen)
    for kept in _kept(seen, samples):
        ground = kept if ground is None else kept.ifthenelse(ground, 0)
    return ground.copy(interpretation="b-w")


def _kept(seen: VipsImage, samples: Samples) -> Iterator[VipsImage]:
    """Where the numbers themselves are ground: 255, else 0."""
    if samples.kind.floating_point:
        yield (seen == seen).bandand()  # a number that is none differs from itself
        if samples.nodata is not None:
            yield ((seen - samples.nodata).abs() > abs(samples.nodata) * NODATA_TOLERANCE).bandor()
    elif samples.nodata is not None:
        yield (seen != samples.nodata).bandor()


def _converted(image: VipsImage) -> VipsImage:
    """By its profile if it has one of its kind, else by its interpretation."""
    kind = image.interpretation
    if field(image, "icc-profile-data") is not None and kind in ("cmyk", "grey16", "rgb16"):
        with suppress(VipsError):  # a profile of another kind of image: go on without it
            return to_srgb(image)
    if kind in ("grey16", "rgb16"):
        largest = LARGEST[image.format]
        return (image * (255 / largest)).rint().cast("uchar").copy(interpretation=_plain(image))
    if kind == "scrgb" and image.bands == 1:
        return image.bandjoin([image, image]).copy(interpretation="scrgb").colourspace("srgb").extract_band(1)
    return image.colourspace("srgb").cast("uchar")
