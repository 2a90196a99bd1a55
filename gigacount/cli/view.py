"""`gigacount info`, `gigacount view` and `gigacount audit`: one image and its result."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import typer

from gigacount.cli.batch import Answering
from gigacount.cli.options import AsJson, Quiet, spread
from gigacount.cli.show import say
from gigacount.errors import UsageError
from gigacount.options import CountOptions, ReadOptions, StrategyOptions
from gigacount.options.option import LOOKING, OUTPUT, Option, option, require

Moved = Annotated[Path | None, Option("The image, where it has moved since it was counted.", metavar="IMAGE")]
Exclude = Annotated[Path | None, Option("The polygons that were left out of the count, if any.")]


@spread
def info(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="An image.", show_default=False)],
    *,
    strategy: str = option(CountOptions.strategy, "adaptive, gigazoom, downsample, sliding or full.", panel=LOOKING),
    looking: StrategyOptions,
    reading: ReadOptions,
    as_json: AsJson = False,
) -> int:
    """Describe an image: what it is, what is assumed about it, what is odd, and what counting it would take.

    Reads the header and some pixels. A large file without tiles is decoded only where the range of its values, or which
    pixels are ground, is not known otherwise.

    Examples:

      gigacount info photo.tif
      gigacount info multispectral.tif --bands 4,3,2 --strategy full
    """
    from gigacount.describe import describe

    about = describe(image, CountOptions(strategy, looking=looking, reading=reading))
    typer.echo(json.dumps(about.as_dict(), allow_nan=False) if as_json else about.as_text())
    return 0


@spread
def view(
    *,
    result: Annotated[
        Path, typer.Argument(metavar="RESULT|IMAGE", help="A folder IMAGE.gigacount, or any image, counted or not.")
    ],
    image: Moved = None,
    exclude: Exclude = None,
    browser: bool = option(True, "Open the page in a browser.", "--browser/--no-browser"),
    quiet: Quiet = False,
) -> int:
    """View an image and its count in a browser; correct heads, draw regions, and audit the count.

    Prints the page's address, which nobody else can use, and serves it until Ctrl-C. What is drawn and corrected is
    saved at once beside the result: IMAGE.corrections.geojson, IMAGE.regions.geojson, IMAGE.exclude.geojson,
    IMAGE.audit.jsonl.

    Examples:

      gigacount view photo.tif
      gigacount view results/photo.tif.gigacount --image /media/photos/photo.tif
    """
    from importlib.util import find_spec

    if find_spec("starlette") is None or find_spec("uvicorn") is None:
        raise UsageError("the viewer needs starlette and uvicorn; pip install 'gigacount[view]'")
    from gigacount.view.opening import open_scene
    from gigacount.view.server import listen, serve

    with open_scene(result, image, exclude) as scene:
        if not quiet and scene.result is not None and scene.result.changed:
            say(f"{scene.result.image}: changed since it was counted; the layers show the earlier version")
        bound, port, token = listen()
        address = f"http://127.0.0.1:{port}/{token}/"
        typer.echo(address)
        if browser:
            import webbrowser

            webbrowser.open(address)
        serve(scene, bound, port, token)
    return 0


@dataclass(frozen=True)
class Sheets:
    """Patches as image files with a table to fill in: written, or read back."""

    PANEL: ClassVar[str] = "Patches as files"

    export: Path | None = option(
        None, "Write the next patches as images, with a table to fill in, to this folder.", metavar="FOLDER"
    )
    patches: int = option(20, "How many patches --export writes.")
    import_from: Path | None = option(None, "Read the counts of a filled-in patches.csv, or of its folder.", "--import")
    by: str | None = option(None, "Who counted. Default: the user's name.")
    overwrite: bool = option(False, "Replace an exported patches.csv and its images.")

    def __post_init__(self) -> None:
        require(self.patches >= 1, f"--patches must be at least 1, not {self.patches}")
        require(
            self.export is None or self.import_from is None, "--export and --import are two steps; give one of them"
        )


@dataclass(frozen=True)
class Beginning:
    """Which audit of which image; a new one where there is none yet."""

    exclude: Exclude = None
    image: Moved = None
    seed: int | None = option(None, "Seed of the draw of patches. Default: 0.")
    heads: float | None = option(None, "Expected heads in a patch. Default: at most 20.")
    anew: bool = option(False, "Begin another audit; the counts of the earlier one are kept.")

    def __post_init__(self) -> None:
        require(self.seed is None or self.seed >= 0, f"--seed must be at least 0, not {self.seed}")
        require(self.heads is None or self.heads >= 1, f"--heads must be at least 1, not {self.heads}")

    def as_arguments(self) -> list[str]:
        """The options of a command that goes on with the same audit."""
        given = {"--exclude": self.exclude, "--image": self.image, "--seed": self.seed, "--heads": self.heads}
        words = [word for name, value in given.items() if value is not None for word in (name, str(value))]
        return [*words, *(["--anew"] if self.anew else [])]


@spread
def audit(
    result: Annotated[
        Path, typer.Argument(metavar="RESULT|IMAGE", help="A folder IMAGE.gigacount, or an image with one beside it.")
    ],
    *,
    sheets: Sheets,
    region: Path | None = option(None, "GeoJSON polygons, each of which gets its own interval."),
    report: bool = option(False, "Write the result's report.html again, with what the audit found.", panel=OUTPUT),
    beginning: Beginning,
    answering: Answering,
) -> int:
    """Check a count by hand: people counted in random patches give an unbiased total with its interval.

    Prints the total so far. Patches are counted in `gigacount view`, or exported as images and imported again. Every
    count is kept in IMAGE.audit.jsonl beside the result; run the command again to continue.

    Examples:

      gigacount audit photo.tif --export patches/
      gigacount audit photo.tif --import patches/ --report
    """
    from gigacount.output.opened import open_result
    from gigacount.output.stored import to_json
    from gigacount.text import plural
    from gigacount.view.opening import open_audit, open_regions

    under_way = open_audit(
        open_result(result, beginning.image), beginning.exclude, beginning.seed, beginning.heads, beginning.anew
    )
    notices = []
    if under_way.result.changed:
        notices.append(f"{under_way.result.image}: changed since it was counted; the audit is of the earlier version")
    if sheets.import_from is not None:
        from gigacount.view.sheets import import_patches

        number = import_patches(under_way, sheets.import_from, sheets.by)
        notices.append(f"{plural(number, 'patch')} imported into {under_way.path}")
    if sheets.export is not None:
        from gigacount.image import GigaImage
        from gigacount.view.sheets import TABLE, export_patches

        with GigaImage.open(under_way.result.image, under_way.result.reading) as opened:
            written = export_patches(under_way, opened, sheets.export, sheets.patches, sheets.overwrite)
        then = ["gigacount", "audit", str(result), *beginning.as_arguments(), "--import", str(sheets.export)]
        notices.append(
            f"{plural(len(written), 'patch')} in {sheets.export}; write how many heads lie in each yellow frame into "
            f"{sheets.export / TABLE}, then: {shlex.join(then)}"
        )
    made = under_way.estimate()
    parts = []
    if region is not None:
        regions = open_regions(under_way.result, region)
        notices += regions.notes
        parts = [(one.name, under_way.estimate_in(one)) for one in regions.regions]
    if report:
        from gigacount.atomic import write_whole
        from gigacount.output.folder import REPORT_FILE
        from gigacount.output.report import report_again

        found = [("audit", str(made)), *((name, str(part)) for name, part in parts)]
        write_whole(under_way.result.folder / REPORT_FILE, report_again(under_way.result, found).encode())
        notices.append(f"report written to {under_way.result.folder / REPORT_FILE}")
    for line in (*notices, str(made), *(f"{name}: {part}" for name, part in parts)):
        answering.say(line)
    if under_way.next is not None and under_way.done < max(under_way.counted, default=0):
        answering.say(f"patch {under_way.next} is not counted yet; those after it do not count before it is")
    if answering.as_json:
        content = {"result": str(under_way.result.folder), "machine": under_way.result.content["count"], **asdict(made)}
        typer.echo(to_json(content | {"regions": [{"region": name, **asdict(part)} for name, part in parts]}))
    else:
        typer.echo(f"{made.people:.1f}")
    return 0
