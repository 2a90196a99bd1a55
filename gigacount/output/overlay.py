"""The image to look at: photograph, density or heads over it, windows, regions and their names, count and legend."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from gigacount.density import Density, DensityMap, people_in
from gigacount.errors import UsageError
from gigacount.geometry import Size, Window
from gigacount.image.vips import from_array, to_array
from gigacount.regions import RegionCount
from gigacount.results import CountResult

Pixels = NDArray[np.uint8]

# 17 samples of matplotlib's `inferno`, a perceptually uniform colour map (van der Walt and Smith, CC0).
INFERNO = np.frombuffer(
    bytes.fromhex(
        "000004 0b0724 210c4a 3d0965 57106e 71196e 8a226a a32c61 bc3754 d24644 e45a31 f1731d f98e09 fcac11 f9cb35"
        " f2ea69 fcffa4"
    ),
    np.uint8,
).reshape(17, 3)

SHADES = 1024  # of the colour map: too many to be told apart

FONT = Path(__file__).with_name("fonts") / "DejaVuSans.ttf"
"""Letters of most alphabets; what it lacks, such as Chinese, is drawn as boxes."""

WINDOW_COLOUR, REGION_COLOUR = (90, 220, 255), (120, 255, 120)
DOT_COLOUR, RIM_COLOUR = (255, 220, 40), (40, 20, 0)
TEXT_COLOUR, BACKGROUND = (255, 255, 255), (0, 0, 0, 190)

MAX_SIDE = 65_000  # pixels of a side; a JPEG has at most 65,535, and libjpeg writes 65,500
LEGEND_WH = (420, 260)  # the smallest image in which a legend does not hide what it explains


def draw_overlay(result: CountResult) -> Pixels:
    """The preview of a result, uint8 (H, W, 3), with its heads drawn on it, or else its density and windows.

    Regions have their outlines, names and counts. Raises UsageError for a result without a preview.
    """
    if result.preview is None:
        raise UsageError("this result has no preview to draw on; count with Counter(..., preview=True)")
    sheet = Sheet(within_limits(result.preview), result.size_wh, result.density)
    if result.points is None:
        scale = ColourScale.of(result.density, sheet.size_wh)
        sheet.colour(scale)
        sheet.frame([look.view.window for look in result.looked])
        sheet.add_legend(scale.label(ground_of(result)))
    else:
        sheet.dot(result.points.xy)
    sheet.outline(result.region_counts())
    sheet.write_caption(counted(result))
    return np.asarray(sheet.image)


def counted(result: CountResult) -> str:
    """The number that an overlay shows."""
    if result.points is not None:
        return f"{len(result.points):,} located"
    people = round(result.count)
    sure = f" ({result.interval})" if result.interval else ""
    return f"{people:,}{sure} {'person' if people == 1 else 'people'}"


def ground_of(result: CountResult) -> float | None:
    """Square metres that a pixel in the middle of the image covers; None where that is unknown."""
    return result.georeference.square_metres_of(result.size_wh) if result.georeference else None


def encoded(image: Image.Image, form: str, **how: int) -> bytes:
    """The bytes of a file of this form, JPEG or PNG."""
    made = BytesIO()
    image.save(made, form, **how)
    return made.getvalue()


def save_jpeg(pixels: Pixels, path: Path) -> None:
    """Raises OSError where that fails."""
    path.write_bytes(encoded(Image.fromarray(pixels), "JPEG", quality=88, subsampling=0))


def within_limits(pixels: Pixels) -> Image.Image:
    """The image, shrunk where a side is longer than a JPEG's may be."""
    image = Image.fromarray(pixels)
    image.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.BOX)
    return image


@dataclass(frozen=True)
class ColourScale:
    """How people become colours.

    strength: 0..1, the square root of the smoothed density by its 99.5th percentile of the cells with people, so that
    one spike does not darken the rest. top: people at the end of the scale in a block of `block_px` full-resolution
    pixels a side; None where there is nobody.
    """

    strength: Density
    top: float | None
    block_px: float

    @classmethod
    def of(cls, density: DensityMap, size_wh: Size) -> ColourScale:
        """For an image drawn at `size_wh`."""
        pooled = density.pooled(size_wh)
        smooth = from_array(pooled[:, :, None]).gaussblur(1.5, min_ampl=0.01, precision="float")
        people = to_array(smooth)[:, :, 0]
        busy = people[people > 1e-4]
        top = float(np.percentile(busy, 99.5)) if busy.size else None
        block_px = density.cell_px * max(
            -(-cells // blocks) for cells, blocks in zip(density.cells.shape, pooled.shape, strict=True)
        )
        return cls(np.sqrt(np.clip(people / (top or 1.0), 0, 1)), top, block_px)

    def label(self, square_metres: float | None) -> str | None:
        """What the end of the scale stands for, where a pixel covers so much ground; None where there is nobody."""
        if self.top is None:
            return None
        per_px = self.top / self.block_px**2
        if square_metres:
            return f"{per_px / square_metres:.2g} people per m\N{SUPERSCRIPT TWO}"
        return f"{per_px * 1e4:.2g} people per 100 \N{MULTIPLICATION SIGN} 100 px"


class Sheet:
    """An image of `size_wh` full-resolution pixels, shrunk to `image`, to draw on.

    Lines, dots and letters are in proportion to the short side, so that a strip is not hidden by them. crowd: where
    people are, for what is written to keep out of their way.
    """

    def __init__(self, image: Image.Image, size_wh: Size, crowd: DensityMap | None = None) -> None:
        self.image, self.full_wh, self.crowd = image, size_wh, crowd
        short = min(image.size)
        self.line = max(round(short / 480), 1)
        self.letter = int(np.clip(short / 30, 11, 60))

    @property
    def size_wh(self) -> Size:
        return self.image.size

    @property
    def scale_xy(self) -> tuple[float, float]:
        return self.size_wh[0] / self.full_wh[0], self.size_wh[1] / self.full_wh[1]

    def colour(self, scale: ColourScale) -> None:
        """Colour where people are over a greyed photograph."""
        self.image = Image.fromarray(blend(np.asarray(self.image), scale.strength))

    def frame(self, windows: Sequence[Window]) -> None:
        """Draw the windows' edges; the whole image has none."""
        draw = ImageDraw.Draw(self.image, "RGBA")
        scale_x, scale_y = self.scale_xy
        for window in {window for window in windows if window.size_wh != self.full_wh}:
            corners = window.left * scale_x, window.top * scale_y, window.right * scale_x, window.bottom * scale_y
            left, top, right, bottom = (round(corner) for corner in corners)
            box = left, top, max(right - 1, left), max(bottom - 1, top)
            draw.rectangle(box, outline=(*WINDOW_COLOUR, 190), width=self.line)

    def dot(self, points_xy: NDArray[np.float32]) -> None:
        """Draw a dark-rimmed dot for each head (N, 2)."""
        pixels = np.array(self.image)
        height, width = pixels.shape[:2]
        col, row = (points_xy * np.array(self.scale_xy)).astype(np.int64).T
        radius = self.line
        for reach, colour in ((radius + 1, RIM_COLOUR), (radius, DOT_COLOUR)):
            for dy, dx in ((dy, dx) for dy in range(-reach, reach + 1) for dx in range(-reach, reach + 1)):
                if dx**2 + dy**2 <= reach**2 + 1:
                    pixels[np.clip(row + dy, 0, height - 1), np.clip(col + dx, 0, width - 1)] = colour
        self.image = Image.fromarray(pixels)

    def outline(self, counts: Sequence[RegionCount]) -> None:
        """Draw regions with their names and counts."""
        draw = ImageDraw.Draw(self.image, "RGBA")
        font = font_of(max(round(self.letter * 0.7), 10))
        for count in counts:
            rings = [ring * np.array(self.scale_xy) for ring in count.region.rings]
            for ring in rings:
                closed = [*map(tuple, ring.tolist()), tuple(ring[0].tolist())]
                draw.line(closed, fill=REGION_COLOUR, width=self.line + 1)
            if not rings:
                continue  # outside the image
            outer = max(rings, key=lambda ring: float(np.ptp(ring, axis=0).prod()))
            text = f"{count.region.name}: {round(count.count):,}"
            self._write(draw, text, outer.mean(axis=0).tolist(), font, centred=True)

    def add_legend(self, label: str | None) -> None:
        """Explain the colours in the bottom left corner, where that hides no more than a corner."""
        width, height = self.size_wh
        if label is None or width < LEGEND_WH[0] or height < LEGEND_WH[1]:
            return
        draw, font = ImageDraw.Draw(self.image, "RGBA"), font_of(max(round(self.letter * 0.6), 10))
        pad = round(font.size * 0.6)
        bar_wh = round(font.size * 8), round(font.size * 0.8)
        text = f"0 to {label}"
        top = height - round(font.size * 1.3) - bar_wh[1] - 2 * pad
        draw.rectangle((0, top, max(font.getlength(text), bar_wh[0]) + 2 * pad, height), fill=BACKGROUND)
        colours = np.clip(colour_map(bar_wh[0]), 0, 255).astype(np.uint8)[None]
        self.image.paste(Image.fromarray(np.repeat(colours, bar_wh[1], axis=0)), (pad, top + pad))
        draw.text((pad, top + pad + bar_wh[1] + 1), text, font=font, fill=TEXT_COLOUR)

    def add_scale_bar(self, metres: float) -> None:
        """A bar of a round length in the bottom right corner, where a full-resolution pixel is so many metres wide."""
        width, height = self.size_wh
        if width < LEGEND_WH[0] or height < LEGEND_WH[1]:
            return
        per_px = metres / self.scale_xy[0]
        power = 10.0 ** math.floor(math.log10(width / 5 * per_px))
        length = max(step * power for step in (1, 2, 5) if step * power <= width / 5 * per_px)
        text = f"{length / 1000:g} km" if length >= 1000 else f"{length:g} m" if length >= 1 else f"{length * 100:g} cm"
        draw, font = ImageDraw.Draw(self.image, "RGBA"), font_of(max(round(self.letter * 0.6), 10))
        pad, bar = round(font.size * 0.6), round(length / per_px)
        wide = max(bar, round(font.getlength(text))) + 2 * pad
        top = height - round(font.size * 2.1) - 2 * pad
        draw.rectangle((width - wide, top, width, height), fill=BACKGROUND)
        draw.rectangle((width - pad - bar, top + pad, width - pad, top + pad + self.line + 1), fill=TEXT_COLOUR)
        draw.text((width - pad, top + pad + 2 * self.line + 3), text, font=font, fill=TEXT_COLOUR, anchor="ra")

    def write_caption(self, text: str) -> None:
        """Write the count in a corner without people, over at most three fifths of the width; best in the top left."""
        size = self.letter
        wide = font_of(size).getlength(text)
        size = max(min(size, int(size * 0.6 * self.size_wh[0] / max(wide, 1))), 8)
        font = font_of(size)
        box_wh = round(font.getlength(text) + font.size), round(font.size * 1.7)
        self._write(ImageDraw.Draw(self.image, "RGBA"), text, self._quiet_corner(box_wh), font)

    def _quiet_corner(self, box_wh: Size) -> Size:
        """The top left, top right or bottom right corner, whichever has the fewest people in a box of this size.

        The bottom left is the legend's.
        """
        (width, height), (box_w, box_h) = self.size_wh, box_wh
        corners = [(0, 0), (max(width - box_w, 0), 0), (max(width - box_w, 0), max(height - box_h, 0))]
        if self.crowd is None:
            return corners[0]
        x, y = self.scale_xy
        crowd = self.crowd
        return min(
            corners,
            key=lambda at: round(people_in(crowd, at[0] / x, at[1] / y, (at[0] + box_w) / x, (at[1] + box_h) / y)),
        )

    def _write(
        self,
        draw: ImageDraw.ImageDraw,
        text: str,
        xy: Sequence[float],
        font: ImageFont.FreeTypeFont,
        centred: bool = False,
    ) -> None:
        """White letters on a dark box whose top left corner, or middle, is at `xy`; moved into the image."""
        pad = max(round(font.size / 4), 1)
        left, top, right, bottom = font.getbbox(text)
        box = np.array([right - left + 2 * pad, bottom - top + 2 * pad])
        corner = np.array(xy) - (box / 2 if centred else 0)
        x, y = np.clip(corner, 0, np.maximum(np.array(self.size_wh) - box, 0)).round().tolist()
        draw.rectangle((x, y, x + box[0] - 1, y + box[1] - 1), fill=BACKGROUND)
        draw.text((x + pad - left, y + pad - top), text, font=font, fill=TEXT_COLOUR)


def font_of(size: int) -> ImageFont.FreeTypeFont:
    """The font at so many pixels; a new one each time, as they are not to be shared between threads."""
    return ImageFont.truetype(FONT, size)


def colour_map(shades: int) -> NDArray[np.float64]:
    """(shades, 3): `INFERNO` from nobody to the most, 0..255."""
    at = np.linspace(0, 1, shades)
    return np.stack([np.interp(at, np.linspace(0, 1, 17), INFERNO[:, c]) for c in range(3)], axis=-1)


def palette() -> NDArray[np.float64]:
    """(SHADES, 4): red, green, blue and opacity, 0..255, which grows with the people."""
    opacity = np.clip(np.linspace(0, 1, SHADES) * 1.6, 0, 0.85)[:, None] * 255
    return np.hstack([colour_map(SHADES), opacity])


def blend(preview: Pixels, strength: Density) -> Pixels:
    """Colours over a greyed photograph (H, W, 3), their opacity growing with `strength`, 0..1 in blocks of pixels."""
    height, width = preview.shape[:2]
    smooth = np.asarray(Image.fromarray(strength).resize((width, height), Image.Resampling.BILINEAR))
    shade = (np.clip(smooth, 0, 1) * (SHADES - 1) + 0.5).astype(np.uint16)
    colours, opacity = np.split(palette(), [3], axis=1)
    red, green, blue = (preview[..., band].astype(np.float32) for band in range(3))
    grey = (red + green + blue)[..., None] * np.float32(0.6 / 3)
    blended = grey + preview * np.float32(0.4)
    blended *= np.take((1 - opacity / 255).astype(np.float32), shade, axis=0)
    blended += np.take((colours * (opacity / 255)).astype(np.float32), shade, axis=0)
    coloured: Pixels = blended.astype(np.uint8)
    return coloured
