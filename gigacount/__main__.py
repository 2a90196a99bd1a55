"""`python -m gigacount` and the `gigacount` command.

What follows takes a third of a second to import. Before that, signals and missing standard streams are seen to.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import NoReturn

from gigacount.signals import end_at_once, handle


def open_standard_streams() -> None:
    """Streams that were closed at the start (`2>&-`, some service managers) lead to nowhere.

    Otherwise the next file that is opened would get their number, and with it what libraries write to standard error.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest number that is free: this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115


def main() -> NoReturn:
    """Run the command line."""
    if sys.platform == "win32":
        sys.exit("gigacount: runs on Linux and macOS; on Windows, start it in WSL")
    with suppress(ValueError):  # not in the main thread
        handle(end_at_once)
    open_standard_streams()
    from gigacount.cli import main

    main()


if __name__ == "__main__":
    main()
