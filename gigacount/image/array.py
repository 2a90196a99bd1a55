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


_AS_FILE = "leaves open what its values mean; give the path of its file, or an array (H, W, 3) of uint8"


def _pixels_of_pillow(picture: Any) -> NDArray[np.uint8]:
    from PIL import ImageOps

    transparent = " with transparency" if "transparency" in picture.info else ""
    if transparent or picture.mode not in ("1", "L", "P", "RGB", "CMYK", "YCbCr"):
        raise UsageError(f"a Pillow image of mode {picture.mode}{transparent} {_AS_FILE}")
    try:
        pixels = np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
    except ValueError as error:
        raise UsageError(f"a Pillow image that cannot be read: {error}") from error
    if pixels.size == 0:
        raise UsageError("a Pillow image without pixels")
    return pixels


def pixels_of(picture: Any) -> NDArray[np.uint8]:
    """The upright sRGB pixels (H, W, 3) of a NumPy array (H, W, 3) or (H, W), a Pillow image, or a pyvips image.

    Raises UsageError for anything else.
    """
    if hasattr(picture, "getexif"):  # Pillow
        return _pixels_of_pillow(picture)
    if hasattr(picture, "autorot"):  # pyvips
        plain = (
            picture.format == "uchar" and picture.bands in (1, 3) and picture.interpretation in ("b-w", "srgb", "rgb")
        )
        if not plain:
            raise UsageError(f"a pyvips image of {picture.bands} bands of {picture.format} {_AS_FILE}")
        pixels = to_array(picture.autorot())
        return np.repeat(pixels, 3, axis=2) if picture.bands == 1 else pixels
    if isinstance(picture, np.ndarray) and picture.dtype == np.uint8 and picture.size:
        if picture.ndim == 2:
            return np.repeat(picture[:, :, None], 3, axis=2)
        if picture.ndim == 3 and picture.shape[2] == 3:
            return np.ascontiguousarray(picture)
    kind = f"{picture.dtype} {picture.shape}" if isinstance(picture, np.ndarray) else type(picture).__name__
    raise UsageError(f"a picture must be a path, a uint8 array (H, W, 3), or an image of Pillow or pyvips, not {kind}")
