"""Results on disk: one writer per file, one folder per picture, all or nothing.

The writers bring libvips and scipy, which looking for finished results does without: they are imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gigacount.output.folder import ResultFolder, result_folder
from gigacount.output.identity import Recipe, reusable

if TYPE_CHECKING:
    from gigacount.output.writers import WRITERS, write_count

__all__ = ["WRITERS", "Recipe", "ResultFolder", "result_folder", "reusable", "write_count"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from gigacount.output import writers

        return getattr(writers, name)
    raise AttributeError(f"module 'gigacount.output' has no attribute '{name}'")
