"""Checkpoints: everything that a run needs to go on as if it had never stopped, replaced atomically."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from gigacount.errors import DataError, OutputError

FILE = "checkpoint.pt"


@dataclass
class Position:
    """Where a run stands: steps done, seconds spent, and the best validation error with its step."""

    step: int = 0
    seconds: float = 0.0
    best_error: float = float("inf")
    best_step: int = 0


def save_checkpoint(folder: Path, state: dict[str, Any]) -> None:
    """Write to a temporary name, then rename: a kill leaves the old checkpoint or the new, never half of one."""
    temporary = folder / f".{FILE}.tmp"
    try:
        torch.save(state, temporary)
        temporary.replace(folder / FILE)
    except (OSError, RuntimeError) as error:
        temporary.unlink(missing_ok=True)
        raise OutputError(f"{folder}: cannot save the checkpoint, the last one is intact: {error}") from error


def load_checkpoint(folder: Path) -> dict[str, Any]:
    """Tensors and plain values only (`weights_only`); raises DataError where there is none or it is broken."""
    path = folder / FILE
    if not path.exists():
        raise DataError(f"{path}: there is no checkpoint to resume from; start without --resume")
    try:
        state: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
    except (OSError, RuntimeError, ValueError, EOFError, UnpicklingError) as error:
        raise DataError(f"{path}: not a checkpoint that can be read: {str(error).splitlines()[0]}") from error
    return state
