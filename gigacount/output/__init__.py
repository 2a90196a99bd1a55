"""Results on disk: one writer per file, one folder per picture, all or nothing."""

from __future__ import annotations

from gigacount.output.folder import ResultFolder, result_folder
from gigacount.output.identity import reusable
from gigacount.output.writers import WRITERS, write_count

__all__ = ["WRITERS", "ResultFolder", "result_folder", "reusable", "write_count"]
