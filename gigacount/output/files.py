"""Single files of results: written under a temporary name beside their place, then renamed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gigacount.errors import OutputError
from gigacount.output.folder import current_umask, discard_leftovers, explained, leftover_prefix, mark


def demand_free(path: Path, overwrite: bool) -> None:
    """Raise OutputError where a file stands already and may not be replaced, or where none can be written.

    Called before the work, so that hours of it are not lost to a missing permission.
    """
    with explained(path):
        if path.is_dir():
            raise OutputError(f"{path} is a folder; give the name of a file in it")
        if path.exists() and not overwrite:
            raise OutputError(f"{path} exists already; use --overwrite to replace it, or another name")
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass


@contextmanager
def replacing(path: Path, overwrite: bool) -> Iterator[Path]:
    """A file to write to, which takes the place of `path` when the block ends and is gone if it fails.

    Killed, a process leaves it, hidden beside `path`; the next one that writes there removes it.

    Raises OutputError as `demand_free` does, for a file that appeared meanwhile too, and for a full disk.
    """
    demand_free(path, overwrite)
    with explained(path):
        discard_leftovers(path)
        descriptor, name = tempfile.mkstemp(prefix=leftover_prefix(path) + mark(), dir=path.parent)
        os.close(descriptor)
        fresh = Path(name)
    try:
        with explained(path):
            yield fresh
            demand_free(path, overwrite)
            fresh.chmod(0o666 & ~current_umask())
            fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
