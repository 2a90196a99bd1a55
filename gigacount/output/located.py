"""The files of one picture whose people were located."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gigacount.output.files import demand_free, replacing
from gigacount.output.overlay import write_dots
from gigacount.output.points import find_writer, localize_json, write_points
from gigacount.output.regions import REGIONS_FILE, regions_json, write_regions
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
