"""Patches of an audit as images with a table to fill in, for counting without the viewer."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw

from gigacount.atomic import explained, replacing
from gigacount.datasets.files import bad, csv_rows
from gigacount.errors import EntryError, ExistsError
from gigacount.geometry import Window, whole
from gigacount.image import GigaImage
from gigacount.output.overlay import save_jpeg
from gigacount.output.tables import csv_text
from gigacount.regions import Regions
from gigacount.text import plural
from gigacount.view.trail import Audit

TABLE = "patches.csv"
COLUMNS = ("patch", "image", "left", "top", "width", "height", "heads")

SIDE_PX = 1400  # longest side of a patch's image, at most ENLARGE times as large as in the photograph

ENLARGE = 4
MARGIN = 0.1  # what is shown around a patch, as a share of its longer side, so that heads on its edge are seen whole

FRAME = (255, 220, 40)
DIMMED = 0.45


def export_patches(audit: Audit, image: GigaImage, folder: Path, patches: int, overwrite: bool = False) -> list[int]:
    """Write the next patches as images, and `patches.csv` with an empty column `heads`; their numbers.

    A patch lies within the yellow frame; what is around it is dimmed. With `overwrite`, the images of the earlier
    table go with it. Raises OutputError, and ExistsError where that table holds counts that were not imported.
    """
    stale = replaced_images(audit, folder / TABLE) if overwrite else set()
    waiting = [patch for patch in range(1, audit.patches + 1) if patch not in audit.counted][:patches]
    rows: list[dict[str, Any]] = []
    with replacing(folder / TABLE, overwrite) as table:
        for patch in waiting:
            window, name = audit.window(patch), f"patch-{patch:04}.jpg"
            with replacing(folder / name, overwrite=True) as fresh:
                save_jpeg(patch_image(image, window, audit.excluded), fresh)
            rows.append({"patch": patch, "image": name, **asdict(window), "heads": None})
        table.write_text(csv_text(COLUMNS, rows), encoding="utf-8", newline="")
    for name in stale - {row["image"] for row in rows}:
        with explained(folder / name):
            (folder / name).unlink(missing_ok=True)
    return waiting


def replaced_images(audit: Audit, table: Path) -> set[str]:
    """The images that an earlier table names. Raises ExistsError where it holds counts that were not imported."""
    if not table.is_file():
        return set()
    try:
        waiting = new_counts(audit, table)
        names = {cells["image"] for _, cells in csv_rows(table, COLUMNS, ",".join(COLUMNS))[1]}
    except EntryError as error:  # such as counts of another audit
        raise ExistsError(f"{error}; it is not replaced: use another folder for --export, or remove it") from error
    if waiting:
        raise ExistsError(
            f"{table}: holds counts of {plural(len(waiting), 'patch')} not imported; --import {table.parent} first"
        )
    return {name for name in names if re.fullmatch(r"patch-\d{4,}\.jpg", name)}  # no other file is ours


def import_patches(audit: Audit, folder: Path, by: str | None = None) -> int:
    """Take over the counts of a filled-in `patches.csv`; how many were new. Rows without a count are left.

    Raises EntryError, naming the line, for a table of another audit and for what is no number of heads.
    """
    fresh = new_counts(audit, folder / TABLE if folder.is_dir() else folder)
    for patch, heads in fresh.items():
        audit.add(patch, heads, None, by)
    return len(fresh)


def new_counts(audit: Audit, path: Path) -> dict[int, int]:
    """Heads by patch that a table holds and the audit does not. Raises EntryError as `import_patches` does."""
    found: dict[int, int] = {}
    for line, cells in csv_rows(path, COLUMNS, ",".join(COLUMNS))[1]:
        if not cells["heads"]:
            continue
        try:
            patch, *place = (int(cells[name]) for name in ("patch", "left", "top", "width", "height"))
            heads = int(cells["heads"])
        except ValueError as error:
            raise bad(path, f"'{cells['heads']}' is not a whole number of heads", line) from error
        if not 1 <= patch <= audit.patches or Window(*place) != audit.window(patch):
            raise bad(path, f"patch {patch} belongs to another audit", line)
        if heads < 0:
            raise bad(path, f"the number of heads cannot be negative, as {heads} is", line)
        found[patch] = heads
    return {p: n for p, n in found.items() if p not in audit.counted or audit.counted[p].people != n}


def patch_image(image: GigaImage, window: Window, excluded: Regions | None = None) -> NDArray[np.uint8]:
    """A patch in its frame, uint8 (H, W, 3), with a dimmed margin; zones that do not count are grey."""
    margin = max(round(MARGIN * max(window.size_wh)), 16)
    bounds = whole(image.size_wh)
    left, top = max(window.left - margin, 0), max(window.top - margin, 0)
    right, bottom = min(window.right + margin, bounds.right), min(window.bottom + margin, bounds.bottom)
    shown = Window(left, top, right - left, bottom - top)
    scale = min(SIDE_PX / max(shown.size_wh), ENLARGE)
    size_wh = max(round(shown.width * scale), 1), max(round(shown.height * scale), 1)
    pixels = image.read(shown, size_wh)
    x0, y0 = round((window.left - left) * scale), round((window.top - top) * scale)
    x1, y1 = round((window.right - left) * scale), round((window.bottom - top) * scale)
    inside = pixels[y0:y1, x0:x1].copy()
    pixels = (pixels * DIMMED).astype(np.uint8)
    pixels[y0:y1, x0:x1] = inside
    sheet = Image.fromarray(pixels)
    for region in excluded.regions if excluded is not None else ():
        sheet.paste((128, 128, 128), mask=mask_of([(ring - (left, top)) * scale for ring in region.rings], size_wh))
    ImageDraw.Draw(sheet).rectangle((x0 - 2, y0 - 2, x1 + 1, y1 + 1), outline=FRAME, width=2)
    return np.asarray(sheet)


def mask_of(rings: list[NDArray[np.float64]], size_wh: tuple[int, int]) -> Image.Image:
    """The inside of a polygon, rings with holes among them, as a mask."""
    mask = Image.new("1", size_wh)
    for ring in rings:
        one = Image.new("1", size_wh)
        ImageDraw.Draw(one).polygon([tuple(vertex) for vertex in ring.tolist()], fill=1)
        mask = ImageChops.logical_xor(mask, one)
    return mask
