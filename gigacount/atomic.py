"""How results are written: under a temporary name beside their place, then renamed.

Readers find the old content or the new one, never a part. A process that is killed leaves its temporary name behind,
which says whose it is; the next process that writes to the same place removes it.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, lru_cache
from pathlib import Path

from gigacount.errors import ExistsError, NoSpaceError, OutputError

NAME_BYTES = 255  # the longest name of a file that the usual file systems take
SHORT_NAME = 120  # bytes of a name to which host, process and chance can be added within NAME_BYTES


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn the system's errors while writing to `path` into one line that says what to do.

    Raises NoSpaceError for a full disk, OutputError for all else.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoSpaceError(
                f"{path}: cannot write the result: no space left on the disk; free some or use --out on another disk"
            ) from error
        remedy = {
            errno.EACCES: "no permission to write there; use --out for another place",
            errno.EROFS: "the file system is read-only; use --out for another place",
            errno.ENAMETOOLONG: "the name is too long; rename the image, or use --out with a shorter path",
        }.get(error.errno or 0, error.strerror or str(error))
        raise OutputError(f"{path}: cannot write the result: {remedy}") from error


def require_free(path: Path, overwrite: bool) -> None:
    """Raise OutputError where a file stands already and may not be replaced, or where none can be written.

    Called before the work, so that hours of it are not lost to a missing permission.
    """
    with explained(path):
        if path.is_dir():
            raise OutputError(f"{path} is a folder; give the name of a file in it")
        if path.exists() and not overwrite:
            raise ExistsError(f"{path} exists already; use --overwrite to replace it, or another name")
        require_writable(path.parent)


def require_writable(folder: Path) -> None:
    """Make the folder if it is missing. Raises OSError where no file can be made in it."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass


@contextmanager
def atomically(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` to write to, renamed to it when the block ends, and gone if that fails.

    Raises OSError.
    """
    fresh = temporary(path)
    try:
        yield fresh
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


@contextmanager
def replacing(path: Path, overwrite: bool) -> Iterator[Path]:
    """A new file to write to, which takes the place of `path` when the block ends and is gone if it fails.

    Raises OutputError as `require_free` does, for a file that appeared meanwhile too, and for a full disk.
    """
    require_free(path, overwrite)
    with explained(path):
        discard_leftovers_once(path)
        with atomically(path) as fresh:
            fresh.touch(exist_ok=False)
            yield fresh
            require_free(path, overwrite)


def write_whole(path: Path, content: bytes) -> None:
    """Write a small file of which several processes may write versions at a time. Raises OutputError."""
    with explained(path), atomically(path) as fresh:
        fresh.write_bytes(content)


def fitting_name(name: str, ending: str) -> str:
    """`name` + `ending`; a name too long for the file system is cut, and a hash of all of it keeps it apart."""
    encoded = os.fsencode(name)
    if len(encoded) + len(ending) <= NAME_BYTES:
        return name + ending
    mark = f"~{hashlib.blake2b(encoded, digest_size=8).hexdigest()}"
    return encoded[: NAME_BYTES - len(mark) - len(ending)].decode(errors="ignore") + mark + ending


def temporary(path: Path) -> Path:
    """A name beside `path` that nobody else uses, and that says which process does."""
    return path.with_name(f"{_start(path.name)}.{writer()}.{os.getpid()}.{secrets.token_hex(4)}")


def discard_leftovers(path: Path) -> None:
    """Remove what killed processes of this machine left of an attempt at `path`; lists the folder that holds it."""
    _discard(_leftovers(path.parent).get(_start(path.name), []), path)


def discard_leftovers_once(path: Path) -> None:
    """The same by a list of the folder that is made once in a process: one folder may get 50,000 results."""
    _discard(_known_leftovers(path.parent).pop(_start(path.name), []), path)


def discard_all_leftovers(folder: Path) -> None:
    """Remove what killed processes of this machine left half written of any file in a folder."""
    for found in _leftovers(folder).values():
        _discard(found, None)


def is_alive(pid: int) -> bool:
    """Whether a process of this machine runs. One that was killed may stay in the list until its parent has heard."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):  # the latter for a number that no process has
        return False
    except PermissionError:
        return True
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True  # no /proc on this system
    return state not in ("Z", "X")


@cache
def process_space() -> str:
    """Names the space in which process numbers are counted: containers on one machine have their own."""
    try:
        return Path("/proc/self/ns/pid").readlink().name.strip("pid:[]")
    except OSError:
        return "0"


@cache
def writer() -> str:
    """Where this process's number means something: host and process space."""
    return f"{socket.gethostname()}.{process_space()}"


def _start(name: str) -> str:
    """How the temporary names of what is to be called `name` begin."""
    encoded = os.fsencode(name)
    return f".{name if len(encoded) <= SHORT_NAME else hashlib.blake2b(encoded, digest_size=16).hexdigest()}"


def _leftovers(folder: Path) -> dict[str, list[Path]]:
    """Temporary names of dead processes in a folder, by what they begin with."""
    pattern = re.compile(rf"(\..+)\.{re.escape(writer())}\.(\d+)\.[0-9a-f]{{8}}(\.old)?", re.DOTALL)
    found: dict[str, list[Path]] = {}
    for name in os.listdir(folder) if folder.is_dir() else ():  # noqa: PTH208  names only, of very many
        if name.startswith(".") and (match := pattern.fullmatch(name)) and not is_alive(int(match[2])):
            found.setdefault(match[1], []).append(folder / name)
    return found


_known_leftovers = lru_cache(maxsize=256)(_leftovers)


def _discard(leftovers: list[Path], path: Path | None) -> None:
    for leftover in leftovers:
        if leftover.name.endswith(".old") and (path is None or not path.exists()):
            # Killed between two renames. The old result comes back where its place is known.
            if path is not None:
                leftover.rename(path)
        elif leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)
