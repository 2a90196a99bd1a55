"""`gigacount count` and `gigacount localize`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import typer

from gigacount.cli import batch as many
from gigacount.cli.options import Counting, Many, MinScore, parse_choices, spread
from gigacount.cli.show import progress_bar, result_lines
from gigacount.errors import UsageError
from gigacount.options import CountOptions
from gigacount.options.option import OUTPUT, option, require

if TYPE_CHECKING:
    from gigacount.output.writers import LooseFiles
    from gigacount.results import CountResult

COUNT_FORMATS, LOCALIZE_FORMATS = "tif,overlay", "csv,overlay"
SURPLUS_SHARE = 0.05
"""By how much of the count more heads may be located before that is said."""

FILES = (".json", ".csv", ".tif", ".tiff", ".jpg", ".jpeg", ".png", ".txt", ".geojson")
"""Endings by which a file is told from the folder that --out must be."""


@spread
def count(
    images: many.Images,
    *,
    out: Path | None = option(None, "Folder for the results. Default: beside each image.", "-o", "FOLDER", OUTPUT),
    formats: str = option(
        COUNT_FORMATS, "What to write beside count.json: tif, overlay, report.", "--format", "LIST", OUTPUT
    ),
    counting: Counting,
    batch: Many,
    answering: many.Answering,
) -> int:
    """Count the people in images of any size.

    Prints the count (for several images: path, tab, count) and writes IMAGE.gigacount/ with count.json, density.tif
    (people per cell) and overlay.jpg. With --out, several images also get a summary.csv and summary.json there. Run the
    same command again to continue after a stop.

    Examples:

      gigacount count photo.tif
      gigacount count photos/ -o results -r --format tif,report
      gigacount count scan.tif --region blocks.geojson --exclude posters.geojson
    """
    if out is not None and out.suffix.lower() in FILES and not out.is_dir():
        raise UsageError(f"--out is a folder for the results, and {out} looks like a file; give the name of a folder")
    options, batch_options = counting.options(), batch.options(out)
    from gigacount.batch import CountWork

    written = parse_choices(formats, "format", ("json", "tif", "overlay", "report"))
    work = CountWork(options, written, require_gpu=bool(batch_options.gpus), with_content=answering.as_json)
    return many.work_through(images, work, batch_options, answering)


@dataclass(frozen=True)
class HeadFiles:
    """Where located heads go."""

    PANEL: ClassVar[str] = OUTPUT

    out: Path | None = option(
        None,
        "Of one image, a file for the heads: .csv, .geojson, .gpkg, .json (COCO) or .txt (NWPU); default: "
        "IMAGE.points.csv. Of several images, a folder for the results.",
        "-o",
    )
    overlay: Path | None = option(None, "Of one image: also draw the heads on it, into this JPEG.")
    formats: str | None = option(
        None,
        "In a folder of results, what to write beside count.json: csv, geojson, gpkg, coco, nwpu, tif, overlay, "
        f"report. Default: {LOCALIZE_FORMATS}.",
        "--format",
        "LIST",
    )
    coordinates: str = option(
        CountOptions.coordinates,
        "Coordinates of heads in CSV, GeoJSON and GeoPackage: pixel, map or wgs84; auto: what is usual in each format.",
    )


@spread
def localize(
    images: many.Images,
    *,
    files: HeadFiles,
    min_score: MinScore = None,
    counting: Counting,
    batch: Many,
    answering: many.Answering,
) -> int:
    """Locate the people in images of any size.

    Prints how many heads were located and writes them to a file. Says how many people the density map counts, and where
    heads were too small or too close to tell apart; --strategy full looks at everything from close by. Several images
    print path, tab, number, and each gets IMAGE.gigacount/ in --out, with a summary.csv and summary.json.

    Examples:

      gigacount localize photo.tif -o heads.geojson --overlay heads.jpg
      gigacount localize photos/ -o results --format csv,geojson
    """
    options = replace(counting.options(), min_score=min_score, coordinates=files.coordinates)
    out, batch_options = files.out, batch.options(files.out)
    from gigacount.atomic import fitting_name
    from gigacount.output.stored import to_json
    from gigacount.output.writers import WRITERS, LooseFiles

    if wants_one_file(images, out):
        ending = "--format is for a folder of results; the ending of --out picks the format of a file"
        require(files.formats is None, ending)
        require(many.is_plain(batch_options), "options for several images need a folder of results; give --out FOLDER")
        image = images[0]
        heads = out or image.with_name(fitting_name(image.name, ".points.csv"))
        loose = LooseFiles(heads, files.overlay, options.regions is not None, batch_options.overwrite)
        answer = locate_one(image, options, loose, answering)
        typer.echo(to_json(answer) if answering.as_json else str(answer["located"]))
        return 0
    require(out is not None, "locating in several images needs a folder for the results; give --out FOLDER")
    drawn = "--overlay is for one image; --format csv,overlay draws the heads of each of several"
    require(files.overlay is None, drawn)
    from gigacount.batch import CountWork

    formats = LOCALIZE_FORMATS if files.formats is None else files.formats
    written, gpu = parse_choices(formats, "format", ("json", *WRITERS)), bool(batch_options.gpus)
    work = CountWork(options, written, locate=True, require_gpu=gpu, with_content=answering.as_json)
    return many.work_through(images, work, batch_options, answering)


def wants_one_file(images: Sequence[Path], out: Path | None) -> bool:
    """Whether the heads of a single image go to a file, rather than to a result folder in `out`.

    Raises UsageError where `out` is such a file, and the images are several.
    """
    from gigacount.batch import is_one_image
    from gigacount.output.head_files import POINT_WRITERS

    if out is not None and out.is_dir():
        return False
    if is_one_image(images):
        return out is None or out.suffix != ""
    if out is not None and out.suffix.lower() in POINT_WRITERS:
        raise UsageError(f"{out} would be a file of heads, and several images need a folder; give --out FOLDER")
    return False


def locate_one(image: Path, options: CountOptions, files: LooseFiles, answering: many.Answering) -> dict[str, Any]:
    """Locate and write; what would fail after the work is refused before it."""
    from gigacount.count import Counter
    from gigacount.output.head_files import coordinates_note

    files.require_free()
    counter = Counter(options, answering.say, locate=True, preview=files.overlay is not None)
    with progress_bar(image.name, answering.quiet) as progress:
        result = counter.count(image, progress)
    answer = files.write(result)
    for line in (*result_lines(answer), *localize_lines(result)):
        answering.say(line)
    if note := coordinates_note(result, files.heads.suffix.lower()):
        answering.say(note)
    answering.say_regions(answer)
    return answer


def localize_lines(result: CountResult) -> list[str]:
    """What was located, what the density map counts, and where the two differ."""
    assert result.heads is not None
    coarse, located = result.heads.too_coarse, len(result.heads.points)
    lines = [f"{located:,} heads located; the density map counts {result.count:,.1f} people"]
    if coarse.people >= 1:
        lines[0] += (
            f", {result.coarse_share:.0%} of them ({coarse.people:,.1f}, with {coarse.heads:,} heads located) where"
            f" heads are too small or too close to tell apart{closer(result)}"
        )
    if located - result.count > max(SURPLUS_SHARE * result.count, 1):
        lines.append(
            f"{located - result.count:,.0f} more heads than people were counted: some may be false; "
            "--min-score keeps only those above a higher score"
        )
    return lines


def closer(result: CountResult) -> str:
    """How to look at an image from closer by, where there is a way."""
    smallest = min(look.view.scale for look in result.looked)
    if smallest < 1:
        return "; --strategy full looks at everything from close by"
    if smallest < 2:
        return "; --strategy full --scales 2 looks at everything enlarged"
    return ""
