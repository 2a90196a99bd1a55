"""What a picture is and what counting it would take, from its header alone. Free of torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gigacount.density import DensityMap, choose_cell_px
from gigacount.image import GigaImage, ImageInfo
from gigacount.options import CountOptions
from gigacount.strategies import PlannedLevel, find_strategy
from gigacount.text import printable

PROCESS_BYTES = 420_000_000  # interpreter, torch, libvips and its caches; measured, see docs/performance.md
READ_PIXEL_BYTES = 250  # per read pixel in the default network, bf16 or fp32 (its widest layer); measured likewise


@dataclass(frozen=True)
class Description:
    """A picture and the plan for it; `levels` are upper bounds, since empty pictures are zoomed into less."""

    image: ImageInfo
    strategy: str
    levels: list[PlannedLevel]
    canvas_wh: tuple[int, int]
    cell_px: int

    @property
    def inferences(self) -> int:
        return sum(level.looks for level in self.levels)

    @property
    def memory_bytes(self) -> int:
        """Estimated peak of the process with the default network on a CPU."""
        largest = max(level.size_wh[0] * level.size_wh[1] for level in self.levels)
        return PROCESS_BYTES + READ_PIXEL_BYTES * largest + 4 * self.canvas_wh[0] * self.canvas_wh[1]

    def as_dict(self) -> dict[str, Any]:
        plan = {
            "strategy": self.strategy,
            "levels": [asdict(level) for level in self.levels],
            "inferences": self.inferences,
            "canvas_wh": self.canvas_wh,
            "cell_px": self.cell_px,
            "memory_bytes": self.memory_bytes,
        }
        image = asdict(self.image) | {"path": str(self.image.path), "gigapixels": self.gigapixels}
        return {"image": image, "plan": plan}

    @property
    def gigapixels(self) -> float:
        return self.image.size_wh[0] * self.image.size_wh[1] / 1e9

    def as_text(self) -> str:
        canvas = f"{self.canvas_wh[0]:,} x {self.canvas_wh[1]:,} cells of {self.cell_px} px"
        lines = [
            *image_lines(self.image, self.gigapixels),
            f"{'plan':<12}{self.strategy}: at most {self.inferences} looks",
            f"{'canvas':<12}{canvas}",
            f"{'memory':<12}about {self.memory_bytes / 1e9:.1f} GB on a CPU with the default network",
            f"{'level':<12}{'window':>18}{'read at':>16}{'looks':>8}",
        ]
        for level in self.levels:
            window, read = (f"{w:,} x {h:,}" for w, h in (level.window_wh, level.size_wh))
            lines.append(f"{level.level:<12}{window:>18}{read:>16}{level.looks:>8}")
        return "\n".join(lines)


def image_lines(image: ImageInfo, gigapixels: float) -> list[str]:
    width, height = image.size_wh
    if image.tile_wh:
        layout = f"tiles of {image.tile_wh[0]} x {image.tile_wh[1]}"
    else:
        layout = "no random access: decoded once, into a scratch file if more than one look is needed"
    levels = ", ".join(f"{w:,} x {h:,}" for w, h in image.level_sizes[1:]) or "none"
    depth = f"{image.bits}-bit{' float' if image.floating_point else ''}"
    profile = ", embedded profile" if image.icc else ""
    turned = f", turned upright (EXIF orientation {image.orientation})" if image.orientation != 1 else ""
    return [
        f"{'image':<12}{printable(str(image.path))}",
        f"{'size':<12}{width:,} x {height:,} px, {gigapixels:.3f} gigapixels{turned}",
        f"{'format':<12}{image.format}, {image.file_bytes:,} bytes",
        f"{'layout':<12}{layout}",
        f"{'pyramid':<12}{levels}",
        f"{'colour':<12}{image.colour}, {image.bands} bands, {depth}{profile}",
    ]


def describe(path: Path, options: CountOptions) -> Description:
    """Raises ImageError where the picture cannot be opened."""
    with GigaImage.open(path, options.reading) as image:
        levels = find_strategy(options.strategy).plan(image.size_wh, options.looking)
        canvas = DensityMap.empty(image.size_wh)
        rows, cols = canvas.cells.shape
        return Description(image.info, options.strategy, levels, (cols, rows), choose_cell_px(image.size_wh))
