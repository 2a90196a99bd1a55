"""report.html: a result on two printed pages, one file that needs nothing else; and the index of a batch's reports."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gigacount.density import DensityMap
from gigacount.geometry import Window, fit, whole
from gigacount.image import GigaImage
from gigacount.output.opened import StoredResult
from gigacount.output.overlay import ColourScale, Sheet, encoded, ground_of
from gigacount.output.stored import INTERVAL, fits
from gigacount.output.tables import region_columns
from gigacount.regions import RegionCount
from gigacount.results import CountResult, Interval
from gigacount.text import plural, printable

IMAGE_WH = (1600, 1000)
MOST_ROWS = 25  # regions, and notes, in a report: more would not fit on its pages

METHOD = """The image was looked at window by window, at the scales that the strategy chose. A neural network gave the
people in every cell of each window; where windows overlap, the closest look holds. The sum over all cells is the
count. The range is how far the network was off on photographs of known counts: nine of ten true counts lie in it, for
images like those. It fails where people are hidden by others or by trees and roofs, smaller than a few pixels, seen
from an angle or in a light that the network does not know; and it may count statues, posters and patterns that look
like heads. A hand count of drawn parts (gigacount audit) says how far off it is here."""

STYLE = """
body{font:14px/1.4 system-ui,sans-serif;color:#1a1a1a;max-width:60rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.2rem;margin:0;overflow-wrap:anywhere}h2{font-size:1rem;margin:1.2rem 0 .3rem}
.count{font-size:2.6rem;font-weight:700;line-height:1.2}.range{font-size:1.1rem}
img{display:block;max-width:100%;max-height:62vh;margin:.6rem 0}
table{border-collapse:collapse;width:100%}td,th{text-align:left;vertical-align:top;padding:.15rem .8rem .15rem 0;
border-top:1px solid #ddd;overflow-wrap:anywhere}th{font-weight:600;white-space:nowrap}td.n,th.n{text-align:right}
.doubt{border-left:4px solid #c60;padding-left:.6rem;margin:.3rem 0}small{color:#555}
@page{size:A4;margin:14mm}@media print{body{margin:0;max-width:none;padding:0;font-size:10.5px}img{max-height:115mm}
.second{break-before:page}.second img{max-height:70mm}}
"""

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


@dataclass(frozen=True)
class ReportImages:
    """The two images of a report as JPEG: the density over the photograph, and the windows."""

    density: bytes
    looked: bytes


def write_report(result: CountResult, path: Path) -> None:
    """The report of a fresh result. Raises UsageError for a result without a preview."""
    from gigacount.output.writers import count_json

    preview = result.overlay() if result.preview is None else result.preview  # overlay() says why there is none
    ground = result.options.regions and result.options.regions.metres_per_pixel
    ground = ground**2 if ground else ground_of(result)
    windows = [look.view.window for look in result.looked]
    images = draw_images(preview, result.density, windows, ground, result.region_counts())
    path.write_text(report_html(count_json(result), images), encoding="utf-8")


def report_again(result: StoredResult, audit: Sequence[tuple[str, str]] = ()) -> str:
    """The report of a stored result, with lines of what a check by hand found. Raises ImageError, DataError."""
    with GigaImage.open(result.image, result.reading) as image:
        preview = image.read(whole(image.size_wh), fit(image.size_wh, IMAGE_WH))
        ground = image.georeference.square_metres_of(image.size_wh) if image.georeference else None
    sides = ("left", "top", "width", "height")
    windows = [Window(*(int(window[side]) for side in sides)) for window in result.content["windows"]]
    return report_html(result.content, draw_images(preview, result.density, windows, ground, ()), audit)


def draw_images(
    preview: NDArray[np.uint8],
    density: DensityMap,
    windows: Sequence[Window],
    square_metres: float | None,
    counts: Sequence[RegionCount],
) -> ReportImages:
    """From a small copy of the image (H, W, 3); square_metres: that a full-resolution pixel covers."""
    image = Image.fromarray(preview)
    image.thumbnail(IMAGE_WH)
    coloured, looked = Sheet(image, density.size_wh), Sheet(image.copy(), density.size_wh)
    scale = ColourScale.of(density, coloured.size_wh)
    coloured.colour(scale)
    coloured.outline(counts)
    coloured.add_legend(scale.label(square_metres))
    if square_metres:
        coloured.add_scale_bar(math.sqrt(square_metres))
    looked.frame(windows)
    return ReportImages(*(encoded(sheet.image, "JPEG", quality=85) for sheet in (coloured, looked)))


def report_html(content: Mapping[str, Any], images: ReportImages, audit: Sequence[tuple[str, str]] = ()) -> str:
    """The page of a count.json. audit: what was found by hand, as pairs of a name and a sentence."""
    image = content["image"]
    name = Path(image["path"]).name if image["path"] else "image"
    interval = Interval(**content["interval"]) if fits(content.get("interval"), INTERVAL) else None
    first = [
        f"<h1>{shown(name)}</h1>",
        f'<div class="count">{content["count"]:,.0f} people</div>',
        range_html(interval),
        "".join(f'<div class="doubt">{shown(doubt)}</div>' for doubt in (interval.doubts if interval else ())),
        "<h2>By hand</h2>" + table(audit) if audit else "",
        image_html(images.density, "the image with the density of people over it"),
        regions_html(content.get("regions") or []),
    ]
    windows = content["windows"]
    levels = len({window["level"] for window in windows})
    looks = f"{plural(len(windows), 'window')} at {plural(levels, 'zoom level')}"
    second = [
        f"<h2>Where it was looked at</h2><div>{looks}; each blue frame is one, the whole image has none.</div>",
        image_html(images.looked, "the windows that were looked at"),
        notes_html(content.get("notes") or []),
        "<h2>How it counts, and where that fails</h2>",
        f"<div>{shown(METHOD.replace(chr(10), ' '))}</div>",
        "<h2>What decides this number</h2>",
        table(facts(content)),
    ]
    return page(f"{name}: {content['count']:,.0f} people", "".join(first), "".join(second))


def page(title: str, first: str, second: str = "") -> str:
    """A page that loads nothing."""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{shown(title)}</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body>'
        f'<div>{first}</div><div class="second">{second}</div></body></html>\n'
    )


def shown(text: object) -> str:
    """Any text as HTML: a file may be called anything."""
    return escape(printable(str(text)))


def table(rows: Iterable[tuple[str, object]]) -> str:
    lines = (f"<tr><th>{shown(name)}</th><td>{shown(value)}</td></tr>" for name, value in rows)
    return f"<table>{''.join(lines)}</table>"


def range_html(interval: Interval | None) -> str:
    if interval is None:
        return ""
    return (
        f'<div class="range">{shown(interval)}, {interval.level:.0%} sure</div>'
        f"<small>expected error {shown(interval.basis)}</small>"
    )


def image_html(jpeg: bytes, words: str) -> str:
    return f'<img alt="{shown(words)}" src="data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}">'


def regions_html(regions: Sequence[Mapping[str, Any]]) -> str:
    """The table of regions, without columns that are empty, as far as it fits."""
    if not regions:
        return ""
    columns = region_columns(regions)
    head = "".join(f'<th class="n">{shown(name)}</th>' for name in columns)
    lines = []
    for region, *cells in zip(regions[:MOST_ROWS], *columns.values(), strict=False):
        numbers = "".join(f'<td class="n">{cell}</td>' for cell in cells)
        lines.append(f"<tr><td>{shown(region['region'])}</td>{numbers}</tr>")
    more = f"<small>{len(regions) - MOST_ROWS:,} more in regions.csv</small>" if len(regions) > MOST_ROWS else ""
    return f"<h2>Regions</h2><table><tr><th>region</th>{head}</tr>{''.join(lines)}</table>{more}"


def notes_html(notes: Sequence[str]) -> str:
    if not notes:
        return ""
    more = [f"{len(notes) - MOST_ROWS:,} more in count.json"] if len(notes) > MOST_ROWS else []
    items = "".join(f'<div class="doubt">{shown(note)}</div>' for note in [*notes[:MOST_ROWS], *more])
    return f"<h2>About the image</h2>{items}"


def facts(content: Mapping[str, Any]) -> list[tuple[str, object]]:
    """Image, options, weights and versions, a line each."""
    image, options = content["image"], content["options"]
    looking = options.get("looking", {})
    asked = {**{n: v for n, v in options.items() if n not in ("looking", "reading")}, **options.get("reading", {})}
    plain = ", ".join(f"{name} {json.dumps(value)}" for name, value in asked.items() if value not in (None, False))
    how = ", ".join(f"{name} {json.dumps(value)}" for name, value in looking.items() if value is not None)
    rows: list[tuple[str, object]] = [
        ("image", f"{image['width']:,} x {image['height']:,} pixels, {image.get('bytes', 0):,} bytes"),
        ("its SHA-256", image.get("sha256", "not taken")),
        ("located", f"{content['located']:,} heads" if "located" in content else "not asked for"),
    ]
    for role, network in content["networks"].items():
        rows.append((role.replace("_", " "), f"{network['name']}, weights {network['sha256']}"))
    rows += [("options", plain), ("looking", how), ("key", content.get("key", ""))]
    ran = " ".join(str(content.get(name, "")) for name in ("backend", "device", "precision"))
    took = content["seconds"].get("total")
    rows.append(("ran on", f"{ran}; {took:,.0f} seconds" if took is not None else ran))
    rows.append(("versions", ", ".join(f"{name} {number}" for name, number in content.get("versions", {}).items())))
    return rows


def index_html(entries: Sequence[tuple[str, str | None, float | None, str]]) -> str:
    """The index of a batch: name, link to the report or None, count, range or what went wrong, of each."""
    lines = []
    for name, link, count, rest in entries:
        called = f'<a href="{escape(link)}">{shown(name)}</a>' if link else shown(name)
        number = "" if count is None else f"{count:,.0f}"
        lines.append(f'<tr><td>{called}</td><td class="n">{number}</td><td>{shown(rest)}</td></tr>')
    people = sum(count or 0 for _, _, count, _ in entries)
    head = '<tr><th>image</th><th class="n">people</th><th>range</th></tr>'
    first = f'<h1>{len(entries):,} images</h1><div class="count">{people:,.0f} people</div>'
    return page(f"{len(entries):,} images", f"{first}<table>{head}{''.join(lines)}</table>")
