"""One image or many: arguments and answers of the commands that take both."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack, redirect_stdout
from dataclasses import dataclass, replace
from functools import partial
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gigacount.cli.options import Quiet
from gigacount.cli.show import complain, progress_bar, say
from gigacount.errors import ImageError, OutputError
from gigacount.options import BatchOptions
from gigacount.options.option import OUTPUT, option
from gigacount.text import one_line, plural, printable

if TYPE_CHECKING:
    from gigacount.batch import CountWork, Item, Row, Tally

NO_RESULT = "its result was removed while the batch ran"

Images = Annotated[
    list[Path],
    typer.Argument(
        metavar="IMAGE|FOLDER|PATTERN|LIST...",
        help="Images, folders, patterns such as 'photos/**/*.tif', or lists of paths (.txt, or - for stdin).",
        show_default=False,
    ),
]


@dataclass(frozen=True)
class Answering:
    """How to answer: as_json prints an object instead of the number; quiet leaves out messages and progress."""

    as_json: bool = option(False, "Print one JSON object per image.", "--json", panel=OUTPUT)
    quiet: Quiet = False

    def say(self, message: str) -> None:
        if not self.quiet:
            say(message)

    def say_regions(self, content: dict[str, Any]) -> None:
        """The table of regions in a count.json, where it has any."""
        from gigacount.output.tables import regions_table

        if content.get("regions"):
            for line in regions_table(content["regions"]).splitlines():
                self.say(line)

    def line(self, item: Item, row: Row, with_path: bool = False) -> str | None:
        """The answer for one image: how many were located in it, or else counted; of a failure only as JSON."""
        from gigacount.output.folder import ResultFolder
        from gigacount.output.stored import to_json

        if self.as_json:
            if row.failed:
                return to_json(failure(item.source, row.message))
            # A row without its content: another process that shares the output folder has made the result.
            return to_json(row.content or ResultFolder(item.folder).finished() or failure(item.source, NO_RESULT))
        if row.failed:
            return None
        label = f"{printable(str(item.path), keep_bytes=not sys.stdout.isatty())}\t" if with_path else ""
        return f"{label}{row.count:.1f}" if row.points is None else f"{label}{row.points}"


def failure(source: str, message: str) -> dict[str, Any]:
    """The answer of --json for an image without a result."""
    return {"count": None, "image": {"path": source}, "status": "failed", "message": message}


def work_through(arguments: Sequence[Path], work: CountWork, options: BatchOptions, answering: Answering) -> int:
    """Work on what the arguments name, and answer; returns the exit code.

    One image alone is worked on in this process, and what is wrong with it is raised. All else is a batch, and so is
    one image that goes into the output folder of a batch.
    """
    from gigacount.batch import Observer, is_one_image, run_batch, share, work_list
    from gigacount.batch.ledger import STATE_FOLDER
    from gigacount.cli.progress import Answers, Live, PlainProgress

    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")  # names of files leave as they came
    alone = is_one_image(arguments)
    if alone and is_plain(options) and not (options.out and (options.out / STATE_FOLDER).is_dir()):
        work_on_one(arguments[0], work, options, answering)
        return 0
    items = share(work_list(arguments, options.out, options.recursive, answering.say), options.shard)
    with ExitStack() as stack:
        answers = Answers(items, answering.line, partial(typer.echo, file=sys.stdout), with_paths=not alone)
        show: Observer = Observer() if answering.quiet else PlainProgress()
        if sys.stderr.isatty() and not answering.quiet:
            show = live = stack.enter_context(Live())
            if sys.stdout.isatty():
                answers.write = live.said  # above the bars, not through them
        stack.callback(answers.flush)
        stack.enter_context(redirect_stdout(sys.stderr))  # Ray, for one, writes to it, but it is for answers only
        tally = run_batch(items, work, options, [answers, show])
    return conclude(tally, work.done, options, answering)


def is_plain(options: BatchOptions) -> bool:
    """Whether nothing is asked for that only a batch has, such as a time limit or a log."""
    return replace(options, out=None, overwrite=False, recursive=False) == BatchOptions()


def work_on_one(path: Path, work: CountWork, options: BatchOptions, answering: Answering) -> None:
    from gigacount.batch import Item, Task
    from gigacount.batch.ledger import stands_for
    from gigacount.batch.runner import require_same_options
    from gigacount.batch.work import count_row
    from gigacount.batch.worklist import require_no_pipe
    from gigacount.cli.show import result_lines
    from gigacount.output.folder import result_folder
    from gigacount.output.stored import to_json

    item = Item(path, path.name, result_folder(path, options.out))
    try:
        require_no_pipe(path)
        content = None if options.overwrite else work.finished(item)
        if content is not None:
            answering.say(f"{path}: already {work.done}; the result is in {item.folder}")
        else:
            if not options.overwrite:
                require_same_options(work, item)
            task = Task(item, options.overwrite or stands_for(item))
            work.check(task)
            work.begin(answering.say)
            with progress_bar(path.name, answering.quiet) as progress:
                content = work.run(task, progress)
    except (ImageError, OutputError) as error:
        if answering.as_json:
            typer.echo(to_json(failure(item.source, one_line(str(error)))))
        raise
    answering.say_regions(content)
    typer.echo(answering.line(item, replace(count_row(item, content), content=content)))
    for line in result_lines(content):
        answering.say(line)


def conclude(tally: Tally, done: str, options: BatchOptions, answering: Answering) -> int:
    """The last line of a batch: what became of the images, and how to go on after a stop. done: as of the work."""
    parts = [f"{tally.done} {done}", f"{tally.reused} {done} before", f"{tally.failed} failed"]
    where = f"; see {options.out / 'summary.csv'}" if options.out else ""
    counts = ", ".join(part for part in parts if not part.startswith("0 "))
    if tally.signal is not None or tally.gave_up:
        complain(
            f"stopped after {tally.settled} of {plural(tally.total, 'image')} ({counts or 'none done'}){where}; "
            "run the same command again to go on"
        )
    else:
        answering.say(f"{plural(tally.total, 'image')}: {counts or 'none in this part of the list'}{where}")
    return tally.exit_code
