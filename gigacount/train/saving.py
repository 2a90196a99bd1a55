"""Files that cannot be written, such as on a full disk, in words for users."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from gigacount.errors import OutputError


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """OutputError with this advice for what writing raises: OSError, torch's RuntimeError, safetensors' own, ours.

    Every file of a run is written under another name and then renamed, or appended to: what was saved stays.
    """
    try:
        yield
    except (OSError, RuntimeError, SafetensorError, OutputError) as error:
        raise OutputError(
            f"{path}: cannot write ({reason(error)}); the last checkpoint is intact: free space, then --resume"
        ) from error


def reason(error: BaseException) -> str:
    """What the system said, which torch's writer hides behind its own complaint."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__context__
    return str(error).splitlines()[0]
