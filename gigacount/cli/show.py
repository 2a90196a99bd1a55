"""What the user sees: errors as one line, messages and progress on standard error; standard output is the answer."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import typer

from gigacount.text import one_line, printable

Progress = Callable[[int, int], None]


def complain(message: str) -> None:
    """One red line on standard error."""
    typer.secho(f"gigacount: {one_line(message)}", fg=typer.colors.RED, err=True)


def say(message: str) -> None:
    """One line on standard error."""
    typer.echo(one_line(message), err=True)


@contextmanager
def progress_bar(label: str, quiet: bool) -> Iterator[Progress | None]:
    """Windows done and planned with the time left, on a terminal; nothing elsewhere."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TextColumn("windows")
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(printable(label), total=None)
        yield lambda done, planned: bar.update(task, completed=done, total=planned)


def result_lines(content: dict[str, Any]) -> Iterator[str]:
    """Of a count.json: the count with its range and the doubts about it, and what is odd about the image."""
    from gigacount.output.stored import INTERVAL, fits, text
    from gigacount.results import Interval

    if fits(content.get("interval"), INTERVAL):
        interval = Interval(**content["interval"])
        doubts = "".join(f"; {doubt}" for doubt in interval.doubts)
        yield f"{content['count']:,.0f} people ({interval}); expected error {interval.basis}{doubts}"
    notes = content.get("notes", [])
    if fits(notes, [text]):
        yield from (f"note: {note}" for note in notes)


def duration(seconds: float) -> str:
    """`45 s`, `12 min`, `3 h 20 min`."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
