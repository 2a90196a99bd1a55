"""A file's bytes through a pipe.

libvips maps some formats' files into memory. Mapped bytes count as resident memory, all of them in the end, and a file
that is cut short while it is mapped kills the process (SIGBUS). Bytes from a pipe do neither.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import BinaryIO

BLOCK_BYTES = 2**20


def open_pipe(path: Path, start: bytes = b"", resume_at: int = 0) -> int:
    """A descriptor, to be closed by the caller, from which a thread lets the file's bytes be read. Raises OSError.

    start: comes in place of the file's first `resume_at` bytes.
    """
    file = path.open("rb", buffering=0)
    file.seek(resume_at)
    reader, writer = os.pipe()
    with suppress(OSError, AttributeError, ImportError):  # Linux only, and only for speed
        import fcntl

        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, BLOCK_BYTES)
    # A daemon, because it sleeps until somebody reads on, or nobody has the other end open any more.
    Thread(target=_feed, args=(file, writer, start), name="gigacount-pipe", daemon=True).start()
    return reader


def _feed(file: BinaryIO, writer: int, start: bytes) -> None:
    try:
        # A read that fails ends the stream early, which the decoder reports as a file cut short.
        with file, suppress(OSError):
            while block := start or file.read(BLOCK_BYTES):
                rest, start = memoryview(block), b""
                while rest:
                    rest = rest[os.write(writer, rest) :]
    finally:
        os.close(writer)
