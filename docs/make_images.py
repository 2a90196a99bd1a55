"""Write the images of the pages; see `make images`.

docs/images/demo.jpg, the image in the README, from the overlay that `make demo` leaves; and docs/images/worst.jpg,
drawn images that the shipped network counts worst, with what it found there.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from gigacount.count import Counter
from gigacount.geometry import whole
from gigacount.options import CountOptions
from gigacount.output.overlay import encoded, font_of
from gigacount.results import CountResult
from gigacount.synthesize import SceneOptions, Truth, draw_scene

IMAGES = Path(__file__).parent / "images"
WIDTH_PX = 1000

Pixels = NDArray[np.uint8]


def write_demo(demo: Path) -> None:
    """Shrink the overlay in the folder of the demonstration to the width of a page."""
    with Image.open(demo / "scene.tif.gigacount" / "overlay.jpg") as overlay:
        height = round(overlay.height * WIDTH_PX / overlay.width)
        overlay.resize((WIDTH_PX, height), Image.Resampling.LANCZOS).save(
            IMAGES / "demo.jpg", quality=70, optimize=True
        )


def at_night(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """A tenth of the light, brightened again: what is left is noise."""
    photons = rng.poisson(pixels.astype(np.float32) * 0.12)
    return np.clip(photons * 3.0, 0, 255).astype(np.uint8)


def in_fog(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    return (170 + (pixels.astype(np.float32) - 128) * 0.2).astype(np.uint8)


def out_of_focus(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    blurred: Pixels = ndimage.gaussian_filter(pixels, (3.5, 3.5, 0))
    return blurred


def clear(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    return pixels


SIDE = SceneOptions(size_wh=(1500, 1000), people=150, head_px=(8.0, 45.0))
KINDS: dict[str, tuple[SceneOptions, Callable[[Pixels, np.random.Generator], Pixels]]] = {
    "far crowd": (replace(SIDE, people=500, head_px=(4.0, 10.0)), clear),
    "dense crowd": (replace(SIDE, people=900, head_px=(8.0, 24.0), horizon=-0.5), clear),
    "close people": (replace(SIDE, people=12, head_px=(90.0, 200.0)), clear),
    "night": (SIDE, at_night),
    "fog": (SIDE, in_fog),
    "out of focus": (SIDE, out_of_focus),
    "from above, low": (replace(SIDE, people=60, view="above", head_px=(25.0, 40.0)), clear),
    "from above, high": (replace(SIDE, people=300, view="above", head_px=(4.0, 7.0)), clear),
    "nobody, from the side": (replace(SIDE, people=0), clear),
    "nobody, from above": (replace(SIDE, people=0, view="above"), clear),
}
EACH = 4
"""Images of a kind."""
TILES, OF_A_KIND = 8, 2
"""Images on the sheet, and the most of one kind."""
TILE_WH, STRIP, GAP = (330, 220), 34, 6
TRUE, FOUND = (60, 255, 90), (255, 60, 60)


@dataclass(frozen=True)
class Counted:
    """An image of a kind, its ground truth, and what the network saw."""

    kind: str
    pixels: Pixels
    truth: Truth
    result: CountResult

    @property
    def line(self) -> str:
        return f"{self.kind}: {len(self.truth.points_xy)} people, counted {self.result.count:.0f}"

    @property
    def off(self) -> float:
        return self.result.count - len(self.truth.points_xy)

    @property
    def error(self) -> float:
        """Relative to the people who are there, against at least ten."""
        return abs(self.off) / max(len(self.truth.points_xy), 10)


def write_worst() -> None:
    """Draw images of all kinds, count them with the shipped network, and show those with the worst errors."""
    counter = Counter(CountOptions(), locate=True, preview=False)
    counted = []
    for number, (kind, (options, change)) in enumerate(KINDS.items()):
        for seed in range(EACH):
            scene = draw_scene(replace(options, seed=100 * number + seed))
            pixels = change(scene.paint(whole(scene.size_wh)), np.random.default_rng(seed))
            counted.append(Counted(kind, pixels, scene.truth, counter.count(pixels)))
            print(counted[-1].line, file=sys.stderr)
    made = sheet(choose_worst(counted), counted)
    (IMAGES / "worst.jpg").write_bytes(encoded(made, "JPEG", quality=72, optimize=1))


def choose_worst(counted: list[Counted]) -> list[Counted]:
    """The largest errors first, at most `OF_A_KIND` of a kind."""
    worst: list[Counted] = []
    for one in sorted(counted, key=lambda one: -one.error):
        if len(worst) < TILES and [other.kind for other in worst].count(one.kind) < OF_A_KIND:
            worst.append(one)
    return worst


def sheet(worst: list[Counted], counted: list[Counted]) -> Image.Image:
    """Tiles in two rows, and below them the errors of all kinds."""
    columns, (width, height) = TILES // 2, TILE_WH
    rows = -(-len(KINDS) // 2)
    made = Image.new("RGB", (columns * (width + GAP), 2 * (height + STRIP) + 30 * (rows + 1) + 6), "white")
    draw = ImageDraw.Draw(made)
    for i, one in enumerate(worst):
        left, top = i % columns * (width + GAP), i // columns * (height + STRIP)
        made.paste(tile(one), (left, top))
        draw.text((left + 6, top + height + 6), one.line, "black", font_of(15))
    weights = counted[0].result.networks["network"]["sha256"][:8]
    top = 2 * (height + STRIP) + 6
    drawn = f"{len(counted)} drawn images, {EACH} of a kind; weights {weights}; green: true heads, red: located heads"
    draw.text((6, top), drawn, "black", font_of(17))
    for i, kind in enumerate(KINDS):
        those = [one for one in counted if one.kind == kind]
        mean = np.mean([len(one.truth.points_xy) for one in those])
        error, bias = np.mean([abs(one.off) for one in those]), np.mean([one.off for one in those])
        line = f"{kind}: {mean:.0f} people on average, mean error {error:.1f}, bias {bias:+.1f}"
        draw.text((6 + i // rows * made.width // 2, top + 30 * (1 + i % rows)), line, "black", font_of(17))
    return made


def tile(one: Counted) -> Image.Image:
    """Where the count is furthest off: true heads in rings, located heads as dots."""
    height, width = one.pixels.shape[:2]
    head = np.median(one.truth.boxes_xyxy[:, 3] - one.truth.boxes_xyxy[:, 1]) if len(one.truth.points_xy) else 30
    crop_w = int(np.clip(22 * head, 250, width))
    crop_h = crop_w * TILE_WH[1] // TILE_WH[0]
    density = one.result.density
    cells = np.array(density.cells, np.float64)
    for x, y in one.truth.points_xy.astype(int) // density.cell_px:
        cells[y, x] -= 1
    around = ndimage.uniform_filter(cells, (crop_h // density.cell_px, crop_w // density.cell_px), mode="constant")
    row, column = np.unravel_index(np.argmax(np.abs(around)), around.shape)
    left = int(np.clip(column * density.cell_px - crop_w / 2, 0, width - crop_w))
    top = int(np.clip(row * density.cell_px - crop_h / 2, 0, height - crop_h))
    cut = Image.fromarray(one.pixels[top : top + crop_h, left : left + crop_w])
    shown = cut.resize(TILE_WH, Image.Resampling.LANCZOS)
    draw, scale = ImageDraw.Draw(shown), TILE_WH[0] / crop_w
    ring = max(0.5 * head * scale, 3)
    for points, colour, radius, thick in (
        (one.truth.points_xy, TRUE, ring, 1),
        (one.result.points.xy, FOUND, 2, 3),
    ):
        for x, y in (points - (left, top)) * scale:
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=colour, width=thick)
    return shown


def main(demo: Path) -> None:
    write_demo(demo)
    write_worst()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
