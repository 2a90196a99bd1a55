"""How the C library treats memory that is freed, and what its end looks like."""

from __future__ import annotations

import ctypes
import errno
import sys
import threading
import traceback
from pathlib import Path

SHORTAGE = (
    "cannot allocate memory",
    "can't allocate memory",
    "can't start new thread",
    "failed to map segment",
    "out of memory",
)
"""How the system, torch and Python's threads say that there is no memory; they have no error of their own for it."""

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # of malloc.h


_ours = threading.Event()
"""Whether this process is the command line's or a batch worker's, so that its C library is ours to set."""


def share_one_arena() -> None:
    """Have all threads allocate from one arena of the C library; for processes that are gigacount's own.

    Each that kept its own would keep its own freed memory, and threads come and go: over 300 images a process grew by
    a twelfth without this, by less than a hundredth with it. Besides, arenas other than the first cannot keep a large
    map. A thread stays with the arena that it has: call this before there are threads.
    """
    _ours.set()
    set_malloc(M_ARENA_MAX, 1)


def keep_freed_memory() -> None:
    """Have the C library keep what PyTorch frees for the next look, rather than give it back to the system.

    The maps of a look are far above the size from which glibc maps fresh pages for every allocation; filling those
    pages with zeros, which the system does on first touch, took a third of a look. OpenVINO keeps its maps itself:
    there this makes nothing faster, and a count in many sizes of windows takes 0.4 GB more. Does nothing in a process
    that is not gigacount's own, such as a notebook's.
    """
    if _ours.is_set():
        set_malloc(M_MMAP_THRESHOLD, 1 << 30)
        set_malloc(M_TRIM_THRESHOLD, (1 << 31) - 1)


def set_malloc(option: int, value: int) -> None:
    """mallopt of glibc; other C libraries are left as they are."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(option, value)


def is_shortage(error: BaseException) -> bool:
    """Whether an error says that there is too little memory, as under `ulimit -v` or in a small container."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    return isinstance(error, OSError | RuntimeError | ImportError) and any(
        words in str(error).lower() for words in SHORTAGE
    )


def shortage_or_unforeseen(error: BaseException) -> str:
    """What to tell the user, in a line, of an error that is none of ours."""
    if is_shortage(error):
        return "not enough memory; use fewer --workers, close other programs, or take a machine with more"
    places = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(places[-1].filename).name}, line {places[-1].lineno})" if places else ""
    return f"unexpected {type(error).__name__}: {error}{place}; please report this"
