"""`gigacount audit`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from gigacount.cli.batch import Answering
from gigacount.cli.groups import spread
from gigacount.errors import UsageError


@dataclass(frozen=True)
class Sheets:
    """Patches as pictures with a table to fill in: written, or taken over."""

    export: Annotated[
        Path | None, typer.Option(help="Write the next patches as pictures, with a table to fill in, to this folder.")
    ] = None
    patches: Annotated[int, typer.Option(help="How many --export writes.")] = 20
    import_from: Annotated[
        Path | None, typer.Option("--import", help="Take over the counts of a filled-in patches.csv, or its folder.")
    ] = None
    by: Annotated[str | None, typer.Option(help="Who counted; default: the user's name.")] = None
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a patches.csv that was exported.")] = False

    def __post_init__(self) -> None:
        if self.export is not None and self.import_from is not None:
            raise UsageError("--export and --import are two steps; give one of them")


@dataclass(frozen=True)
class Beginning:
    """Which audit of which picture; a new one where there is none yet."""

    exclude: Annotated[
        Path | None, typer.Option(help="The polygons that were left out of the count, where there were any.")
    ] = None
    image: Annotated[Path | None, typer.Option(help="The picture, where it has moved since.")] = None
    seed: Annotated[int | None, typer.Option(min=0, help="Of the draw of patches; default: 0.")] = None
    heads: Annotated[float | None, typer.Option(min=1, help="Predicted heads in a patch; default: 20 at most.")] = None
    anew: Annotated[bool, typer.Option("--anew", help="Begin another audit; what was counted before is kept.")] = False


@spread
def audit(
    result: Annotated[
        Path, typer.Argument(metavar="RESULT|IMAGE", help="A folder IMAGE.gigacount, or a picture with one beside it.")
    ],
    *,
    sheets: Sheets,
    region: Annotated[Path | None, typer.Option(help="GeoJSON polygons, each of which gets its own interval.")] = None,
    report: Annotated[
        bool, typer.Option("--report", help="Write the result's report.html anew, with what the audit found.")
    ] = False,
    beginning: Beginning,
    answering: Answering,
) -> int:
    """Check a count by hand: people counted in drawn patches give an unbiased total with its interval.

    Prints the total so far. Patches are counted in `gigacount view`, or exported as pictures and imported again. Every
    count is kept in IMAGE.audit.jsonl beside the result; run the command again to go on.
    """
    from gigacount.output.opened import open_result
    from gigacount.output.stored import to_json
    from gigacount.view.opening import open_audit, open_regions

    under_way = open_audit(
        open_result(result, beginning.image), beginning.exclude, beginning.seed, beginning.heads, beginning.anew
    )
    notices = []
    if under_way.result.changed:
        notices.append(f"{under_way.result.image}: changed since it was counted; the audit is of another picture")
    if sheets.import_from is not None:
        from gigacount.view.sheets import import_patches

        number = import_patches(under_way, sheets.import_from, sheets.by)
        notices.append(f"{number} patches taken over into {under_way.path}")
    if sheets.export is not None:
        from gigacount.image import GigaImage
        from gigacount.view.sheets import TABLE, export_patches

        with GigaImage.open(under_way.result.image, under_way.result.reading) as picture:
            written = export_patches(under_way, picture, sheets.export, sheets.patches, sheets.overwrite)
        notices.append(
            f"{len(written)} patches in {sheets.export}; write how many heads lie in each yellow frame into "
            f"{sheets.export / TABLE}, then --import {sheets.export}"
        )
    made = under_way.estimate()
    parts = []
    if region is not None:
        regions = open_regions(under_way.result, region).regions
        parts = [(one.name, under_way.estimate_in(one)) for one in regions]
    if report:
        from gigacount.output.files import write_whole
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
