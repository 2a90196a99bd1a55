"""A file's bytes through a pipe.

libvips maps some formats' files into memory. Mapped bytes count as resident memory, all of them in the end, and a file
that is cut short while it is mapped kills the process (SIGBUS). Bytes from a pipe do neither.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import BinaryIO


def open_pipe(path: Path) -> int:
    """A descriptor, to be closed by the caller, from which a thread lets the file's bytes be read. Raises OSError.

    A socket rather than a pipe, because the system can fill it all by itself: the decoder never waits for a thread that
    waits for the interpreter, which others may hold for long, such as to import torch.
    """
    file = path.open("rb", buffering=0)
    reader, writer = socket.socketpair()
    # A daemon, because it sleeps until somebody reads on, or nobody has the other end open any more.
    Thread(target=_feed, args=(file, writer), name="gigacount-pipe", daemon=True).start()
    return reader.detach()


def _feed(file: BinaryIO, writer: socket.socket) -> None:
    # A read that fails ends the stream early, which the decoder reports as a file cut short.
    with writer, file, suppress(OSError):
        writer.sendfile(file)
