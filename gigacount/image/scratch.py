"""A temporary file without a name, for pixels that are decoded once and read many times."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gigacount.errors import OutputError

_REMEDY = "choose another folder for it (TMPDIR)"


class Scratch:
    """`size` bytes in `folder` that vanish with the process, however it ends.

    The file has no name from the start where the system allows (Linux), or loses it at once: nothing is left behind,
    not even by kill -9. Raises OutputError when the folder cannot be written or has no room.
    """

    def __init__(self, folder: Path, size: int) -> None:
        self.folder, self.size = folder, size
        try:
            free = shutil.disk_usage(folder).free
            self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115  closed by close()
        except OSError as error:
            raise OutputError(f"{folder}: no scratch file can be made here: {error.strerror}; {_REMEDY}") from error
        if free < size:
            self.close()
            raise OutputError(
                f"{folder}: the scratch file needs {size / 1e9:.2f} GB, only {free / 1e9:.2f} GB are free; {_REMEDY}"
            )

    def write(self, rest: memoryview, offset: int) -> None:
        """Write bytes at an offset. Raises OutputError."""
        try:
            while rest:
                done = os.pwrite(self._file.fileno(), rest, offset)
                rest, offset = rest[done:], offset + done
        except OSError as error:
            raise OutputError(
                f"{self.folder}: the scratch file of {self.size / 1e9:.2f} GB cannot be written: {error.strerror};"
                f" {_REMEDY}"
            ) from error

    def read(self, pixels: NDArray[np.uint8], offset: int) -> None:
        """Fill a contiguous array from the file. Raises OutputError."""
        rest = pixels.data.cast("B")
        while rest:
            done = os.preadv(self._file.fileno(), [rest], offset)
            if done == 0:
                raise OutputError(f"{self.folder}: the scratch file is shorter than written")
            rest, offset = rest[done:], offset + done

    def close(self) -> None:
        """Give the space back."""
        self._file.close()
