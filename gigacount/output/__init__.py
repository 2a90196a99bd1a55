"""Results on disk: one writer per file, one folder per image, all or nothing.

The writers bring libvips and Pillow, which looking for finished results does without: they are imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gigacount.output.folder import ResultFolder, result_folder

if TYPE_CHECKING:
    from gigacount.output.writers import WRITERS, write_result

__all__ = ["WRITERS", "ResultFolder", "result_folder", "write_result"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from gigacount.output import writers

        return getattr(writers, name)
    raise AttributeError(f"module 'gigacount.output' has no attribute '{name}'")
