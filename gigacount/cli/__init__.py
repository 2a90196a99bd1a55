"""The command line: parse, build options, call one function, print.

Commands import what they need when they run, so that `gigacount --help` is instant.
"""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys
from types import FrameType
from typing import NoReturn

import typer

from gigacount import __version__
from gigacount.cli.ablate import ablate
from gigacount.cli.count import count
from gigacount.cli.data import data
from gigacount.cli.evaluate import evaluate
from gigacount.cli.info import info
from gigacount.cli.localize import localize
from gigacount.cli.networks import networks
from gigacount.cli.show import complain
from gigacount.cli.synthesize import synthesize
from gigacount.cli.train import train
from gigacount.errors import GigacountError

app = typer.Typer(
    name="gigacount",
    help="Count and locate people in gigapixel photographs.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(count)
app.command()(localize)
app.command()(info)
app.command()(train)
app.command()(synthesize)
app.command()(ablate)
app.add_typer(networks, name="networks")
app.add_typer(evaluate, name="evaluate")
app.add_typer(data, name="data")

UsageProblem: type[Exception] = typer.BadParameter.__bases__[0]  # Typer's own class for wrong usage, wherever it lives


def print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"gigacount {__version__}")
        raise typer.Exit()


def usage_message(error: Exception) -> str:
    """Typer's own words for wrong usage, with the way to the help."""
    told = getattr(error, "format_message", None)
    return f"{str(told() if told else error).rstrip('.')}; see gigacount --help"


@app.callback()
def root(
    version: bool = typer.Option(False, "--version", callback=print_version, is_eager=True, help="Print the version."),
    debug: bool = typer.Option(False, "--debug", help="Show a traceback when something fails (at any place)."),
) -> None:
    """Count and locate people in gigapixel photographs."""


def terminate(number: int, frame: FrameType | None) -> NoReturn:
    """End as on Ctrl-C: what is half written is removed on the way out."""
    sys.exit(128 + number)


def main() -> NoReturn:
    """Run the command line: exit 0 when all went well, 1 when a picture failed, 2 on wrong usage, 130 on Ctrl-C.

    SIGTERM ends it with 143.
    """
    # Threads that wait for each other sleep rather than spin, before torch starts them: they share the cores with
    # those that decode, and with whatever else runs.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # A thread that decodes gets the interpreter back after this long, not after 5 ms: it hands it over a hundred times
    # for a strip of rows, and torch is imported meanwhile.
    sys.setswitchinterval(0.001)
    atexit.register(gc.freeze)  # a last collection of all that torch holds would take half a second
    signal.signal(signal.SIGTERM, terminate)
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    try:
        sys.exit(app(arguments, prog_name="gigacount", standalone_mode=False) or 0)
    except GigacountError as error:
        if debug:
            raise
        complain(str(error))
        sys.exit(error.exit_code)
    except UsageProblem as error:
        complain(usage_message(error))
        sys.exit(2)
    except (KeyboardInterrupt, typer.Abort):
        complain("stopped")
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has gone, as in `gigacount ... | head`
        sys.exit(1)
    except (OSError, MemoryError) as error:  # the machine's troubles that nobody foresaw at their place
        if debug:
            raise
        complain(trouble(error))
        sys.exit(1)


def trouble(error: OSError | MemoryError) -> str:
    if isinstance(error, MemoryError):
        return f"not enough memory ({error})"
    return f"{error.filename or 'input or output'}: {error.strerror or error}; --debug shows where"
