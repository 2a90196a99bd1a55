"""Sky and a textured ground plane in perspective, the same for a point in whatever window it is painted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from gigacount.geometry import Size, Window
from gigacount.synthesize.scene import Perspective

COARSE = 4
"""Texture is computed once per square of this many pixels and interpolated between."""

_PERIOD = 512
_CLOUDS = ((30, 0.6), (75, 0.35), (190, 0.2))
"""Waves per image width, weight."""
_GRAINS = ((90.0, 0.55), (17.0, 0.5), (3.7, 0.55), (0.9, 0.5), (0.31, 0.4))
"""Wavelength of ground texture in heads, weight."""

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

_TONES: dict[str, tuple[tuple[int, int, int], int]] = {
    "asphalt": ((92, 92, 96), 12),
    "slabs": ((168, 162, 150), 14),
    "cobbles": ((120, 112, 104), 14),
    "grass": ((86, 112, 52), 18),
    "sand": ((196, 176, 136), 14),
    "snow": ((208, 212, 218), 8),
    "track": ((158, 74, 56), 14),
    "floor": ((190, 184, 176), 10),
    "earth": ((128, 100, 74), 16),
}
"""Ground -> mean colour and how much it varies."""
_JOINTED = ("slabs", "floor", "track")
_SKIES = ((98, 150, 214), (150, 178, 205), (205, 208, 212), (120, 128, 140), (225, 190, 160), (60, 66, 84))


@dataclass(frozen=True)
class GroundPlane:
    """Everything random about sky and ground.

    noise: (_PERIOD, _PERIOD) periodic, of unit variance. sky_rgb: (2, 3) zenith and horizon. joints: width and depth of
    a slab in heads, and the darkness of the joints between. cobbles: how far they stand out. clouds: 0 clear, 1 closed.
    """

    size_wh: Size
    perspective: Perspective
    noise: Floats
    ground_rgb: Floats
    second_rgb: Floats
    sky_rgb: Floats
    joints: tuple[float, float, float]
    cobbles: float
    clouds: float
    contrast: float

    def paint(self, window: Window) -> NDArray[np.uint8]:
        """(height, width, 3) RGB of a window, which may reach beyond the image."""
        first_x, first_y = (window.left - COARSE // 2) // COARSE, (window.top - COARSE // 2) // COARSE
        columns = (window.right - 1 + COARSE // 2) // COARSE - first_x + 2
        rows = (window.bottom - 1 + COARSE // 2) // COARSE - first_y + 2
        grid = self._coarse(Window(first_x, first_y, columns, rows))
        tall = _interpolate(grid, window.top, window.height, first_y, axis=0)
        return (_interpolate(tall, window.left, window.width, first_x, axis=1) + np.float32(0.5)).astype(np.uint8)

    def _coarse(self, squares: Window) -> Floats:
        x = _centres(squares.left, squares.right)
        y = _centres(squares.top, squares.bottom)
        split = int(np.searchsorted(y, self.perspective.horizon + 1))
        out = np.empty((squares.height, squares.width, 3), np.float32)
        if split:
            out[:split] = self._sky(x, y[:split])
        if split < squares.height:
            out[split:] = self._floor(x, y[split:])
        return np.clip(out, 0, 255, out=out)

    def _sky(self, x: Doubles, y: Doubles) -> Floats:
        low = np.clip(y / max(self.perspective.horizon, 1.0), 0, 1)[:, None, None].astype(np.float32)
        rgb = self.sky_rgb[0] * (1 - low) + self.sky_rgb[1] * low
        u, v = x[None] / self.size_wh[0], y[:, None] / self.size_wh[0] * 3
        cloud = np.zeros((len(y), len(x)), np.float32)
        for waves, weight in _CLOUDS:
            cloud += weight * self._noise(u * waves + waves, v * waves)
        cover = np.clip(cloud * np.float32(0.6) + np.float32(self.clouds - 0.5), 0, 1)[..., None]
        out: Floats = rgb + (np.float32(235) - rgb) * cover
        return out

    def _floor(self, x: Doubles, y: Doubles) -> Floats:
        head = self.perspective.head_px(y)[:, None]
        across, away = (x[None] - self.size_wh[0] / 2) / head, self.perspective.depth / head
        value = self._grain(across, away, head)
        mix = np.clip(0.5 + 0.35 * value, 0, 1)[..., None]
        rgb = self.ground_rgb * (1 - mix) + self.second_rgb * mix
        light = 1 + np.float32(0.12 * self.contrast) * value
        if self.joints[2]:
            light *= self._joint_shade(across, away, head)
        if self.cobbles:
            light *= self._cobble_shade(across, away, head)
        near = np.clip((y - self.perspective.horizon) / (self.size_wh[1] - self.perspective.horizon), 0, 1)
        haze = (0.55 * (1 - near) ** 6).astype(np.float32)[:, None, None]
        out: Floats = rgb * light[..., None] * (1 - haze) + self.sky_rgb[1] * haze
        return out

    def _grain(self, across: Doubles, away: Doubles, head: Doubles) -> Floats:
        """(rows, cols) texture; a wave fades out where it gets shorter than the coarse squares can show."""
        value = np.zeros(across.shape, np.float32)
        upright = head * np.minimum(head / (self.perspective.depth * self.perspective.rise), 1)
        for wave, weight in _GRAINS:
            fade = weight * np.clip((wave * upright / (2 * COARSE) - 1) / 2, 0, 1).astype(np.float32)
            shown = slice(int(np.argmax(fade[:, 0] > 0)) if fade.any() else len(fade), None)
            value[shown] += fade[shown] * self._noise(across[shown] * 4 / wave + wave, away[shown] * 4 / wave)
        return value

    def _joint_shade(self, across: Doubles, away: Doubles, head: Doubles) -> Floats:
        wide, deep, dark = self.joints
        to_side = (0.5 - np.abs((across / wide) % 1 - 0.5)) * wide
        to_end = (0.5 - np.abs((away / deep) % 1 - 0.5)) * deep
        line = np.clip(np.maximum(1 - to_side / 0.12, 1 - to_end / 0.2), 0, 1)
        return (1 - dark * line * np.clip(wide * head / 30 - 0.4, 0, 1)).astype(np.float32)

    def _cobble_shade(self, across: Doubles, away: Doubles, head: Doubles) -> Floats:
        row = np.floor(away / 0.9)
        u = ((across / 0.8 + 0.5 * (row % 2)) % 1 - 0.5) * 2
        v = ((away / 0.9) % 1 - 0.5) * 2
        dome = np.clip(1.1 - u * u - v * v, 0, 1) - 0.4
        return (1 + self.cobbles * dome * np.clip(head / 16 - 0.5, 0, 1)).astype(np.float32)

    def _noise(self, u: Doubles, v: Doubles) -> Floats:
        v, u = np.broadcast_arrays(v, u)
        out: Floats = ndimage.map_coordinates(self.noise, [v, u], order=1, mode="grid-wrap", output=np.float32)
        return out


def make_ground(
    rng: np.random.Generator, size_wh: Size, perspective: Perspective, kinds: Sequence[str] = tuple(_TONES)
) -> GroundPlane:
    """A sky and a ground at random of asphalt, slabs, cobbles, grass, sand, snow, track, floor and earth."""
    rough = ndimage.gaussian_filter(rng.standard_normal((_PERIOD, _PERIOD)), 1.0, mode="wrap")
    kind = kinds[int(rng.integers(len(kinds)))]
    tone, spread = _TONES[kind]
    ground = np.array(tone) * rng.uniform(0.6, 1.2) + rng.normal(0, spread / 2, 3)
    second = ground + rng.normal(0, spread * 0.6, 3) + rng.normal(0, spread)
    zenith = np.array(_SKIES[int(rng.integers(len(_SKIES)))]) + rng.normal(0, 10, 3)
    low = zenith * 0.4 + 222 * 0.6 * rng.uniform(0.6, 1.0)
    joint = rng.uniform(0.1, 0.4) if kind in _JOINTED or rng.random() < 0.3 else 0.0
    return GroundPlane(
        size_wh=size_wh,
        perspective=perspective,
        noise=(rough / rough.std()).astype(np.float32),
        ground_rgb=_colour(ground),
        second_rgb=_colour(second),
        sky_rgb=_colour(np.stack([zenith, low])),
        joints=(rng.uniform(2, 9), rng.uniform(2, 9), joint),
        cobbles=rng.uniform(0.2, 0.6) if kind == "cobbles" else 0.0,
        clouds=rng.uniform(0, 0.8),
        contrast=rng.uniform(0.4, 1.4),
    )


def _colour(rgb: NDArray[Any]) -> Floats:
    out: Floats = np.clip(rgb, 8, 235).astype(np.float32)
    return out


def _centres(first: int, last: int) -> Doubles:
    out: Doubles = np.arange(first, last, dtype=np.float64) * COARSE + COARSE / 2
    return out


def _interpolate(grid: Floats, start: int, length: int, first: int, axis: int) -> Floats:
    """Linear interpolation along an axis, from centres of coarse squares (the first is `first`) to pixel centres."""
    at = (np.arange(start, start + length) + 0.5) / COARSE - 0.5 - first
    low = at.astype(np.int64)
    shape = [length if i == axis else 1 for i in range(3)]
    weight = (at - low).astype(np.float32).reshape(shape)
    below: Floats = np.take(grid, low, axis)
    above: Floats = np.take(grid, low + 1, axis)
    return below + (above - below) * weight
