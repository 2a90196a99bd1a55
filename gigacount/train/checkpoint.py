"""Checkpoints: everything that a run needs to go on as if it had never stopped, replaced atomically."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from gigacount.errors import DataError, OutputError
from gigacount.networks.convert import UNREADABLE, reason

FILE = "checkpoint.pt"


@dataclass(frozen=True)
class Position:
    """Where a run stands: steps and seconds in all, index of the network's stage and steps in it.

    best_error, best_step: the lowest validation error of the stage. stale: validations since then or since the learning
    rate was last lowered; drops: how often it was.
    """

    step: int = 0
    seconds: float = 0.0
    stage: int = 0
    stage_step: int = 0
    best_error: float = float("inf")
    best_step: int = 0
    stale: int = 0
    drops: int = 0


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """OutputError with this advice for what writing a file of the run raises: OSError, torch's RuntimeError,
    safetensors' own, ours.

    Every file of a run is written under another name and then renamed, or appended to: what was saved stays.
    """
    try:
        yield
    except (OSError, RuntimeError, SafetensorError, OutputError) as error:
        raise OutputError(
            f"{path}: cannot write ({system_reason(error)}); the last checkpoint is intact: free space, then --resume"
        ) from error


def system_reason(error: BaseException) -> str:
    """What the system said, which torch's writer hides behind its own complaint."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__context__
    return str(error).splitlines()[0]


def save_checkpoint(folder: Path, state: dict[str, Any]) -> None:
    """Write to a temporary name, then rename: a kill leaves the old checkpoint or the new one. Raises OutputError."""
    temporary = folder / f".{FILE}.tmp"
    try:
        with explained(folder / FILE):
            with temporary.open("wb") as file:
                torch.save(state, file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(folder / FILE)
    finally:
        temporary.unlink(missing_ok=True)


def load_checkpoint(folder: Path) -> dict[str, Any]:
    """Tensors and plain values only (`weights_only`); raises DataError where there is none or it is broken."""
    path = folder / FILE
    if not path.exists():
        raise DataError(f"{path}: there is no checkpoint to resume from; start without --resume")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # what torch only warns of is no checkpoint of ours
            state: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
        Position(**state["position"])
        if not isinstance(json.loads(state.get("run", "{}")), dict):
            raise ValueError("no description of the run in it")
    except (*UNREADABLE, RecursionError, Warning) as error:
        raise DataError(f"{path}: not a checkpoint that can be read: {reason(error)}") from error
    return state


def require_same(folder: Path, begun: dict[str, Any], now: dict[str, Any]) -> None:
    """Raise DataError naming the first thing in which a run that is resumed differs from the run that was begun."""
    for name, value in now.items():
        before = begun.get(name)
        if before == value:
            continue
        if isinstance(value, dict) and isinstance(before, dict):
            require_same(folder, before, value)
        words = f"other {name}" if isinstance(value, list) and len(value) > 3 else f"{name} {before}, not {value}"
        raise DataError(f"{folder}: this run was begun with {words}; resume it with what it had, or use another --out")
