"""Images whose pixels are in memory already: NumPy arrays, and images of Pillow and pyvips."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from gigacount.errors import UsageError
from gigacount.geometry import Size, Window

from .georeference import Georeference
from .levels import MemoryLevel
from .resample import resample
from .vips import to_array


class ArrayImage:
    """Pixels in memory, to be read like a `GigaImage`."""

    georeference: Georeference | None = None
    notes: tuple[str, ...] = ()

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        self.size_wh: Size = pixels.shape[1], pixels.shape[0]
        self._level = MemoryLevel(pixels, 1)

    def prepare(self, looks: int) -> None:
        """Nothing: all pixels are at hand."""

    def read(self, window: Window, size_wh: Size) -> NDArray[np.uint8]:
        """A window at `size_wh` pixels, (height, width, 3)."""
        return np.ascontiguousarray(resample(self._level, window, size_wh))

    def valid(self, window: Window, size_wh: Size) -> None:
        """Nothing: every pixel is ground."""

    def missing(self, window: Window) -> float:
        """No pixel is missing."""
        return 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None: ...


_AS_FILE = "is not supported; give the path of its file, or an array (H, W, 3) of uint8"


def _pixels_of_pillow(image: Any) -> NDArray[np.uint8]:
    from PIL import ImageOps

    transparent = " with transparency" if "transparency" in image.info else ""
    if transparent or image.mode not in ("1", "L", "P", "RGB", "CMYK", "YCbCr"):
        raise UsageError(f"a Pillow image of mode {image.mode}{transparent} {_AS_FILE}")
    try:
        pixels = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except ValueError as error:
        raise UsageError(f"a Pillow image that cannot be read: {error}") from error
    if pixels.size == 0:
        raise UsageError("a Pillow image without pixels")
    return pixels


def pixels_of(image: Any) -> NDArray[np.uint8]:
    """The upright sRGB pixels (H, W, 3) of a NumPy array (H, W, 3) or (H, W), a Pillow image, or a pyvips image.

    Raises UsageError for anything else.
    """
    if hasattr(image, "getexif"):  # Pillow
        return _pixels_of_pillow(image)
    if hasattr(image, "autorot"):  # pyvips
        plain = image.format == "uchar" and image.bands in (1, 3) and image.interpretation in ("b-w", "srgb", "rgb")
        if not plain:
            raise UsageError(f"a pyvips image of {image.bands} bands of {image.format} {_AS_FILE}")
        pixels = to_array(image.autorot())
        return np.repeat(pixels, 3, axis=2) if image.bands == 1 else pixels
    if isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.size:
        if image.ndim == 2:
            return np.repeat(image[:, :, None], 3, axis=2)
        if image.ndim == 3 and image.shape[2] == 3:
            return np.ascontiguousarray(image)
    kind = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
    raise UsageError(f"an image must be a path, a uint8 array (H, W, 3), or an image of Pillow or pyvips, not {kind}")
