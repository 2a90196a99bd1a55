"""`gigacount count`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gigacount.cli import batch as many
from gigacount.cli import options as shared
from gigacount.cli.groups import spread
from gigacount.cli.parse import parse_choices
from gigacount.errors import UsageError

FORMATS = "tif,overlay"
FILES = (".json", ".csv", ".tif", ".tiff", ".jpg", ".jpeg", ".png", ".txt", ".geojson")
"""Endings that nobody gives to a folder."""


@spread
def count(
    images: many.Pictures,
    *,
    out: Annotated[Path | None, typer.Option(help="Folder for the results; default: beside each picture.")] = None,
    formats: Annotated[
        str, typer.Option("--format", help="What to write beside count.json, of tif, overlay, report.")
    ] = FORMATS,
    counting: shared.Counting,
    batch: many.Many,
    answering: many.Answering,
) -> int:
    """Count the people in pictures of any size.

    Prints the count (for several pictures: path, tab, count) and writes IMAGE.gigacount/ with count.json,
    density.tif (people per cell) and overlay.jpg. With --out, several pictures also get a summary.csv and
    summary.json there; run the same command again to go on after a stop.
    """
    if out is not None and out.suffix.lower() in FILES and not out.is_dir():
        raise UsageError(f"--out is a folder for the results, and {out} looks like a file; give the name of a folder")
    counted, options = counting.options(), batch.options(out)
    from gigacount.batch import CountWork

    written = parse_choices(formats, "format", ("json", "tif", "overlay", "report"))
    work = CountWork(counted, written, demand_gpu=bool(options.gpus), with_content=answering.as_json)
    return many.work_through(images, work, options, answering)
