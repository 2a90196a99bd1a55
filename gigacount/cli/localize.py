"""`gigacount localize`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gigacount.cli import batch as many
from gigacount.cli import options as shared
from gigacount.cli.groups import spread
from gigacount.cli.parse import parse_choices
from gigacount.cli.show import progress_bar, range_line
from gigacount.errors import UsageError
from gigacount.options import CountOptions

if TYPE_CHECKING:
    from gigacount.output.writers import LooseFiles
    from gigacount.results import CountResult

FORMATS = "csv,overlay"


@spread
def localize(
    images: many.Pictures,
    *,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Of one picture, a file for the heads: .csv, .geojson, .gpkg, .json (COCO) or .txt (NWPU), by default "
            "IMAGE.points.csv. Of several, a folder for the results."
        ),
    ] = None,
    min_score: Annotated[
        float | None, typer.Option(help="Leave out heads below this score, 0 to 1; default: the network's threshold.")
    ] = None,
    coordinates: Annotated[
        str,
        typer.Option(
            help="Of heads in CSV, GeoJSON and GeoPackage: pixel, map or wgs84; auto: as each format has them, of a "
            "georeferenced picture."
        ),
    ] = CountOptions.coordinates,
    overlay: Annotated[
        Path | None, typer.Option(help="Of one picture: also draw the heads on it, into this JPEG.")
    ] = None,
    formats: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="In a folder of results: what to write beside count.json, of csv, geojson, gpkg, coco, nwpu, tif, "
            f"overlay, report; default: {FORMATS}.",
        ),
    ] = None,
    counting: shared.Counting,
    batch: many.Many,
    answering: many.Answering,
) -> int:
    """Locate the people in pictures of any size.

    Prints how many were located and writes their heads to a file. Says how many people the densities count, and where
    heads were seen too coarsely to tell them apart; --strategy full looks at everything from close by. Several pictures
    print path, tab, number, and get IMAGE.gigacount/ in --out each, with a summary.csv and summary.json.
    """
    options, many_options = (
        replace(counting.options(), min_score=min_score, coordinates=coordinates),
        batch.options(out),
    )
    from gigacount.output import WRITERS
    from gigacount.output.files import fitting_name
    from gigacount.output.stored import to_json
    from gigacount.output.writers import LooseFiles

    if wants_one_file(images, out):
        if formats is not None:
            raise UsageError("--format is for a folder of results; the ending of --out picks the format of a file")
        if not many.is_plain(many_options):
            raise UsageError("options for several pictures need a folder of results; give --out FOLDER")
        image = images[0]
        heads = out or image.with_name(fitting_name(image.name, ".points.csv"))
        files = LooseFiles(heads, overlay, counting.region is not None, batch.overwrite)
        answer = locate_one(image, options, files, answering)
        typer.echo(to_json(answer) if answering.as_json else str(answer["located"]))
        return 0
    if out is None:
        raise UsageError("locating in several pictures needs a folder for the results; give --out FOLDER")
    if overlay is not None:
        raise UsageError("--overlay is for one picture; --format csv,overlay draws the heads of each of several")
    from gigacount.batch import CountWork

    written = parse_choices(FORMATS if formats is None else formats, "format", ("json", *WRITERS))
    work = CountWork(options, written, locate=True, demand_gpu=bool(many_options.gpus), with_content=answering.as_json)
    return many.work_through(images, work, many_options, answering)


def wants_one_file(images: Sequence[Path], out: Path | None) -> bool:
    """Whether the heads of a single picture are to go to a file, rather than to a result folder in `out`.

    Raises UsageError where `out` is such a file, and the pictures are several.
    """
    from gigacount.batch import is_one_picture
    from gigacount.output.points import POINT_WRITERS

    if out is not None and out.is_dir():
        return False
    if is_one_picture(images):
        return out is None or out.suffix != ""
    if out is not None and out.suffix.lower() in POINT_WRITERS:
        raise UsageError(f"{out} would be a file of heads, and several pictures need a folder; give --out FOLDER")
    return False


def locate_one(image: Path, options: CountOptions, files: LooseFiles, answering: many.Answering) -> dict[str, Any]:
    """Locate and write; what would fail after the work is refused before it."""
    from gigacount.count import Counter
    from gigacount.output.points import coordinates_note

    files.require_free()
    counter = Counter(options, answering.say, locate=True, preview=files.overlay is not None)
    with progress_bar(image.name, answering.quiet) as progress:
        result = counter.count(image, progress)
    answer = files.write(result)
    answering.say(range_line(answer))
    answering.say(summary(result))
    if note := coordinates_note(result, files.heads.suffix.lower()):
        answering.say(note)
    answering.say_regions(answer)
    return answer


def summary(result: CountResult) -> str:
    """What was located, what the density counts, and how much of that was seen too coarsely to locate."""
    assert result.heads is not None
    coarse = result.heads.too_coarse
    said = f"{len(result.heads.points):,} heads located; the density counts {result.count:,.1f} people"
    if coarse.people < 1:
        return said
    return (
        f"{said}, {result.coarse_share:.0%} of them ({coarse.people:,.1f}, with {coarse.heads:,} heads located) where"
        f" heads are too small or too close to tell apart{closer(result)}"
    )


def closer(result: CountResult) -> str:
    """How to look at a picture from closer by, where there is a way."""
    least = min(look.view.scale for look in result.looked)
    if least < 1:
        return "; --strategy full looks at everything from close by"
    if least < 2:
        return "; --strategy full --scales 2 looks at everything enlarged"
    return ""
