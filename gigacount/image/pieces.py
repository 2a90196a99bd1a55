"""Tiles and strips of a TIFF file, decoded one by one with tifffile."""

from __future__ import annotations

import struct
from collections import OrderedDict
from logging import NullHandler, getLogger
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gigacount.geometry import Size

from .levels import LEFT_OUT
from .tags import Directory
from .vips import VipsError

ODD = (ValueError, LookupError, ArithmeticError, TypeError, AttributeError, RuntimeError, OSError, struct.error)
"""What tifffile and imagecodecs raise for odd files."""

MAX_SEGMENT_BYTES = 2**28
"""Bytes of a decoded tile or strip, which is decoded whole."""

Damage = list[tuple[tuple[slice, slice], tuple[int, int]]]
"""Damaged parts of a rectangle: where in it, and where the piece begins in the picture."""


def open_file(directory: Directory) -> Any:
    """The file of a directory by tifffile. Raises what ODD lists."""
    from tifffile import TiffFile

    getLogger("tifffile").addHandler(NullHandler())  # its complaints are ours to make
    getLogger("tifffile").propagate = False
    return TiffFile(directory.path)


def page_of(file: Any, directory: Directory) -> Any:
    """A directory as tifffile has it. Raises what ODD lists."""
    page = file.pages[directory.page]
    return page if directory.inner is None else page.pages[directory.inner]


def brief(error: Exception) -> str:
    """An error in a few words."""
    return " ".join(str(error).split())[:200] or type(error).__name__


class Pieces:
    """One picture of an opened file. lock: of the file, whose position all of its pictures share.

    forgiving: damaged pieces are told by place instead of raising VipsError. kept_bytes: of decoded pieces that are
    remembered.
    """

    def __init__(self, page: Any, directory: Directory, lock: Lock, forgiving: bool, kept_bytes: int = 0) -> None:
        self.directory = directory
        self.dtype: np.dtype[Any] = page.dtype
        self._page, self._lock, self._forgiving = page, lock, forgiving
        self._kept_bytes = kept_bytes
        self._kept: OrderedDict[int, NDArray[np.generic]] = OrderedDict()

    def rectangle(self, left: int, top: int, size_wh: Size) -> tuple[NDArray[Any], Damage]:
        """The file's own numbers, (rows, cols, bands), and where damage leaves none. Raises VipsError."""
        width, height = size_wh
        one = self.directory
        segment_w, segment_h = one.segment_wh
        across, down = (-(-side // part) for side, part in zip(one.size_wh, one.segment_wh, strict=True))
        numbers = np.empty((height, width, one.samples), self.dtype)
        damage: Damage = []
        for row in range(top // segment_h, -(-(top + height) // segment_h)):
            for col in range(left // segment_w, -(-(left + width) // segment_w)):
                x, y = col * segment_w - left, row * segment_h - top
                x0, y0 = max(x, 0), max(y, 0)
                x1, y1 = min(x + segment_w, width), min(y + segment_h, height)
                for plane in range(one.samples if one.separate else 1):
                    segment = self._segment((plane * down + row) * across + col)
                    bands = slice(plane, plane + 1) if one.separate else slice(None)
                    if segment is None:
                        damage.append(((slice(y0, y1), slice(x0, x1)), (col * segment_w, row * segment_h)))
                    elif segment.ndim:
                        numbers[y0:y1, x0:x1, bands] = segment[y0 - y : y1 - y, x0 - x : x1 - x]
                    else:
                        numbers[y0:y1, x0:x1, bands] = segment
        return numbers, damage

    def close(self) -> None:
        """Close the file."""
        self._page.parent.close()

    def _segment(self, number: int) -> NDArray[np.generic] | None:
        """Decoded pixels (rows, cols, bands), one number where the piece is left out; None where it is damaged."""
        if not self._kept_bytes:
            return self._decoded(number)
        with self._lock:
            if number in self._kept:
                self._kept.move_to_end(number)
                return self._kept[number]
        decoded = self._decoded(number)
        if decoded is not None:
            with self._lock:
                self._kept[number] = decoded
                while len(self._kept) > 1 and sum(one.nbytes for one in self._kept.values()) > self._kept_bytes:
                    self._kept.popitem(last=False)
        return decoded

    def _decoded(self, number: int) -> NDArray[np.generic] | None:
        page, one = self._page, self.directory
        try:
            file, offset, size = page.parent.filehandle, page.dataoffsets[number], page.databytecounts[number]
            if not size:
                return np.array(LEFT_OUT, self.dtype)
            if offset + size > file.size:  # asked before reading, which takes the memory first
                raise ValueError("the file ends before it")
            with self._lock:
                file.seek(offset)
                data = file.read(size)
            tables = {"jpegtables": page.jpegtables} if page.jpegtables else {}
            decoded: NDArray[np.generic] = page.decode(data, number, **tables)[0][0]
            if decoded.ndim != 3 or decoded.shape[2] != (1 if one.separate else one.samples):
                raise ValueError(f"its pixels are {decoded.shape}")
        except ODD as error:
            if self._forgiving:
                return None
            raise VipsError(f"piece {number}: {brief(error)}") from error
        return decoded
