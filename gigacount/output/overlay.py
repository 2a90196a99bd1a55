"""The picture to look at: photograph, density over it, zoom windows outlined, the count written on it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyvips
from numpy.typing import NDArray

from gigacount.density import DensityMap
from gigacount.errors import UsageError
from gigacount.geometry import View
from gigacount.output.failures import system_errors
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

# 5 x 7 bitmap letters, so that the count can be read where no fonts are installed.
GLYPHS = {
    "0": "0e11131519110e", "1": "040c040404040e", "2": "0e11010204081f", "3": "1f02040201110e", "4": "02060a121f0202",
    "5": "1f101e0101110e", "6": "0608101e11110e", "7": "1f010204080808", "8": "0e11110e11110e", "9": "0e11110f01020c",
    ",": "00000000060408", ".": "00000000000c0c", " ": "00000000000000", "p": "00001e111e1010", "e": "00000e111f100e",
    "o": "00000e1111110e", "l": "0c04040404040e", "k": "10101214181412", "s": "00000e100e011e", "n": "00001619111111",
}  # fmt: skip

SHADES = 1024  # of the colour map: too many to be told apart

WINDOW_COLOUR = np.array([90, 220, 255], np.float32)
DOT_COLOUR, RIM_COLOUR = (255, 220, 40), (40, 20, 0)


def draw_overlay(result: CountResult) -> Pixels:
    """The preview of a result, uint8 (H, W, 3), with its heads drawn on it, or else its density and windows.

    Raises UsageError for a result without a preview.
    """
    if result.preview is None:
        raise UsageError("this result has no preview to draw on; count with Counter(..., preview=True)")
    if result.points is not None:
        return draw_heads(result.preview, result.points.xy, result.size_wh)
    return draw_map(result.preview, result.density, [look.view for look in result.looked])


def draw_map(preview: Pixels, density: DensityMap, views: Sequence[View]) -> Pixels:
    """Draw density, windows and count on `preview`, the whole picture shrunk."""
    picture = blend_density(preview, density)
    for view in views:
        outline(picture, view, density.size_wh)
    write_text(picture, f"{density.count:,.0f} people")
    return picture


def draw_heads(preview: Pixels, points_xy: NDArray[np.float32], size_wh: tuple[int, int]) -> Pixels:
    """Draw a dark-rimmed dot on `preview` for each head (N, 2) of a picture of `size_wh`."""
    height, width = preview.shape[:2]
    picture = preview.copy()
    col, row = (points_xy * (width / size_wh[0], height / size_wh[1])).astype(np.int64).T
    radius = max(round(width / 800), 2)
    for reach, colour in ((radius + 1, RIM_COLOUR), (radius, DOT_COLOUR)):
        for dy, dx in ((dy, dx) for dy in range(-reach, reach + 1) for dx in range(-reach, reach + 1)):
            if dx**2 + dy**2 <= reach**2 + 1:
                picture[np.clip(row + dy, 0, height - 1), np.clip(col + dx, 0, width - 1)] = colour
    write_text(picture, f"{len(points_xy):,} people")
    return picture


def save_jpeg(picture: Pixels, path: Path) -> None:
    """Raises OSError where that fails."""
    height, width = picture.shape[:2]
    image = pyvips.Image.new_from_memory(picture.data, width, height, 3, "uchar").copy(interpretation="srgb")
    with system_errors():
        image.jpegsave(os.fsencode(path), Q=88, subsample_mode="off")


def blend_density(preview: Pixels, density: DensityMap) -> Pixels:
    """Colour where people are over a greyed photograph; opacity grows with the density's square root.

    The colour scale ends at the 99.5th percentile of the cells with people, so that one spike does not darken the rest.
    """
    from scipy import ndimage  # not before the picture is under way

    height, width = preview.shape[:2]
    people = density.pooled((width, height))
    people = np.asarray(ndimage.gaussian_filter(people, 1.5), np.float32)
    busy = people[people > 1e-4]
    top = float(np.percentile(busy, 99.5)) if busy.size else 1.0
    strength = np.sqrt(np.clip(people / top, 0, 1))
    scale = height / strength.shape[0], width / strength.shape[1]
    strength = np.clip(ndimage.zoom(strength, scale, order=1, grid_mode=True, mode="nearest"), 0, 1)
    shade = (strength[:height, :width] * (SHADES - 1) + 0.5).astype(np.uint16)
    shades = np.linspace(0, 1, SHADES)
    opacity = np.clip(shades * 1.6, 0, 0.85)[:, None]
    colour = np.stack([np.interp(shades, np.linspace(0, 1, 17), INFERNO[:, c]) for c in range(3)], axis=-1) * opacity
    red, green, blue = (preview[..., band].astype(np.float32) for band in range(3))
    grey = (red + green + blue)[..., None] * np.float32(0.6 / 3)
    blended = grey + preview * np.float32(0.4)
    blended *= np.take((1 - opacity).astype(np.float32), shade, axis=0)
    blended += np.take(colour.astype(np.float32), shade, axis=0)
    picture: Pixels = blended.astype(np.uint8)
    return picture


def outline(picture: Pixels, view: View, size_wh: tuple[int, int]) -> None:
    """Draw a window's edge, thicker and brighter the deeper its zoom level; the whole picture has none."""
    if view.window.size_wh == size_wh:
        return
    height, width = picture.shape[:2]
    scale_x, scale_y = width / size_wh[0], height / size_wh[1]
    left, right = round(view.window.left * scale_x), round(view.window.right * scale_x)
    top, bottom = round(view.window.top * scale_y), round(view.window.bottom * scale_y)
    thick = max(2, round(width / 900))
    for band in (
        np.s_[top : top + thick, left:right],
        np.s_[max(bottom - thick, 0) : bottom, left:right],
        np.s_[top:bottom, left : left + thick],
        np.s_[top:bottom, max(right - thick, 0) : right],
    ):
        picture[band] = (picture[band] * 0.25 + WINDOW_COLOUR * 0.75).astype(np.uint8)


def write_text(picture: Pixels, text: str) -> None:
    """Write `text` in white on a dark bar in the top left corner, sized to a third of the picture's width at most."""
    bits = np.hstack([glyph(letter) for letter in text])
    factor = max(1, min(picture.shape[1] // 3 // (bits.shape[1] + 4), picture.shape[0] // 12 // 11))
    stamp = np.kron(np.pad(bits, 2), np.ones((factor, factor), np.uint8))
    height, width = min(stamp.shape[0], picture.shape[0]), min(stamp.shape[1], picture.shape[1])
    corner = picture[:height, :width]
    corner[:] = (corner * 0.25).astype(np.uint8)
    corner[stamp[:height, :width] == 1] = 255


def glyph(letter: str) -> Pixels:
    """(7, 6) bits of a letter, its right column empty."""
    rows = bytes.fromhex(GLYPHS[letter])
    return np.array([[row >> bit & 1 for bit in (4, 3, 2, 1, 0)] + [0] for row in rows], np.uint8)
