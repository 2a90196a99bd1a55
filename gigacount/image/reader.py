"""GigaImage: the only way to pixels."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from gigacount.errors import DataError
from gigacount.geometry import Size, Window, whole
from gigacount.options import ReadOptions

from .georeference import Georeference
from .geotags import georeference_of
from .ground import GroundTally
from .imagefile import ImageFile
from .info import ImageInfo
from .resample import resample
from .source import LevelSource, Notify, Tiled
from .streamed import Streamed
from .vips import VipsError


class GigaImage:
    """An image of any size, read window by window as the upright sRGB image that a viewer shows.

        with GigaImage.open(Path("photo.jpg")) as image:
            pixels = image.read(Window(8000, 4000, 5120, 2880), (2560, 1440))  # uint8 (1440, 2560, 3)

    Several threads may read. Closing (also by an error or Ctrl-C) leaves no file behind.
    """

    def __init__(self, file: ImageFile, notify: Notify) -> None:
        self._tally = GroundTally()
        self._source: LevelSource
        try:
            self._source = Tiled(file, notify) if file.copies else Streamed(file, notify)
        except VipsError as error:
            raise file.damaged(error) from error

    @classmethod
    def open(cls, path: Path, options: ReadOptions | None = None, notify: Notify = lambda message: None) -> GigaImage:
        """Open an image by its header, which is fast. `notify` gets a line when a scratch file is made, and the like.

        Raises ImageError, in one line: missing, unreadable, no image, too large.
        """
        return cls(ImageFile.open(path, options or ReadOptions()), notify)

    @property
    def info(self) -> ImageInfo:
        """The image's header, and the range of its values once pixels have been read."""
        return self._file.info

    @property
    def size_wh(self) -> Size:
        """Pixels of the upright image."""
        return self._file.info.size_wh

    @property
    def notes(self) -> tuple[str, ...]:
        """What was assumed about the image and what is odd about it, a line each; complete after the last look."""
        return self.info.notes + self._source.notes + self._place[1] + self._tally.notes

    @property
    def georeference(self) -> Georeference | None:
        """Where the upright image lies on the earth; None where no file says it soundly (see notes)."""
        return self._place[0]

    @cached_property
    def _place(self) -> tuple[Georeference | None, tuple[str, ...]]:
        try:
            found = georeference_of(self.info.path, self.size_wh, self.info.orientation)
            return found, (found.said,) if found and found.said else ()
        except DataError as error:
            return None, (str(error).removeprefix(f"{self.info.path}: ") + "; no georeference is used",)

    @property
    def decodes(self) -> int:
        """How often the file has been decoded from end to end."""
        return self._source.decodes

    @property
    def scratch(self) -> tuple[Path, int] | None:
        """The folder and size in bytes of the scratch file, while there is one."""
        scratch = self._source.scratch
        return (scratch.folder, scratch.size) if scratch else None

    def prepare(self, looks: int) -> None:
        """Announce how many looks will be taken, so that the file is decoded once and only as far as they need.

        Returns at once: decoding goes on in the background. Raises OutputError when there is no room for the scratch.
        """
        self._source.prepare(looks)

    def read(self, window: Window, size_wh: Size) -> NDArray[np.uint8]:
        """A window of the upright image at `size_wh` pixels, as sRGB (height, width, 3).

        Pixel j of the result is centred at (j + 0.5) / size of the window, whether it is shrunk or enlarged.
        Raises ImageError when the file is damaged, OutputError when the scratch file cannot be written.
        """
        if not whole(self.size_wh).contains(window) or min(*window.size_wh, *size_wh) < 1:
            raise ValueError(f"no look of {size_wh} at {window} in an image of {self.size_wh}")
        orientation = self._file.orientation
        stored = orientation.stored(window, self.size_wh)
        try:
            pixels, ground = self._look(stored, orientation.size(size_wh))
        except VipsError as error:
            raise self._file.damaged(error) from error
        pixels = np.ascontiguousarray(orientation.upright(pixels))
        self._tally.add(window, pixels, None if ground is None else orientation.upright(ground)[:, :, 0])
        return pixels

    def _look(self, stored: Window, stored_wh: Size) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
        """A window in the orientation as stored, and how much of each pixel is ground, (rows, cols, 1).

        Raises VipsError, ImageError, OutputError.
        """
        ratio = min(stored.width / stored_wh[0], stored.height / stored_wh[1])
        pixels = resample(self._source.level(stored, ratio), stored, stored_wh)
        colour = self._file.colour
        if not self._file.has_nodata:
            return colour.finish(pixels), None
        return colour.finish(pixels[:, :, :-1]), pixels[:, :, -1:]

    def valid(self, window: Window, size_wh: Size) -> NDArray[np.float32] | None:
        """The share of each pixel of a look that is ground, 0..1, (height, width), with the geometry of `read`.

        None for an image of which every pixel is ground: without transparency, mask or nodata. Raises as `read` does.
        """
        if not self._file.has_nodata:
            return None
        ground = self._tally.ground(window, size_wh)
        if ground is None:
            self.read(window, size_wh)
            ground = self._tally.ground(window, size_wh)
        assert ground is not None
        return ground.astype(np.float32) / np.float32(255)

    @property
    def ground_share(self) -> float | None:
        """The share of the image that is ground, 0..1, as the widest looks show it; None before the first look."""
        return self._tally.share

    @property
    def must_decode(self) -> bool:
        """Whether the range of values or the share of ground is known only once pixels have been read."""
        return self._file.samples.open or self._file.has_nodata

    def missing(self, window: Window) -> float:
        """The share of a window's pixels, 0..1, that are damaged and for which grey stands in (--allow-damaged).

        Of what has been read: ask after `read` of the same window.
        """
        return self._source.missing(self._file.orientation.stored(window, self.size_wh))

    def close(self) -> None:
        """Stop decoding and remove the scratch file."""
        self._source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def _file(self) -> ImageFile:
        return self._source.file
