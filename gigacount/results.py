"""What counting gives back."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gigacount.appearance import Appearance
from gigacount.density import DensityMap
from gigacount.geometry import Size, View
from gigacount.options import CountOptions

if TYPE_CHECKING:
    from gigacount.image.georeference import Georeference
    from gigacount.points import Points
    from gigacount.regions import RegionCount, Regions


@dataclass(frozen=True)
class Looked:
    """One look that was made: the view, the people in its window, and `points.Heads` in full-resolution pixels.

    The heads are all that were seen, those in the view's context as well: see `points.gather`. missing: the share of
    its pixels that is damaged, and for which grey stands in. appearance: how light and sharp they are.
    """

    view: View
    count: float
    points: NDArray[np.float32] | None = None
    missing: float = 0.0
    appearance: Appearance | None = None

    def without(self, regions: Regions) -> Looked:
        """The look without the heads in some regions."""
        if self.points is None:
            return self
        return replace(self, points=self.points[~regions.contain(self.points[:, :2])])


@dataclass(frozen=True)
class Located:
    """Counted and located people in a part of the image: `area` is its share of the image, 0..1."""

    area: float
    people: float
    heads: int


@dataclass(frozen=True)
class LocatedHeads:
    """The heads of one image, each once.

    levels: zoom level -> what the looks of that level own. too_coarse: where heads are too small or too close to tell
    apart: the density holds people there that have no point.
    """

    points: Points
    levels: dict[int, Located]
    too_coarse: Located


@dataclass(frozen=True)
class Interval:
    """The range of a count: `level` of all true counts lie from `low` to `high`, among images like those measured.

    basis: the relative errors behind it, in words. doubts: what speaks against trusting this image, a clause each.
    """

    low: float
    high: float
    level: float
    basis: str
    doubts: tuple[str, ...] = ()

    def __str__(self) -> str:
        low, high = (10 ** max(math.floor(math.log10(max(end, 1))) - 1, 0) for end in (self.low, self.high))
        return f"{math.floor(self.low / low) * low:,} to {math.ceil(self.high / high) * high:,}"  # to two digits


@dataclass(frozen=True, repr=False)
class CountResult:
    """The count of one image, where it comes from, and what it took.

    image: None for an image that was given as pixels. density: people per cell over the whole image. looked: the
    looks in order. networks: role -> name, SHA-256 of the weights, and hash of the record. identity: the file's size
    in bytes, time of change and hash, by which a later run knows it again. key: hash of all that decides the count but
    the image. seconds: by stage; reading overlaps with the network, so stages may add up to more than the total.
    heads: where people were located. regions: the parts of the image to report on one by one, where asked for.
    preview: the image shrunk, uint8 (H, W, 3), where asked for. georeference: where the image lies on the earth;
    None where its file does not say. notes: what was assumed about the image and what is odd about it, a line each.
    interval: the range of the count.
    """

    image: Path | None
    density: DensityMap
    looked: list[Looked]
    networks: dict[str, dict[str, str]]
    options: CountOptions
    identity: dict[str, int | str]
    key: str
    inferences: int
    device: str
    precision: str
    seconds: dict[str, float]
    heads: LocatedHeads | None = None
    regions: Regions | None = None
    preview: NDArray[np.uint8] | None = None
    georeference: Georeference | None = None
    notes: tuple[str, ...] = ()
    backend: str = ""
    interval: Interval | None = None

    def __repr__(self) -> str:
        width, height = self.size_wh
        located = f", {len(self.points):,} located" if self.points is not None else ""
        sure = f" ({self.interval})" if self.interval else ""
        return f"<CountResult: {self.count:,.1f}{sure} people{located} in {self.name}, {width} x {height} px>"

    @property
    def name(self) -> str:
        """The image's file name."""
        return self.image.name if self.image else "image"

    @property
    def count(self) -> float:
        """People in the whole image."""
        return self.density.count

    @property
    def points(self) -> Points | None:
        """The located heads; None where people were only counted."""
        return self.heads.points if self.heads else None

    @property
    def size_wh(self) -> Size:
        return self.density.size_wh

    @property
    def coarse_share(self) -> float:
        """Share of the counted people who were seen too coarsely to be located, 0..1."""
        return self.heads.too_coarse.people / self.count if self.heads and self.count > 0 else 0.0

    def region_counts(self) -> list[RegionCount]:
        """The people in each region; empty where no regions were asked for."""
        if self.regions is None:
            return []
        return self.regions.measure(self.density, self.points.xy if self.points else None)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the map, the heads and the pixels, as plain values; what stands in count.json."""
        from gigacount.output.writers import count_json

        return count_json(self)

    def overlay(self) -> NDArray[np.uint8]:
        """The preview with the density, or the located heads, drawn over it, uint8 (H, W, 3)."""
        from gigacount.output.overlay import draw_overlay

        return draw_overlay(self)

    def save(self, folder: Path | str, formats: tuple[str, ...] | None = None, overwrite: bool = False) -> Path:
        """Write the result into a new folder, and return its path.

        formats: names of `output.writers.WRITERS`; by default density and overlay, and heads as CSV where they were
        located. Raises OutputError where the folder exists already (unless `overwrite`) or cannot be written.
        """
        from gigacount.output.folder import ResultFolder
        from gigacount.output.writers import write_result

        target = ResultFolder(Path(folder))
        target.require_free(overwrite)
        usual = ("tif", "overlay") if self.points is None else ("tif", "overlay", "csv")
        write_result(self, target, usual if formats is None else formats)
        return target.path
