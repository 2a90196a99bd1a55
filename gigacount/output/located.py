"""The files of one picture whose people were located: loose ones, or a result folder."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from gigacount.options import LocalizeOptions
from gigacount.output.files import demand_free, replacing
from gigacount.output.folder import ResultFolder
from gigacount.output.identity import options_dict
from gigacount.output.overlay import write_dots
from gigacount.output.points import POINT_WRITERS, find_writer, localize_json, write_points
from gigacount.output.regions import REGIONS_FILE, regions_json, write_regions
from gigacount.output.writers import count_json, write_count_json, write_density
from gigacount.results import LocalizeResult


@dataclass(frozen=True)
class LocatedFiles:
    """What is written: the heads, maybe a JPEG of them, and maybe a table of regions beside the heads."""

    heads: Path
    overlay: Path | None = None
    with_regions: bool = False
    overwrite: bool = False

    @property
    def regions(self) -> Path | None:
        return self.heads.with_name(REGIONS_FILE) if self.with_regions else None

    def demand_free(self) -> None:
        """Raise before the work what would fail after it: an unknown format, a file that stands, no permission."""
        find_writer(self.heads)
        for path in (self.heads, self.overlay, self.regions):
            if path is not None:
                demand_free(path, self.overwrite)

    def write(self, result: LocalizeResult) -> dict[str, Any]:
        """Write all files, and return the answer as plain values. Raises OutputError."""
        counted, xy = result.counted, result.points.xy
        answer = localize_json(result) | {"out": str(self.heads.absolute())}
        write_points(result, self.heads, self.overwrite)
        if self.regions is not None and counted.regions is not None:
            counts = counted.regions.measure(counted.density, xy)
            answer["regions"] = regions_json(counts)
            with replacing(self.regions, self.overwrite) as fresh:
                write_regions(counts, fresh)
        if self.overlay is not None:
            with replacing(self.overlay, self.overwrite) as fresh:
                write_dots(counted.preview, xy, counted.size_wh, fresh)
        return answer


def write_heads(suffix: str, result: LocalizeResult, folder: Path) -> None:
    write_points(result, folder / f"points{suffix}")


def write_map(result: LocalizeResult, folder: Path) -> None:
    write_density(result.counted, folder)


def write_overlay(result: LocalizeResult, folder: Path) -> None:
    counted = result.counted
    write_dots(counted.preview, result.points.xy, counted.size_wh, folder / "overlay.jpg")


FOLDER_WRITERS: dict[str, Callable[[LocalizeResult, Path], None]] = {
    **{suffix.removeprefix("."): partial(write_heads, suffix) for suffix in POINT_WRITERS},
    "tif": write_map,
    "overlay": write_overlay,
}
"""Format name -> writer into the result folder, beside count.json."""


def write_located(
    result: LocalizeResult, options: LocalizeOptions, folder: ResultFolder, formats: Collection[str]
) -> dict[str, Any]:
    """Write what was located in the given formats, and regions.csv if asked for; return what stands in its count.json.

    That is the count.json of a count, with the located people in it. Raises OutputError where writing fails, leaving
    what was there before.
    """
    counted = result.counted
    located = localize_json(result)
    content = count_json(counted, formats) | {"options": options_dict(options)}
    content |= {name: located[name] for name in ("located", "too_coarse", "levels")}
    regions = counted.regions.measure(counted.density, result.points.xy) if counted.regions else []
    if regions:
        content["regions"] = regions_json(regions)
    with folder.replacing() as fresh:
        if regions:
            write_regions(regions, fresh / REGIONS_FILE)
        for name in formats:
            FOLDER_WRITERS[name](result, fresh)
        write_count_json(content, fresh)
    return content
