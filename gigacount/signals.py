"""Ctrl-C, SIGTERM and a closed terminal: the same for everything that gigacount does.

From the first moment on they end the process at once, as nothing has been written yet. While a command runs they raise
`Stopped`, on whose way out what is half written is removed. A batch notes them, and ends in order. Signals that were
ignored when the process was started, as by nohup, stay ignored.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

STOP_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)  # there is no SIGHUP on Windows

PR_SET_PDEATHSIG = 1  # of sys/prctl.h

Handler = Callable[[int, FrameType | None], Any]


class Stopped(SystemExit):
    """The user or the system wants an end; code: 128 + the number of the signal, as shells have it."""

    code: int

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)


def handle(handler: Handler) -> dict[int, Any]:
    """Install a handler for all stop signals that are not ignored; returns what was there."""
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    for number, old in before.items():
        if old is not signal.SIG_IGN:
            signal.signal(number, handler)
    return before


@contextmanager
def handled(handler: Handler) -> Iterator[None]:
    """The same for as long as the block lasts. Only for the main thread, which alone gets signals."""
    before = handle(handler)
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


@contextmanager
def blocked() -> Iterator[None]:
    """Processes and threads started in here never see stop signals."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def start_deaf(process: BaseProcess) -> None:
    """Start a process that no stop signal reaches: who has started it ends it."""
    from multiprocessing import resource_tracker

    with blocked():
        # Started first, as its own start ends the block; and a closed terminal must not end it.
        resource_tracker.ensure_running()
    with blocked():
        process.start()


def ignore() -> None:
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def die_with_parent(parent: int) -> None:
    """Have the system kill this process when the one that started it dies; end now where that is dead already.

    Elsewhere than on Linux there is only the second half.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def raise_stopped(number: int, frame: FrameType | None) -> NoReturn:
    """Once: on its way out, what was begun is tidied up, and a second signal does not disturb that; a third ends it."""
    handle(lambda *_: handle(end_at_once))
    raise Stopped(number)


def end_at_once(number: int, frame: FrameType | None) -> NoReturn:
    with suppress(OSError):
        os.write(2, b"gigacount: stopped\n")
    os._exit(128 + number)
