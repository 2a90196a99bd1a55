"""Small files that several processes, on several machines, write and read at the same time."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from pathlib import Path

from gigacount.output.folder import explained, is_alive, mark

TEMPORARY = ".writing."


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that readers find the old one or the new one, never a part. Raises OutputError."""
    temporary = path.with_name(f"{TEMPORARY}{mark()}{path.name}")
    with explained(path):
        try:
            temporary.write_bytes(content)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def discard_dead(folders: Iterable[Path]) -> None:
    """Remove what killed processes of this machine left half written."""
    start = f"{TEMPORARY}{socket.gethostname()}."
    for folder in folders:
        for path in folder.glob(f"{TEMPORARY}*"):
            pid = path.name.removeprefix(start).split(".")[0]
            if path.name.startswith(start) and pid.isdigit() and not is_alive(int(pid)):
                path.unlink(missing_ok=True)


def stamp(path: Path) -> tuple[int, int, int] | None:
    """What changes when a file is written anew: time, size and identity; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
