"""The command line in this process, from its arguments to its exit status: seconds quicker than a process a case."""

from __future__ import annotations

import io
import os
import signal
import sys
import traceback
from contextlib import ExitStack, chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from gigacount.cli import main
from gigacount.signals import STOP_SIGNALS


@dataclass(frozen=True)
class Done:
    """What a command left: as of `subprocess.run`."""

    returncode: int
    stdout: str
    stderr: str


def gigacount(*arguments: str | Path, cwd: Path | None = None, stdin: str = "") -> Done:
    """Run `gigacount ARGUMENTS` with `cwd` as the working folder and the place of temporary files."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", newline="") for _ in range(2))
    given = io.TextIOWrapper(io.BytesIO(stdin.encode()), "utf-8")
    folder = cwd or Path.cwd()
    handlers = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    code: object = 1
    with ExitStack() as stack:
        stack.enter_context(patch.object(sys, "argv", ["gigacount", *map(str, arguments)]))
        stack.enter_context(patch.object(sys, "stdin", given))
        stack.enter_context(patch.object(sys, "unraisablehook", sys.unraisablehook))
        stack.enter_context(patch.dict(os.environ, {"TMPDIR": str(folder)}))
        stack.enter_context(patch("tempfile.tempdir", None))
        stack.enter_context(chdir(folder))
        stack.enter_context(redirect_stdout(out))
        stack.enter_context(redirect_stderr(err))
        try:
            main()
        except SystemExit as end:
            code = end.code
        except Exception:  # as --debug shows it
            traceback.print_exc()
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
    texts = []
    for stream in (out, err):
        stream.flush()
        texts.append(stream.buffer.getvalue().decode("utf-8", "surrogateescape"))  # type: ignore[attr-defined]
    return Done(code if isinstance(code, int) else int(bool(code)), *texts)
