"""Files that are either whole or not there."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gigacount.errors import OutputError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` to write under; it becomes `path` when the block ends and is gone if it fails.

    Raises OutputError for a full disk, a missing permission and the like.
    """
    fresh = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield fresh
        fresh.replace(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot write: {reason(error)}") from error
    finally:
        fresh.unlink(missing_ok=True)


def reason(error: OSError) -> str:
    """What is wrong and what to do about it."""
    remedies = {
        errno.ENOSPC: "no space left on the disk; free some or choose another place",
        errno.EACCES: "no permission; choose another place",
        errno.ENOENT: "there is no such folder; make it first",
        errno.EROFS: "the file system is read-only; choose another place",
    }
    return remedies.get(error.errno or 0, error.strerror or str(error))
