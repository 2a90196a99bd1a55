"""`<image name>.gigacount/`: made under a temporary name beside its place, then renamed, so never half there."""

from __future__ import annotations

import errno
import glob
import hashlib
import json
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gigacount.errors import OutputError

COUNT_FILE = "count.json"
LONG_NAME = 120
"""Bytes of a name to which host, process and chance can be added without reaching 255, which file systems take."""


def result_folder(image: Path, out: Path | None) -> Path:
    """Where the results of a picture go: beside it, or in `out`."""
    return (out or image.parent) / f"{image.name}.gigacount"


class ResultFolder:
    """The results of one picture at `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def finished(self) -> dict[str, Any] | None:
        """The content of its count.json; None where there is no finished result."""
        try:
            content = json.loads((self.path / COUNT_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return None
        return content if isinstance(content, dict) else None

    def demand_free(self, overwrite: bool) -> None:
        """Raise OutputError where a result stands already and may not be replaced, or where none can be written.

        Called before the work, so that hours of it are not lost to a missing permission.
        """
        with explained(self.path):
            if self.path.exists() and not overwrite:
                raise OutputError(
                    f"{self.path} exists already; use --overwrite to replace it, or --out for another place"
                )
            if self.path.exists() and not self.path.is_dir():
                raise OutputError(f"{self.path} is no folder; move it away, or use --out for another place")
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.path.parent):
                pass

    @contextmanager
    def replacing(self) -> Iterator[Path]:
        """An empty folder to write into; it takes this folder's place when the block ends, and is gone if it fails.

        Raises OutputError for a full disk, a missing permission and the like.
        """
        with explained(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            discard_leftovers(self.path)
            fresh = Path(tempfile.mkdtemp(prefix=leftover_prefix(self.path) + mark(), dir=self.path.parent))
        try:
            with explained(self.path):
                yield fresh
                fresh.chmod(0o777 & ~current_umask())
                self._take_place(fresh)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)

    def _take_place(self, fresh: Path) -> None:
        if self.path.exists():
            old = fresh.with_name(fresh.name + ".old")
            self.path.rename(old)
            try:
                fresh.rename(self.path)
            except OSError:
                old.rename(self.path)
                raise
            shutil.rmtree(old, ignore_errors=True)
        else:
            fresh.rename(self.path)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn the system's errors while writing to `path` into one line that says what to do."""
    try:
        yield
    except OSError as error:
        remedy = {
            errno.ENOSPC: "no space left on the disk; free some or use --out on another disk",
            errno.EACCES: "no permission to write there; use --out for another place",
            errno.EROFS: "the file system is read-only; use --out for another place",
            errno.ENAMETOOLONG: "the name is too long; rename the picture, or use --out with a shorter path",
        }.get(error.errno or 0, error.strerror or str(error))
        raise OutputError(f"{path}: cannot write the result: {remedy}") from error


def leftover_prefix(path: Path) -> str:
    """How the temporary names of what is to stand at `path` begin; short enough to be a name where that is one."""
    name = os.fsencode(path.name)
    return f".{path.name if len(name) <= LONG_NAME else hashlib.blake2b(name, digest_size=16).hexdigest()}."


def mark() -> str:
    """Names the process that writes, so that another can tell a leftover from work under way."""
    return f"{socket.gethostname()}.{os.getpid()}."


def discard_leftovers(path: Path) -> None:
    """Remove what killed processes of this machine left of an attempt at `path`."""
    prefix, host = leftover_prefix(path), socket.gethostname()
    for leftover in path.parent.glob(f"{glob.escape(prefix + host)}.*"):
        pid = leftover.name[len(prefix) + len(host) + 1 :].split(".")[0]
        if pid.isdigit() and not is_alive(int(pid)):
            old = leftover.name.endswith(".old")
            if old and not path.exists():
                leftover.rename(path)  # killed between two renames: the old result comes back
            elif leftover.is_dir():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink(missing_ok=True)


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


def current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
