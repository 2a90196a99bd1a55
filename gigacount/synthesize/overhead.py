"""How people and things look from straight above, as SVG in heads, and the shadows that they cast.

The origin of a person is the centre of the head, that of a thing its middle; both look towards -y before they are
turned. A head is 1 long from front to back, about 22 cm.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

from gigacount.synthesize.crowd import Bounds, Build
from gigacount.synthesize.wardrobe import FINE_PX, Look, hex_rgb, hue

HEAD_WH = (0.78, 1.0)
"""Breadth and length of a head."""

HIP, SHOULDER = 0.5, 0.82
"""Heights as shares of the stature."""

Vector = tuple[float, float]
Doubles = NDArray[np.float64]
Solid = tuple[Doubles, float, float]
"""Outline (N, 2), and the heights in heads between which a thing has it."""


@dataclass(frozen=True)
class Sun:
    """shift: where the shadow of a point one head above the ground falls, in heads; dark: its opacity."""

    shift: Vector
    dark: float


@dataclass(frozen=True)
class Thing:
    """A drawing, what of it casts a shadow, and how far it reaches from its middle, all before it is turned."""

    svg: str
    solids: tuple[Solid, ...]
    reach: float

    @property
    def top(self) -> float:
        return max((high for _, _, high in self.solids), default=0.0)


def make_sun(rng: np.random.Generator) -> Sun:
    """A clear sky with a sun 25 to 70 degrees high, or one time in three a clouded one."""
    angle = rng.uniform(0, 2 * np.pi)
    length, dark = 1 / np.tan(np.radians(rng.uniform(25, 70))), rng.uniform(0.3, 0.55)
    if rng.random() < 1 / 3:
        length, dark = 0.25, rng.uniform(0.06, 0.18)
    return Sun((float(length * np.cos(angle)), float(length * np.sin(angle))), float(dark))


def turned(points: Doubles, turn: float) -> Doubles:
    """Points (..., 2) turned clockwise, as the image shows it, by an angle in radians."""
    cos, sin = np.cos(turn), np.sin(turn)
    out: Doubles = points @ np.array([[cos, sin], [-sin, cos]])
    return out


def shadow(solids: Sequence[Solid], turn: float, sun: Sun) -> tuple[str, Bounds]:
    """The shadow on the ground of a thing that has been turned, and its bounds."""
    hulls = []
    for outline, low, high in solids:
        foot = turned(outline, turn)
        cast = np.concatenate([foot + low * np.array(sun.shift), foot + high * np.array(sun.shift)])
        hulls.append(cast[ConvexHull(cast).vertices])
    path = "".join("M" + "L".join(f"{x:.2f},{y:.2f}" for x, y in hull) + "Z" for hull in hulls)
    every = np.concatenate(hulls)
    (left, top), (right, bottom) = every.min(0).tolist(), every.max(0).tolist()
    return f'<path d="{path}" fill="#000510" fill-opacity="{sun.dark:.2f}"/>', (left, top, right, bottom)


def person_solids(build: Build) -> tuple[Solid, ...]:
    """What of a person casts a shadow, about the feet."""
    shoulders = SHOULDER * build.stature
    return (
        (_oval(0.55, 0.45), 0.0, HIP * build.stature),
        (_oval(0.95 * build.width, 0.5), 0.35 * build.stature, shoulders),
        (_oval(0.38, 0.48), shoulders, build.stature),
    )


def person_from_above(
    build: Build, look: Look, rng: np.random.Generator, head_px: float, turn: float, lean: Vector, sun: Sun
) -> str:
    """A person who looks towards `turn`; `lean` is the way from the feet to the head, in heads of the image."""
    light = turned(np.array(sun.shift) / max(float(np.hypot(*sun.shift)), 1e-6), -turn)
    away = turned(np.array(lean), -turn)
    w = build.width

    def at(height: float, x: float, y: float) -> str:
        return f"{x + away[0] * (height - 1):.2f},{y + away[1] * (height - 1):.2f}"

    def moved(height: float, shapes: str) -> str:
        return f'<g transform="translate({at(height, 0, 0)})">{shapes}</g>'

    walks = build.pose in ("down", "wave") and rng.random() < 0.75
    stride = rng.uniform(0.5, 1.2) if walks else rng.uniform(0.0, 0.2)
    bare = build.skirt or rng.random() < 0.2
    out = [_gradients(light, rng)]
    for side in (-1, 1):
        foot, hip = at(0, side * 0.35, side * stride), at(HIP, side * 0.3, 0)
        out.append(moved(0, _oval_svg(side * 0.35, side * stride - 0.15, 0.2, 0.5, look.shoes)))
        out.append(_line(foot, hip, 0.5 if bare else 0.68, look.skin if bare else look.trousers))
    if build.skirt:
        out.append(moved(0.4, _oval_svg(0, 0, 0.95 * w, 0.8, look.cloth)))
    sleeve = look.skin if rng.random() < 0.45 else look.cloth
    for side in (-1, 1):
        shoulder = at(SHOULDER, side * 0.88 * w, 0)
        hand_xyz = (side * 1.05 * w, -side * 0.8 * stride, 0.5)
        if build.pose == "phone":
            hand_xyz = (side * 0.22, -1.0, 0.72)
        elif build.pose in ("up", "wave") and side > 0:
            hand_xyz = (1.5 * w, -0.7, 1.0)
        x, y, height = hand_xyz
        out.append(_line(shoulder, at(height, x, y), 0.34, sleeve))
        out.append(moved(height, _oval_svg(x, y, 0.19, 0.19, look.skin)))
    out.append(_line(at(HIP, 0, 0), at(0.75, 0, 0), 1.35 * w, look.cloth))
    out.append(moved(SHOULDER, _shoulders(build, look, rng, head_px >= FINE_PX)))
    if build.pose == "phone":
        out.append(moved(0.75, '<path d="M-.2,-1.35h.4v.5h-.4z" fill="#181818"/>'))
    out.append(_crown(build, look, rng))
    return f'<g transform="rotate({np.degrees(turn):.1f})">{"".join(out)}</g>'


def _shoulders(b: Build, look: Look, rng: np.random.Generator, fine: bool) -> str:
    w = 1.08 * b.width
    shape = f"M{-w:.2f},.05C{-w:.2f},-.5 -.5,-.5 0,-.42C.5,-.5 {w:.2f},-.5 {w:.2f},.05C{w:.2f},.5 .5,.55 0,.55"
    shape += f"C-.5,.55 {-w:.2f},.5 {-w:.2f},.05Z"
    out = [f'<path d="{shape}" fill="{look.cloth}"/>']
    if fine and rng.random() < 0.2:
        bars = "".join(f"M{x:.2f},-.42V.48" for x in np.arange(-0.8 * w, 0.85 * w, 0.34))
        out.append(f'<path d="{bars}" stroke="{look.under}" stroke-width=".14"/>')
    out.append(f'<path d="{shape}" fill="url(#b)"/>')
    carried = rng.random()
    if carried < 0.16:
        bag = f'M-.58,.3q.58,-.16 1.16,0v.75q-.58,.2 -1.16,0z" fill="{look.accent}" stroke="#000" stroke-opacity=".3'
        out.append(f'<path d="{bag}" stroke-width=".06"/>')
    elif carried < 0.3:
        out.append(f'<path d="M{w - 0.1:.2f},-.1h.5v.9h-.5z" fill="{look.accent}"/>')
    return "".join(out)


def _crown(b: Build, look: Look, rng: np.random.Generator) -> str:
    """The head from above: skin before the hair line, hair, hat, light."""
    ears = _oval_svg(-0.38, 0, 0.07, 0.1, look.skin) + _oval_svg(0.38, 0, 0.07, 0.1, look.skin)
    skull = ears + _oval_svg(0, 0, 0.38, 0.49, look.skin) + '<path d="M-.07,-.46L0,-.57L.07,-.46Z" fill="#805040"/>'
    hair = {
        "short": _oval_svg(0, 0.07, 0.39, 0.44, look.hair),
        "long": _oval_svg(0, 0.07, 0.41, 0.46, look.hair) + _oval_svg(0, 0.42, 0.36, 0.4, look.hair),
        "bun": _oval_svg(0, 0.06, 0.39, 0.44, look.hair) + _oval_svg(0, 0.5, 0.2, 0.2, look.hair),
        "curly": "".join(
            _oval_svg(0.3 * np.sin(a), 0.08 + 0.34 * np.cos(a), 0.2, 0.2, look.hair) for a in np.arange(0, 6.3, 0.7)
        )
        + _oval_svg(0, 0.08, 0.36, 0.4, look.hair),
        "bald": "",
        "veil": _oval_svg(0, 0.1, 0.49, 0.56, look.accent),
    }[b.hair]
    parting = f"M{rng.uniform(-0.2, 0.2):.2f},-.3Q{rng.uniform(-0.1, 0.1):.2f},0 0,.3"
    if b.hair in ("short", "long", "bun"):
        hair += f'<path d="{parting}" stroke="#fff" stroke-opacity=".13" stroke-width=".07"/>'
    hat = {
        "": "",
        "cap": f'<path d="M-.34,-.25Q0,-.98 .34,-.25Z" fill="{look.accent}"/>'
        + _oval_svg(0, 0.0, 0.42, 0.48, look.accent)
        + _oval_svg(0, 0.0, 0.06, 0.06, "#000"),
        "beanie": _oval_svg(0, 0.02, 0.43, 0.5, look.accent),
        "brim": _oval_svg(0, 0, 0.8, 0.86, look.accent)
        + _oval_svg(0, 0, 0.46, 0.52, "#000", 0.25)
        + _oval_svg(0, 0, 0.4, 0.46, look.accent),
        "helmet": _oval_svg(0, 0, 0.5, 0.58, look.accent)
        + '<path d="M-.2,-.45V.45M.2,-.45V.45" stroke="#000" stroke-opacity=".3" stroke-width=".08"/>',
        "board": f'<path d="M0,-.78L.78,0L0,.78L-.78,0Z" fill="{look.accent}"/>',
        "hood": _oval_svg(0, 0.08, 0.5, 0.56, look.cloth) + _oval_svg(0, 0.5, 0.4, 0.28, look.cloth),
    }[b.hat]
    return skull + hair + hat + '<ellipse rx=".42" ry=".52" fill="url(#h)"/>'


def _gradients(light: Doubles, rng: np.random.Generator) -> str:
    """Gradients of head (h) and shoulders (b) along the light, bright where it comes from."""
    bright, dark = rng.uniform(0.1, 0.35), rng.uniform(0.25, 0.5)
    out = []
    for name, reach in (("h", 0.5), ("b", 1.0)):
        x, y = light * reach
        out.append(
            f'<linearGradient id="{name}" gradientUnits="userSpaceOnUse" x1="{-x:.2f}" y1="{-y:.2f}" x2="{x:.2f}" '
            f'y2="{y:.2f}"><stop offset="0" stop-color="#fff" stop-opacity="{bright:.2f}"/><stop offset=".5" '
            f'stop-opacity="0"/><stop offset="1" stop-opacity="{dark:.2f}"/></linearGradient>'
        )
    return "".join(out)


def car(rng: np.random.Generator) -> Thing:
    wide, long = rng.uniform(3.8, 4.4), rng.uniform(8.5, 11.5)
    body = _box_svg(wide, long, hue(rng, 0.9), round_by=1.4)
    cabin = f'<path d="M{-0.8 * wide:.2f},-3.6Q0,-4.6 {0.8 * wide:.2f},-3.6L{0.72 * wide:.2f},-1.8H{-0.72 * wide:.2f}Z'
    cabin += f'M{-0.72 * wide:.2f},4.5H{0.72 * wide:.2f}L{0.8 * wide:.2f},6.2H{-0.8 * wide:.2f}Z" fill="#1c242a"/>'
    sides = f'<path d="M{-0.86 * wide:.2f},-2.6V5.2M{0.86 * wide:.2f},-2.6V5.2" stroke="#1c242a" stroke-width=".5"/>'
    roof = f'<path d="M{-0.7 * wide:.2f},-1.8H{0.7 * wide:.2f}V4.5H{-0.7 * wide:.2f}Z" fill="#fff" fill-opacity=".12"/>'
    lamps = f'<path d="M{-0.8 * wide:.2f},{-long + 0.5:.2f}h1.2M{0.8 * wide:.2f},{-long + 0.5:.2f}h-1.2" stroke="#eee"'
    return Thing(
        body + cabin + sides + roof + lamps + ' stroke-width=".5"/>',
        ((_box(wide, long), 0.8, 4.0), (_box(0.8 * wide, 0.5 * long), 0.8, 6.6)),
        float(np.hypot(wide, long)),
    )


def bench(rng: np.random.Generator) -> Thing:
    wide = rng.uniform(3.0, 5.0)
    planks = "".join(f"M{-wide:.2f},{y:.2f}h{2 * wide:.2f}" for y in (-0.8, -0.25, 0.3, 0.85))
    wood = hex_rgb(np.array([132.0, 96.0, 62.0]) * rng.uniform(0.5, 1.4))
    return Thing(f'<path d="{planks}" stroke="{wood}" stroke-width=".42"/>', ((_box(wide, 1.0), 0.0, 2.0),), wide + 1)


def bush(rng: np.random.Generator) -> Thing:
    wide = rng.uniform(1.5, 6.0)
    return _foliage(rng, wide, int(12 + 6 * wide), 0.0, 0.8 * wide)


def tree(rng: np.random.Generator) -> Thing:
    return _foliage(rng, rng.uniform(7, 20), 170, 8.0, rng.uniform(14, 30))


def planting(rng: np.random.Generator) -> Thing:
    """Small round bushes in rows: dark dots that are nobody."""
    columns, rows, step = int(rng.integers(2, 8)), int(rng.integers(2, 6)), rng.uniform(2.0, 4.5)
    wide, long = columns * step / 2, rows * step / 2
    out = [_box_svg(wide + 1, long + 1, _stone(rng))]
    solids: list[Solid] = []
    for row in range(rows):
        for column in range(columns):
            x, y = (column + 0.5) * step - wide + rng.normal(0, 0.2), (row + 0.5) * step - long + rng.normal(0, 0.2)
            size, leaf = rng.uniform(0.35, 1.1), rng.uniform((20, 45, 15), (90, 120, 50))
            out += [_oval_svg(x, y, size, size, hex_rgb(leaf))]
            out += [_oval_svg(x - 0.2 * size, y - 0.2 * size, 0.5 * size, 0.5 * size, hex_rgb(leaf * 1.35))]
            solids.append((_oval(size, size, middle=(x, y)), 0.0, size * 1.5))
    return Thing("".join(out), tuple(solids), float(np.hypot(wide + 1, long + 1)))


def parasol(rng: np.random.Generator) -> Thing:
    wide, sides = rng.uniform(4.5, 8.0), 2 * int(rng.integers(3, 6))
    corners = _oval(wide, wide, sides)
    colours = (hue(rng, 0.9), hue(rng, 0.9) if rng.random() < 0.5 else "#f2efe8")
    out = []
    for i, (a, b) in enumerate(zip(corners, np.roll(corners, -1, 0), strict=True)):
        wedge = f"M0,0L{a[0]:.2f},{a[1]:.2f}L{b[0]:.2f},{b[1]:.2f}Z"
        shade = 0.3 * (0.5 + 0.5 * np.cos(2 * np.pi * i / sides))
        out.append(f'<path d="{wedge}" fill="{colours[i % 2]}"/><path d="{wedge}" fill-opacity="{shade:.2f}"/>')
    return Thing("".join([*out, _oval_svg(0, 0, 0.3, 0.3, "#ddd")]), ((corners, 9.0, 10.5),), wide)


def post(rng: np.random.Generator) -> Thing:
    """A bin, a bollard or a flower pot: round, as large as a head or larger."""
    size, rim = rng.uniform(0.4, 1.6), hex_rgb(rng.uniform(20, 190) + rng.normal(0, 12, 3))
    inside = hex_rgb(rng.uniform((15, 15, 10), (110, 130, 90)))
    svg = _oval_svg(0, 0, size, size, rim) + _oval_svg(0, 0, 0.75 * size, 0.75 * size, inside)
    return Thing(svg, ((_oval(size, size), 0.0, rng.uniform(1.5, 5.0)),), size)


def table(rng: np.random.Generator) -> Thing:
    """A table and chairs around it, all empty."""
    size, paint, seat = rng.uniform(1.6, 3.0), hue(rng, 0.4), hue(rng, 0.7)
    out, solids = [], [(_oval(size, size), 2.8, 3.3)]
    for angle in np.arange(0, 2 * np.pi, 2 * np.pi / int(rng.integers(3, 7))):
        x, y = (size + 0.9) * np.sin(angle), (size + 0.9) * np.cos(angle)
        out.append(_oval_svg(x, y, 0.9, 0.9, seat) + _oval_svg(x * 1.2, y * 1.2, 0.5, 0.5, "#000", 0.25))
        solids.append((_oval(0.9, 0.9, middle=(x, y)), 1.5, 2.0))
    return Thing("".join([*out, _oval_svg(0, 0, size, size, paint)]), tuple(solids), size + 2.2)


def roof(rng: np.random.Generator) -> Thing:
    wide, long = rng.uniform((12, 15), (45, 75))
    base = rng.uniform((70, 60, 60), (190, 130, 120))
    left, right = hex_rgb(base * rng.uniform(0.75, 1.0)), hex_rgb(base * rng.uniform(1.0, 1.25))
    halves = f'<path d="M{-wide:.1f},{-long:.1f}H0V{long:.1f}H{-wide:.1f}Z" fill="{left}"/>'
    halves += f'<path d="M0,{-long:.1f}H{wide:.1f}V{long:.1f}H0Z" fill="{right}"/>'
    tiles = "".join(f"M{x:.1f},{-long:.1f}V{long:.1f}" for x in np.arange(-wide, wide, rng.uniform(1.5, 3.0)))
    out = [halves, f'<path d="{tiles}M0,{-long:.1f}V{long:.1f}" stroke="#000" stroke-opacity=".25" stroke-width=".3"/>']
    for _ in range(int(rng.integers(0, 6))):
        x, y = rng.uniform((-0.8 * wide, -0.9 * long), (0.6 * wide, 0.8 * long))
        out.append(f'<path d="M{x:.1f},{y:.1f}h5v7h-5z" fill="#9fb2c2" stroke="#333" stroke-width=".4"/>')
    return Thing("".join(out), ((_box(wide, long), 0.0, rng.uniform(12, 30)),), float(np.hypot(wide, long)))


def manhole(rng: np.random.Generator) -> Thing:
    tone = hex_rgb(rng.uniform((50, 45, 42), (140, 95, 80)))
    bars = "M-1.1,-.5h2.2M-1.2,0h2.4M-1.1,.5h2.2"
    return _flat(_oval_svg(0, 0, 1.4, 1.4, tone) + f'<path d="{bars}" stroke="#222" stroke-width=".2"/>', 1.5)


def towel(rng: np.random.Generator) -> Thing:
    paint, stripe = hue(rng, 0.95), hue(rng, 0.9)
    bars = "".join(f"M-2,{y:.1f}h4" for y in np.arange(-3.4, 3.6, rng.uniform(0.7, 2.0)))
    return _flat(_box_svg(2.0, 4.0, paint) + f'<path d="{bars}" stroke="{stripe}" stroke-width=".4"/>', 4.6)


def path(rng: np.random.Generator) -> Thing:
    wide, paint = rng.uniform(4, 10), _stone(rng)
    return _flat(f'<path d="M0,-250V250" stroke="{paint}" stroke-width="{2 * wide:.1f}"/>', 251.0)


def crossing(rng: np.random.Generator) -> Thing:
    bars = "".join(f"M{x:.1f},-9v18" for x in np.arange(-20.7, 21, 4.6))
    return _flat(f'<path d="{bars}" stroke="#e6e6e0" stroke-opacity=".85" stroke-width="2.3"/>', 24.0)


def lane(rng: np.random.Generator) -> Thing:
    dashes = "".join(f"M0,{y:.0f}v14" for y in range(-240, 240, 42))
    middle = f'<path d="{dashes}" stroke="#e2e2da" stroke-width=".8"/>'
    return _flat(middle + '<path d="M-16,-240V240M16,-240V240" stroke="#d8d8d0" stroke-width=".6"/>', 242.0)


def bays(rng: np.random.Generator) -> Thing:
    lines = "".join(f"M{x:.1f},-12v24" for x in np.arange(-57.5, 60, 11.5))
    return _flat(f'<path d="{lines}M-57.5,-12h115" stroke="#dddddd" stroke-width=".55"/>', 60.0)


def pitch(rng: np.random.Generator) -> Thing:
    ring = '<circle r="41" stroke="#eeeeee" stroke-width=".6"/><circle r=".9" fill="#eeeeee"/>'
    return _flat(ring + '<path d="M-150,0H150M-150,-230H150V230H-150Z" stroke="#eee" stroke-width=".6"/>', 275.0)


THINGS: dict[str, Callable[[np.random.Generator], Thing]] = {
    "car": car,
    "bench": bench,
    "bush": bush,
    "tree": tree,
    "planting": planting,
    "parasol": parasol,
    "post": post,
    "table": table,
    "roof": roof,
    "manhole": manhole,
    "towel": towel,
    "path": path,
    "crossing": crossing,
    "lane": lane,
    "bays": bays,
    "pitch": pitch,
}


def _foliage(rng: np.random.Generator, wide: float, leaves: int, low: float, high: float) -> Thing:
    """Round leaves, dark below and light above."""
    leaf = rng.uniform((30, 55, 15), (100, 110, 50))
    angle, radius = rng.uniform(0, 2 * np.pi, leaves), np.sqrt(rng.uniform(0, 1, leaves)) * wide * 0.88
    x, y = np.cos(angle) * radius, np.sin(angle) * radius
    size = rng.uniform(0.08, 0.2, leaves) * wide
    light = np.linspace(0.45, 1.5, leaves) * rng.normal(1, 0.1, leaves)
    out = [_oval_svg(x[i], y[i], size[i], size[i], hex_rgb(leaf * light[i])) for i in range(leaves)]
    blobs = tuple((_oval(s, s, 8, (a, b)), low, high) for a, b, s in list(zip(x, y, size, strict=True))[:40])
    return Thing("".join(out), blobs, wide * 1.1)


def _stone(rng: np.random.Generator) -> str:
    """A colour of gravel, earth or paving."""
    return hex_rgb(np.array([1.0, 0.94, 0.84]) * rng.uniform(90, 190) + rng.normal(0, 5, 3))


def _flat(svg: str, reach: float) -> Thing:
    return Thing(svg, (), reach)


def _oval(rx: float, ry: float, corners: int = 14, middle: Vector = (0.0, 0.0)) -> Doubles:
    angle = np.arange(corners) * 2 * np.pi / corners
    return np.stack([middle[0] + rx * np.cos(angle), middle[1] + ry * np.sin(angle)], 1)


def _box(wide: float, long: float) -> Doubles:
    """Corners of a box of half so wide and so long."""
    return np.array([[-wide, -long], [wide, -long], [wide, long], [-wide, long]])


def _box_svg(wide: float, long: float, fill: str, round_by: float = 0.0) -> str:
    return (
        f'<rect x="{-wide:.2f}" y="{-long:.2f}" width="{2 * wide:.2f}" height="{2 * long:.2f}" rx="{round_by}" '
        f'fill="{fill}"/>'
    )


def _oval_svg(x: float, y: float, rx: float, ry: float, fill: str, opacity: float = 1.0) -> str:
    shown = f' fill-opacity="{opacity}"' if opacity < 1 else ""
    return f'<ellipse cx="{x:.2f}" cy="{y:.2f}" rx="{rx:.2f}" ry="{ry:.2f}" fill="{fill}"{shown}/>'


def _line(a: str, b: str, width: float, stroke: str) -> str:
    return f'<path d="M{a}L{b}" stroke="{stroke}" stroke-width="{width:.2f}" stroke-linecap="round"/>'
