"""A temporary file without a name, for pixels that are decoded once and looked at many times."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gigacount.errors import OutputError


class Scratch:
    """`size` bytes in `folder` that vanish with the process, however it ends.

    The file has no name from the start where the system allows (Linux), or loses it at once: nothing is left behind,
    not even by kill -9. Raises OutputError when the folder cannot be written or has no room.
    """

    def __init__(self, folder: Path, size: int) -> None:
        self.folder = folder
        self.size = size
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

    @property
    def descriptor(self) -> int:
        """For writing from the start."""
        return self._file.fileno()

    @property
    def written(self) -> int:
        """Bytes that can be read by now."""
        return os.fstat(self._file.fileno()).st_size

    def rewind(self) -> None:
        """Start over."""
        self._file.seek(0)
        self._file.truncate()

    def refusal(self) -> str | None:
        """Why the system takes no more bytes at the end of the file; None when it does take them."""
        rest, offset = memoryview(bytes(2**20)), self.written
        while rest:
            try:
                done = os.pwrite(self._file.fileno(), rest, offset)
            except OSError as error:
                return error.strerror
            rest, offset = rest[done:], offset + done
        return None

    def failed(self, reason: str) -> OutputError:
        """What to tell the user when writing fails."""
        return OutputError(
            f"{self.folder}: the scratch file of {self.size / 1e9:.2f} GB cannot be written: {reason}; {_REMEDY}"
        )

    def read(self, pixels: NDArray[np.uint8], offset: int) -> None:
        """Fill a contiguous array from the file."""
        rest = pixels.data.cast("B")
        while rest:
            done = os.preadv(self._file.fileno(), [rest], offset)
            if done == 0:
                raise OutputError(f"{self.folder}: the scratch file is shorter than written")
            rest, offset = rest[done:], offset + done

    def close(self) -> None:
        """Give the space back."""
        self._file.close()


_REMEDY = "choose another folder for it (TMPDIR)"
