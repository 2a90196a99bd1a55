"""What stands about in a drawn scene and is nobody: trees, lamps, cars, buildings, rows of empty seats, balloons.

Drawn as SVG in heads, the origin at the foot in the middle, y down. Much of it is round and dark on purpose: a network
that takes every round thing for a head is found out here.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from gigacount.synthesize.crowd import Bounds
from gigacount.synthesize.wardrobe import hex_rgb, hue

Drawn = tuple[str, Bounds]
"""SVG without its frame, and (left, top, right, bottom) of it."""

_LIGHT = (
    '<linearGradient id="s" x1="0" x2="1"><stop offset="0" stop-color="#fff" stop-opacity=".2"/>'
    '<stop offset=".4" stop-opacity="0"/><stop offset="1" stop-opacity=".45"/></linearGradient>'
    '<radialGradient id="g"><stop offset="0" stop-opacity=".45"/><stop offset="1" stop-opacity="0"/></radialGradient>'
)


def tree(rng: np.random.Generator) -> Drawn:
    tall, wide = rng.uniform(18, 40), rng.uniform(6, 13)
    leaf = rng.uniform((30, 60, 20), (90, 110, 50))
    angle, radius = rng.uniform(0, 2 * np.pi, 90), np.sqrt(rng.uniform(0, 1, 90))
    x = np.cos(angle) * radius * wide * 0.8
    y = np.sin(angle) * radius * tall * 0.28 - tall * 0.68
    light = 0.45 - 0.5 * x / wide - 0.5 * y / tall + rng.normal(0, 0.1, 90)
    size = rng.uniform(0.1, 0.24, 90) * wide
    crown = [_dot(x[i], y[i], size[i], hex_rgb(leaf * light[i])) for i in np.argsort(-y)]
    trunk = _shape(f"M-.8,0L-.4,{-tall * 0.6:.1f}H.4L.8,0Z", "#4a3a2c")
    return "".join([_LIGHT, _shadow(wide * 0.8, 1.6), trunk, *crown]), (-wide - 3, -tall * 1.1, wide + 3, 2)


def bush(rng: np.random.Generator) -> Drawn:
    wide = rng.uniform(3, 9)
    out = [_LIGHT, _shadow(wide, 0.8)]
    for _ in range(40):
        x, y, size = rng.uniform((-wide * 0.85, -3.2, 0.4), (wide * 0.85, -0.3, 0.9))
        out.append(_dot(x, y, size, hex_rgb(rng.uniform((30, 60, 15), (120, 130, 60)))))
    return "".join(out), (-wide - 1, -4.2, wide + 1, 1)


def lamp(rng: np.random.Generator) -> Drawn:
    tall = rng.uniform(14, 30)
    out = [_LIGHT, _shape(f"M-.2,0L-.1,{-tall:.1f}H.1L.2,0Z", "#3c3f42")]
    if rng.random() < 0.6:
        out += [_dot(0, -tall, 0.8, "#e8e4d2"), _dot(0, -tall, 0.8, "url(#s)")]
    else:
        out.append(_shape(f"M0,{-tall:.1f}h2.5v.5h-2.5z", "#555555"))
    return "".join(out), (-1.5, -tall - 1.2, 3.5, 0.5)


def car(rng: np.random.Generator) -> Drawn:
    body = "M-9,-1.2L-8.6,-3.4L-5,-3.8L-3.2,-6H3.4L5.6,-3.8L8.8,-3.2L9,-1.2Z"
    glass = "M-4.2,-3.9L-2.9,-5.6H-.2V-3.9ZM.3,-3.9V-5.6H3.1L4.6,-3.9Z"
    wheels = [_dot(x, -1.2, size, fill) for x in (-5.5, 5.5) for size, fill in ((1.35, "#151515"), (0.7, "#999999"))]
    paint = hue(rng, 0.9)
    out = [_LIGHT, _shadow(10.5, 1.3), _shape(body, paint), _shape(glass, "#20282e"), _shape(body, "url(#s)"), *wheels]
    return "".join(out), (-12, -6.5, 12, 1.5)


def litter_bin(rng: np.random.Generator) -> Drawn:
    body = "M-1.1,0L-1.3,-3.6H1.3L1.1,0Z"
    lid = '<ellipse cy="-3.6" rx="1.35" ry=".5" fill="#222"/>'
    return _LIGHT + _shadow(2.4, 0.5) + _lit(body, hue(rng, 0.7)) + lid, (-2.6, -4.5, 3.6, 0.7)


def cone(rng: np.random.Generator) -> Drawn:
    orange = hex_rgb(np.array([226.0, 87.0, 31.0]) * rng.uniform(0.8, 1.1))
    stripe = _shape("M-.6,-1.3L-.4,-2H.4L.6,-1.3Z", "#eeeeee")
    return _LIGHT + _lit("M-1,0L-.15,-2.8H.15L1,0Z", orange) + stripe, (-1.5, -3.2, 1.5, 0.5)


def balloons(rng: np.random.Generator) -> Drawn:
    out = [_LIGHT]
    for _ in range(int(rng.integers(3, 12))):
        x, y = rng.normal(0, 1.2), -rng.uniform(9, 14)
        out.append(f'<path d="M0,-3L{x:.2f},{y:.2f}" stroke="#666" stroke-width=".05"/>')
        out += [
            f'<ellipse cx="{x:.2f}" cy="{y:.2f}" rx=".55" ry=".68" fill="{fill}"/>'
            for fill in (hue(rng, 0.95), "url(#s)")
        ]
    return "".join(out), (-5.5, -15.5, 5.5, 0)


def umbrella(rng: np.random.Generator) -> Drawn:
    w = rng.uniform(4, 8)
    dome = f"M{-w:.1f},-9.5Q0,-15 {w:.1f},-9.5Q{w / 2:.1f},-9 0,-9.5Q{-w / 2:.1f},-9 {-w:.1f},-9.5Z"
    pole = _shape("M-.1,0V-12H.1V0Z", "#777777")
    return _LIGHT + _shadow(w, 0.9) + pole + _lit(dome, hue(rng, 0.9)), (-w - 1.5, -13, w + 1.5, 1)


def banner(rng: np.random.Generator) -> Drawn:
    """A board on posts with round and square marks on it."""
    wide, low, tall = rng.uniform((3, 0, 3), (14, 5, 8))
    top = -low - tall
    posts = f"M{-wide:.1f},0V{top:.1f}h.3V0zM{wide:.1f},0V{top:.1f}h-.3V0z"
    board = f"M{-wide:.1f},{top:.1f}H{wide:.1f}V{-low:.1f}H{-wide:.1f}Z"
    out = [_shape(posts, "#555555"), _shape(board, hue(rng, 0.7))]
    ink = hue(rng, 0.7)
    for _ in range(int(rng.integers(3, 14))):
        x, y = rng.uniform((-wide * 0.9, top + 0.2 * tall), (wide * 0.7, top + 0.8 * tall))
        if rng.random() < 0.5:
            out.append(_dot(x, y, rng.uniform(0.2, 0.7), ink))
        else:
            out.append(_shape(f"M{x:.1f},{y:.1f}h{rng.uniform(0.3, 3):.1f}v.6H{x:.1f}z", ink))
    return "".join(out), (-wide - 1, top - 1, wide + 1, 0.5)


def fence(rng: np.random.Generator) -> Drawn:
    wide = rng.uniform(8, 30)
    bars = "".join(f"M{x:.1f},-.3V-4.2" for x in np.arange(-wide, wide, rng.uniform(0.5, 1.2)))
    rails = f"M{-wide:.1f},-.4H{wide:.1f}M{-wide:.1f},-4.2H{wide:.1f}"
    thin = f'<path d="{bars}" stroke="#8d9296" stroke-width=".13"/>'
    thick = f'<path d="{rails}" stroke="#a5abb0" stroke-width=".25"/>'
    return thin + thick, (-wide - 0.5, -4.8, wide + 0.5, 0.3)


def building(rng: np.random.Generator) -> Drawn:
    wide, tall = rng.uniform((20, 25), (70, 120))
    step_x, step_y = rng.uniform((4, 7), (9, 13))
    pane_w, pane_h = rng.uniform(0.3, 0.8, 2) * (step_x, step_y)
    wall = f"M{-wide:.1f},2V{-tall:.1f}H{wide:.1f}V2Z"
    panes = "".join(
        f"M{x:.1f},{-y:.1f}h{pane_w:.1f}v{pane_h:.1f}h{-pane_w:.1f}z"
        for x in np.arange(-wide + step_x / 3, wide - step_x * 0.7, step_x)
        for y in np.arange(step_y, tall - 2, step_y)
    )
    out = [_LIGHT, _lit(wall, hue(rng, 0.35)), _lit(panes, hue(rng, 0.4))]
    if rng.random() < 0.4:
        out.append(_shape(f"M{-wide:.1f},{-tall:.1f}L0,{-tall * 1.25:.1f}L{wide:.1f},{-tall:.1f}Z", hue(rng, 0.5)))
    return "".join(out), (-wide - 0.5, -tall * 1.3, wide + 0.5, 2)


def seats(rng: np.random.Generator) -> Drawn:
    """Rows of empty seats on a stand, whose backs look like heads from far."""
    wide, rows, gap, step = rng.uniform(20, 60), int(rng.integers(4, 14)), rng.uniform(2.0, 2.8), rng.uniform(2.2, 3.2)
    stand = f"M{-wide:.1f},0V{-rows * gap - 2:.1f}H{wide:.1f}V0Z"
    backs = "".join(
        f"M{x:.1f},{-row * gap:.1f}v-1.2q0,-.7 .7,-.7t.7,.7v1.2z"
        for row in range(rows)
        for x in np.arange(-wide + 0.5, wide - 1.5, step)
    )
    out = _LIGHT + _shape(stand, hue(rng, 0.2)) + _lit(backs, hue(rng, 0.9))
    return out, (-wide - 1, -rows * gap - 3, wide + 1, 1)


PROPS: dict[str, Callable[[np.random.Generator], Drawn]] = {
    "tree": tree,
    "bush": bush,
    "lamp": lamp,
    "car": car,
    "bin": litter_bin,
    "cone": cone,
    "balloons": balloons,
    "umbrella": umbrella,
    "banner": banner,
    "fence": fence,
    "building": building,
    "seats": seats,
}
ON_GROUND = ("tree", "bush", "lamp", "car", "bin", "cone", "balloons", "umbrella", "banner", "fence")
ON_HORIZON = ("building", "building", "building", "seats", "tree", "banner")


def _shape(path: str, fill: str) -> str:
    return f'<path d="{path}" fill="{fill}"/>'


def _lit(path: str, fill: str) -> str:
    return _shape(path, fill) + _shape(path, "url(#s)")


def _dot(x: float, y: float, radius: float, fill: str) -> str:
    return f'<circle cx="{x:.2f}" cy="{y:.2f}" r="{radius:.2f}" fill="{fill}"/>'


def _shadow(wide: float, deep: float) -> str:
    return f'<ellipse cx="1" rx="{wide:.1f}" ry="{deep:.1f}" fill="url(#g)"/>'
