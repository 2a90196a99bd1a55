"""`gigacount info`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from gigacount.cli import options as shared
from gigacount.cli.groups import spread
from gigacount.options import CountOptions


@spread
def info(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="A picture.", show_default=False)],
    *,
    looking: shared.Looking,
    reading: shared.Reading,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> int:
    """Say what a picture is, what is assumed about it, what is odd, and what counting it would take.

    Reads the header and some pixels. Large files without tiles are decoded only where the range of their values or
    their ground is not known otherwise.
    """
    from gigacount.describe import describe

    about = describe(image, CountOptions(looking.strategy, looking=looking.looking(), reading=reading.reading()))
    typer.echo(json.dumps(about.as_dict(), allow_nan=False) if as_json else about.as_text())
    return 0
