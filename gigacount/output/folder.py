"""`<image name>.gigacount/`: the results of one image, all there or not there at all."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from gigacount.atomic import discard_leftovers_once, explained, fitting_name, require_writable, temporary
from gigacount.errors import ExistsError, OutputError
from gigacount.output.stored import read_count

COUNT_FILE, DENSITY_FILE, HEADS_FILE, REPORT_FILE = "count.json", "density.tif", "points.csv", "report.html"
FILES = {
    "tif": DENSITY_FILE,
    "overlay": "overlay.jpg",
    "csv": HEADS_FILE,
    "geojson": "points.geojson",
    "gpkg": "points.gpkg",
    "coco": "points.json",
    "nwpu": "points.txt",
    "report": REPORT_FILE,
}
"""Format of `--format` -> its file in the folder; count.json is always written."""

INDEX_FILE = "index.html"  # of the reports of a batch
RESULT_ENDING, CHECKED_ENDING = ".gigacount", ".corrections"
OWN_ENDINGS = RESULT_ENDING, CHECKED_ENDING
"""Of our own folders beside images: results, and what a person has checked in the viewer."""


def result_folder(image: Path, out: Path | None) -> Path:
    """Where the results of an image go: beside it, or in `out`."""
    return (out or image.parent) / fitting_name(image.name, RESULT_ENDING)


class ResultFolder:
    """The results of one image at `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def finished(self) -> dict[str, Any] | None:
        """The content of its count.json; None where there is no finished result, or one that cannot be trusted."""
        return read_count(self.path / COUNT_FILE)

    def require_free(self, overwrite: bool) -> None:
        """Raise OutputError where a result stands already and may not be replaced, or where none can be written.

        Called before the work, so that hours of it are not lost to a missing permission.
        """
        with explained(self.path):
            if self.path.exists() and not overwrite:
                raise ExistsError(
                    f"{self.path} exists already; use --overwrite to replace it, or --out for another place"
                )
            if self.path.exists() and not self.path.is_dir():
                raise OutputError(f"{self.path} is a file, not a folder; move it away, or use --out for another place")
            require_writable(self.path.parent)

    @contextmanager
    def replacing(self) -> Iterator[Path]:
        """An empty folder to write into; it takes this folder's place when the block ends, and is gone if it fails.

        Raises OutputError for a full disk, a missing permission and the like.
        """
        fresh = temporary(self.path)
        try:
            with explained(self.path):
                self.path.parent.mkdir(parents=True, exist_ok=True)
                discard_leftovers_once(self.path)
                fresh.mkdir()
                yield fresh
                self._take_place(fresh)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)

    def _take_place(self, fresh: Path) -> None:
        old = fresh.with_name(f"{fresh.name}.old")
        with suppress(FileNotFoundError):
            self.path.rename(old)
        try:
            fresh.rename(self.path)
        except OSError as error:
            with suppress(OSError):  # there may have been none
                old.rename(self.path)
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                raise ExistsError(f"{self.path} exists already: another process has just written it") from error
            raise
        finally:
            shutil.rmtree(old, ignore_errors=True)
