"""The command line: parse, build options, call one function, print.

Commands import what they need when they run, so that `gigacount --help` is instant.
"""

from __future__ import annotations

import atexit
import gc
import os
import re
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

import typer

from gigacount import __version__
from gigacount.cli.count import count, localize
from gigacount.cli.data import data, synthesize
from gigacount.cli.evaluate import ablate, evaluate
from gigacount.cli.networks import networks, train
from gigacount.cli.options import App
from gigacount.cli.show import complain
from gigacount.cli.view import audit, info, view
from gigacount.errors import GigacountError, UsageError
from gigacount.memory import is_shortage, share_one_arena, shortage_or_unforeseen
from gigacount.signals import Stopped, end_at_once, handle, raise_stopped

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

app = App(
    name="gigacount",
    help="Count and locate people in gigapixel photographs.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (count, localize, info, view, audit, train, synthesize, ablate):
    app.command()(command)
app.add_typer(networks, name="networks")
app.add_typer(evaluate, name="evaluate")
app.add_typer(data, name="data")

UsageProblem: type[Exception] = typer.BadParameter.__bases__[0]  # Typer's own class for wrong usage, wherever it lives


def print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"gigacount {__version__}")
        raise typer.Exit()


PLAIN = (
    (r"No such command (.*?)\. Did you mean (.*)\?", r"there is no command \1; did you mean \2?"),
    (r"No such command (.*)", r"there is no command \1"),
    (r"No such option: (.*) \(Possible options: (.*)\)", r"there is no option \1; like it are \2"),
    (r"No such option: (.*)", r"there is no option \1"),
    (r"Option '(.*)' requires an argument", r"\1 needs a value"),
    (r"Option '(.*)' does not take a value", r"\1 takes no value"),
    (r"Missing (?:argument|option) '([^']*)'.*", r"\1 is missing"),
    (r"Got unexpected extra argument(?:\(s\)|s?) \((.*)\)", r"too many arguments: \1"),
)
"""What Typer says of wrong usage, and what we say."""


def usage_message(error: Exception) -> str:
    """What is wrong with the command, with a hint at its help."""
    told = getattr(error, "format_message", None)
    message = str(told() if told else error).rstrip(".")
    for theirs, ours in PLAIN:
        if found := re.fullmatch(theirs, message, re.DOTALL):
            message = found.expand(ours)
            break
    where = getattr(error, "ctx", None)
    return f"{message or 'a command is missing'}; see {where.command_path if where else 'gigacount'} --help"


@app.callback()
def root(
    version: bool = typer.Option(False, "--version", callback=print_version, is_eager=True, help="Print the version."),
    debug: bool = typer.Option(False, "--debug", help="Show a traceback when something fails; may stand anywhere."),
) -> None:
    """Count and locate people in gigapixel photographs."""


def main() -> NoReturn:
    """Run the command line: exit 0 when all went well, 1 when an image failed, 2 on wrong usage.

    Ctrl-C ends it with 130, SIGTERM with 143, SIGHUP with 129; what is half written is removed on the way out.
    """
    # Set before torch starts its threads: while they wait they sleep rather than spin, as they share the cores with
    # threads that decode.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # A thread that decodes gets the interpreter back after this long, not after 5 ms: it releases it a hundred times
    # for a strip of rows, while torch is imported.
    sys.setswitchinterval(0.001)
    share_one_arena()
    atexit.register(gc.freeze)  # a last collection of all that torch holds would take half a second
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    sys.unraisablehook = stop_again
    handle(raise_stopped)
    try:
        if "" in arguments:  # of a shell variable without a value; as a path it would be the current folder
            raise UsageError("one of the arguments is empty; . is the current folder")
        code = app(arguments, prog_name="gigacount", standalone_mode=False) or 0
        sys.stdout.flush()
        handle(end_at_once)  # the interpreter's own end would answer with a traceback
        sys.exit(code)
    except Stopped as stopped:
        complain("stopped")
        leave(stopped.code)
    except BrokenPipeError:
        leave(1)  # the reader of our output has gone, as in `gigacount ... | head`
    except Exception as error:
        if debug:
            raise
        said, code = explanation(error)
        complain(said)
        handle(end_at_once)
        sys.exit(code)


def explanation(error: Exception) -> tuple[str, int]:
    """What to tell the user of an error in a line, and the exit status."""
    if isinstance(error, GigacountError):
        return str(error), error.exit_code
    if isinstance(error, UsageProblem):
        return usage_message(error), 2
    if isinstance(error, typer.Abort):
        return "stopped", 130
    if isinstance(error, OSError) and not is_shortage(error):  # unforeseen trouble of the machine
        return f"{error.filename or 'input or output'}: {error.strerror or error}; --debug shows where", 1
    return shortage_or_unforeseen(error), 1


def leave(code: object) -> NoReturn:
    """End without waiting for threads whose results are no longer needed."""
    with suppress(OSError):
        sys.stdout.flush()
    os._exit(code if isinstance(code, int) else 1)


def stop_again(event: UnraisableHookArgs) -> None:
    """A stop that was raised where nothing can be raised, as in a destructor, is raised again a moment later."""
    if isinstance(event.exc_value, Stopped):
        handle(raise_stopped)
        threading.Timer(0.05, os.kill, (os.getpid(), event.exc_value.code - 128)).start()
    else:
        sys.__unraisablehook__(event)
