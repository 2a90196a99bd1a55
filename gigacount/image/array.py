"""Pictures that are pixels already: NumPy arrays, and images of Pillow and pyvips."""

from __future__ import annotations

from types import TracebackType
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

    def valid(self, window: Window, size_wh: Size) -> NDArray[np.float32] | None:
        """Nothing: every pixel is ground."""
        return None

    def missing(self, window: Window) -> float:
        """No pixel is missing."""
        return 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def pixels_of(picture: Any) -> NDArray[np.uint8]:
    """The upright sRGB pixels (H, W, 3) of a NumPy array (H, W, 3) or (H, W), a Pillow image, or a pyvips image.

    Raises UsageError for anything else.
    """
    if hasattr(picture, "getexif"):  # Pillow
        from PIL import ImageOps

        return np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
    if hasattr(picture, "autorot"):  # pyvips
        upright = picture.autorot().colourspace("srgb")
        return to_array((upright.flatten(background=255) if upright.hasalpha() else upright).cast("uchar"))
    if isinstance(picture, np.ndarray) and picture.dtype == np.uint8 and picture.size:
        if picture.ndim == 2:
            return np.repeat(picture[:, :, None], 3, axis=2)
        if picture.ndim == 3 and picture.shape[2] == 3:
            return np.ascontiguousarray(picture)
    kind = f"{picture.dtype} {picture.shape}" if isinstance(picture, np.ndarray) else type(picture).__name__
    raise UsageError(f"a picture must be a path, a uint8 array (H, W, 3), or an image of Pillow or pyvips, not {kind}")
