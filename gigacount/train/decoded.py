"""Decoded images that all processes of a training share: each is decoded by the first one that needs it."""

from __future__ import annotations

import fcntl
import mmap
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import reduction
from typing import Any

import numpy as np
from numpy.typing import NDArray

SHARE = 0.5  # of the free disk space, the most that decoded images take
NOWHERE, NO_ROOM = 0, -1  # places of images: not decoded yet, and decoded anew whenever they are needed
END = 0  # the number under which it stands where the last image ends

Pixels = NDArray[np.uint8]


class Decoded:
    """The pixels of images 1 to `count` in a scratch file in TMPDIR, mapped into the memory of every process.

    The file has no name, so that nothing is left of it however the processes end. It begins with the places of the
    images as int64. Who reads or writes a place has a lock on the byte of that number; the system takes the locks of a
    process back when it ends. Processes get it when they are spawned. Raises OSError where there can be no such file.
    """

    def __init__(self, count: int) -> None:
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  closed by close()
        self._count, room = count + 1, int(shutil.disk_usage(tempfile.gettempdir()).free * SHARE)
        self._size = self._count * 8 + room
        try:
            os.ftruncate(self._file.fileno(), self._size)  # takes no room before it is written
            self._map()
        except OSError:
            self._file.close()
            raise
        self._places[END] = self._places.nbytes

    def __getstate__(self) -> dict[str, Any]:
        return {"count": self._count, "size": self._size, "file": reduction.DupFd(self._file.fileno())}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._count, self._size = state["count"], state["size"]
        self._file = os.fdopen(state["file"].detach(), "r+b", buffering=0)
        self._map()

    def _map(self) -> None:
        self._bytes = np.frombuffer(mmap.mmap(self._file.fileno(), self._size), np.uint8)
        self._places = self._bytes[: self._count * 8].view(np.int64)

    def close(self) -> None:
        """Give the space back, as far as nobody has pixels of it."""
        self._file.close()
        del self._bytes, self._places

    def image(self, number: int, shape: tuple[int, int, int], decode: Callable[[], Pixels]) -> Pixels:
        """The pixels of an image, of `shape`; those that `decode` gives where nobody has decoded it yet."""
        with self._locked(number):
            place = int(self._places[number])
            if place == NOWHERE:
                pixels = decode()
                self._places[number] = self._kept(pixels)
                return pixels
        if place == NO_ROOM:
            return decode()
        return self._bytes[place : place + np.prod(shape)].reshape(shape)

    def _kept(self, pixels: Pixels) -> int:
        """The place to which the pixels have been written, or that there was none."""
        with self._locked(END):
            place = int(self._places[END])
            if place + pixels.nbytes > self._size:
                return NO_ROOM
            self._places[END] = place + pixels.nbytes
        offset, rest = place, np.ascontiguousarray(pixels).data.cast("B")
        try:
            while rest:  # written, not copied into the map: there, a full disk is a signal that kills
                done = os.pwrite(self._file.fileno(), rest, offset)
                rest, offset = rest[done:], offset + done
        except OSError:
            return NO_ROOM
        return place

    @contextmanager
    def _locked(self, number: int) -> Iterator[None]:
        fcntl.lockf(self._file, fcntl.LOCK_EX, 1, number)
        try:
            yield
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, number)
