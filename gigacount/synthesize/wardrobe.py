"""What a drawn person looks like: skin, hair, face, hat, clothes, shade and shadow, as SVG in heads (see `person`)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gigacount.synthesize.crowd import Build, pick

SKINS = ("#f3d3bd", "#eac0a0", "#dca783", "#c68e68", "#a9734d", "#8a5a3b", "#6b432b", "#4b2e20")
HAIRS = {
    "#17120f": 20, "#231a15": 20, "#2e221a": 14, "#4a3323": 13, "#6b4a2f": 10, "#8d6b43": 6, "#c2a266": 5,
    "#7c3a20": 3, "#8e8b88": 5, "#d6d3ce": 4,
}  # fmt: skip
FINE_PX = 9.0
"""Heads lower than this get no eyes, folds or patterns: nobody could see them."""


@dataclass(frozen=True)
class Taste:
    """How people of a scene dress. vivid: strength of colours; uniform: share in `uniform_rgb`."""

    vivid: float
    uniform: float
    uniform_rgb: str


def make_taste(rng: np.random.Generator) -> Taste:
    return Taste(
        vivid=rng.uniform(0.3, 1.1),
        uniform=(0.0, 0.3, 0.85)[int(rng.choice(3, p=(0.75, 0.15, 0.1)))],
        uniform_rgb=cloth_rgb(rng, 1.0),
    )


@dataclass(frozen=True)
class Look:
    """One person's colours."""

    skin: str
    hair: str
    cloth: str
    under: str
    trousers: str
    accent: str
    shoes: str


def make_look(rng: np.random.Generator, taste: Taste) -> Look:
    return Look(
        skin=SKINS[int(rng.integers(len(SKINS)))],
        hair=pick(rng, **HAIRS),
        cloth=taste.uniform_rgb if rng.random() < taste.uniform else cloth_rgb(rng, taste.vivid),
        under=cloth_rgb(rng, taste.vivid),
        trousers=cloth_rgb(rng, 0.5),
        accent=cloth_rgb(rng, taste.vivid),
        shoes=cloth_rgb(rng, 0.5),
    )


def person_svg(build: Build, rng: np.random.Generator, head_px: float, taste: Taste) -> str:
    """The drawing, lit from the left, without its `<svg>` frame (which must say fill="none")."""
    fine = head_px >= FINE_PX
    look = make_look(rng, taste)
    torso = _torso(build)
    return "".join(
        [
            _light(rng),
            _legs(build, rng, look),
            _hair_behind(build, look),
            f'<path d="{torso}" fill="{look.cloth}"/>',
            _pattern(build, rng, look, torso) if fine else "",
            _neck(look) if build.view != "back" else "",
            _arms(build, rng, look),
            f'<path d="{torso}" fill="url(#b)"/>',
            _head(build, rng, look, fine),
            _hat(build, look),
            '<ellipse cy="-.03" rx=".41" ry=".53" fill="url(#h)"/>',
        ]
    )


def cloth_rgb(rng: np.random.Generator, vivid: float) -> str:
    """A colour of cloth: often black, white, grey, navy or denim, else of any hue."""
    kind = pick(rng, dark=0.22, light=0.16, grey=0.12, denim=0.15, hue=0.35)
    if kind == "hue":
        value = rng.uniform(70, 235)
        ramp = np.clip(np.abs((rng.uniform(0, 6) + np.array([0.0, 4.0, 2.0])) % 6 - 3) - 1, 0, 1)
        return hex_rgb(value * (1 - rng.uniform(0.25, 0.9) * vivid * (1 - ramp)))
    if kind == "denim":
        return hex_rgb(np.array([35.0, 48.0, 85.0]) * rng.uniform(0.6, 1.9))
    low, high = {"dark": (15, 60), "light": (185, 245), "grey": (70, 170)}[kind]
    return hex_rgb(rng.uniform(low, high) + rng.normal(0, 5, 3))


def hue(rng: np.random.Generator, saturation: float) -> str:
    """A colour of paint of any hue and brightness."""
    value, chroma = rng.uniform(60, 240), rng.uniform(0, saturation)
    ramp = np.clip(np.abs((rng.uniform(0, 6) + np.array([0.0, 4.0, 2.0])) % 6 - 3) - 1, 0, 1)
    return hex_rgb(value * (1 - chroma * (1 - ramp)))


def hex_rgb(rgb: np.ndarray[tuple[int], np.dtype[np.float64]]) -> str:
    """`#rrggbb` of three values 0..255, which are cut to that range."""
    r, g, b = np.clip(rgb, 0, 255).astype(int)
    return f"#{r:02x}{g:02x}{b:02x}"


def _light(rng: np.random.Generator) -> str:
    """Gradients of head (h) and body (b), bright towards the light and dark on the other side; ground shadow (g)."""
    dark, bright = rng.uniform(0.3, 0.6), rng.uniform(0.05, 0.3)
    stops = (
        '<stop offset="0" stop-color="#fff" stop-opacity="{:.2f}"/><stop offset=".42" stop-opacity="0"/>'
        '<stop offset="1" stop-opacity="{:.2f}"/></linearGradient>'
    )
    line = '<linearGradient id="{}" gradientUnits="userSpaceOnUse" x1="{}" y1="{}" x2="{}" y2="{}">'
    return (
        line.format("h", -0.42, -0.25, 0.42, 0.25)
        + stops.format(bright, dark)
        + line.format("b", -1, 1, 1, 1.9)
        + stops.format(bright * 0.7, dark)
        + '<radialGradient id="g"><stop offset="0" stop-opacity=".5"/><stop offset=".6" stop-opacity=".28"/>'
        '<stop offset="1" stop-opacity="0"/></radialGradient>'
    )


def _torso(b: Build) -> str:
    w, flare = b.width, (1.25 if b.skirt else 0.78) * b.width
    return (
        f"M-.2,.6C-.3,.8 {-0.9 * w:.2f},.7 {-w:.2f},1.12L{-0.86 * w:.2f},{0.6 * b.hips:.2f}L{-flare:.2f},{b.hem:.2f}"
        f"H{flare:.2f}L{0.86 * w:.2f},{0.6 * b.hips:.2f}L{w:.2f},1.12C{0.9 * w:.2f},.7 .3,.8 .2,.6Z"
    )


def _legs(b: Build, rng: np.random.Generator, look: Look) -> str:
    stride, shift = rng.uniform(0.0, 0.5), rng.uniform(0.5, 1.2)
    colour = look.skin if b.skirt or rng.random() < 0.15 else look.trousers
    out = [f'<ellipse cx="{shift:.2f}" cy="{b.foot:.2f}" rx="1.3" ry=".36" fill="url(#g)"/>']
    for side, dark in ((-1, 0.0), (1, 0.3)):
        x0, x1 = side * 0.36 * b.width, side * (0.3 + stride * 0.5) * b.width
        line = f'<path d="M{x0:.2f},{b.hips:.2f}L{x1:.2f},{b.foot:.2f}" stroke-width=".6"'
        out.append(f'{line} stroke="{colour}" stroke-linecap="round"/>{line} stroke="#000" stroke-opacity="{dark}"/>')
        out.append(f'<ellipse cx="{x1:.2f}" cy="{b.foot + 0.1:.2f}" rx=".34" ry=".2" fill="{look.shoes}"/>')
    return "".join(out)


def _hair_behind(b: Build, look: Look) -> str:
    if b.hair == "long":
        return f'<path d="M-.44,0C-.5,.5-.5,.8-.42,1.05H.42C.5,.8 .5,.5 .44,0Z" fill="{look.hair}"/>'
    if b.hair == "veil":
        return f'<path d="M-.46,-.1C-.55,.5-.75,.9-.8,1.2H.8C.75,.9 .55,.5 .46,-.1Z" fill="{look.accent}"/>'
    return ""


def _neck(look: Look) -> str:
    return (
        f'<path d="M-.17,.25V.72Q0,.98 .17,.72V.25Z" fill="{look.skin}"/>'
        '<path d="M-.2,.36Q0,.62 .2,.36V.5Q0,.76-.2,.5Z" fill="#000" opacity=".3"/>'
    )


def _pattern(b: Build, rng: np.random.Generator, look: Look, torso: str) -> str:
    """Stripes, checks, dots, prints, open jackets, folds and bags, clipped to the torso."""
    w, h = b.width, b.hips
    kind = pick(rng, plain=0.32, stripes=0.1, bars=0.06, check=0.07, dots=0.06, chest=0.12, jacket=0.27)
    step, front = rng.uniform(0.14, 0.5), b.view != "back"
    across = [f"M-1.5,{y:.2f}H1.5" for y in np.arange(0.7, h + 1.8, step)] if kind in ("stripes", "check") else []
    down = [f"M{x:.2f},.5V{h + 2:.2f}" for x in np.arange(-1.4, 1.5, step)] if kind in ("bars", "check") else []
    out = [f'<clipPath id="c"><path d="{torso}"/></clipPath><g clip-path="url(#c)">']
    if across or down:
        thick = step * rng.uniform(0.2, 0.6)
        lines = "".join(across + down)
        out.append(f'<path d="{lines}" stroke="{look.under}" stroke-width="{thick:.2f}" opacity=".8"/>')
    if kind == "dots":
        gap = max(step, 0.3)
        out += [
            f'<circle cx="{x + i % 2 * gap / 2:.2f}" cy="{y:.2f}" r="{gap / 4:.2f}" fill="{look.under}"/>'
            for i, y in enumerate(np.arange(0.7, h + 0.4, gap))
            for x in np.arange(-1.2, 1.3, gap)
        ]
    if kind == "chest" and front:
        size = f'x="{-0.5 * w:.2f}" y="1.3" width="{w:.2f}" height="{rng.uniform(0.2, 0.8):.2f}"'
        out.append(f'<rect {size} fill="{look.under}" opacity=".8"/>')
    if kind == "jacket" and front:
        half = rng.uniform(0.1, 0.35)
        shirt = f"M-.2,.5L0,{h:.2f}L.2,.5ZM{-half:.2f},{h + 0.4:.2f}L0,.9L{half:.2f},{h + 0.4:.2f}Z"
        out.append(f'<path d="{shirt}" fill="{look.under}"/>')
    for _ in range(3):
        x, y, dx, dy = rng.uniform((-0.8, 1.0, -0.3, 0.3), (0.8, h, 0.3, 1.0))
        fold = f"M{x:.2f},{y:.2f}q{dx:.2f},{dy / 2:.2f} {dx / 2:.2f},{dy:.2f}"
        out.append(f'<path d="{fold}" stroke="#000" stroke-width=".07" stroke-opacity=".25"/>')
    if rng.random() < 0.18:
        straps = f'<path d="M-.5,.7V2.2M.5,.7V2.2" stroke="{look.accent}" stroke-width=".2"/>'
        bag = f'<rect x="-.6" y="1.05" width="1.2" height="1.5" rx=".3" fill="{look.accent}"/>'
        out.append(straps if front else bag)
    return "".join([*out, "</g>"])


def _arms(b: Build, rng: np.random.Generator, look: Look) -> str:
    sleeve = look.skin if rng.random() < 0.45 else look.cloth
    out = []
    for side, dark in ((-1, 0.0), (1, 0.28)):
        (sx, sy), (ex, ey), (hx, hy) = b.arm(side)
        upper = f'<path d="M{sx:.2f},{sy:.2f}L{ex:.2f},{ey:.2f}" stroke-linecap="round" stroke-width=".4"'
        fore = f'<path d="M{ex:.2f},{ey:.2f}L{hx:.2f},{hy:.2f}" stroke-linecap="round" stroke-width=".27"'
        out.append(f'{fore} stroke="{sleeve}"/><circle cx="{hx:.2f}" cy="{hy:.2f}" r=".17" fill="{look.skin}"/>')
        out.append(f'{upper} stroke="{look.cloth}"/>{upper} stroke="#000" stroke-opacity="{dark}"/>')
        if side > 0 and b.pose == "phone":
            out.append(f'<rect x="{hx - 0.1:.2f}" y="{hy - 0.3:.2f}" width=".22" height=".4" fill="#181818"/>')
        if side > 0 and b.flag:
            out.append(f'<rect x="{hx:.2f}" y="{hy - 0.8:.2f}" width=".8" height=".5" fill="{look.accent}"/>')
    return "".join(out)


def _head(b: Build, rng: np.random.Generator, look: Look, fine: bool) -> str:
    skull = f'<ellipse cy=".02" rx=".36" ry=".48" fill="{look.skin}"/>'
    if b.view == "back":
        return skull if b.hair == "bald" else skull + _hair_from_behind(look) + _hair_beside(b, look)
    turn = {"left": -0.16, "right": 0.16}.get(b.view, rng.uniform(-0.05, 0.05))
    shade = f'<rect x="{turn - 0.2:.2f}" y="-.06" width=".4" height=".1" fill="#000" opacity=".35"/>'
    fringe = ""
    if b.hair != "bald":
        low = rng.uniform(-0.32, -0.2)
        fringe = (
            f'<path d="M-.4,.06C-.5,-.7 .5,-.7 .4,.06C.4,-.1 .3,{low:.2f} {turn:.2f},{low:.2f}'
            f'C-.3,{low:.2f}-.4,-.1-.4,.06Z" fill="{look.hair}"/>'
        )
    return skull + (_face(rng, look, turn) if fine else shade) + fringe + _hair_beside(b, look)


def _face(rng: np.random.Generator, look: Look, turn: float) -> str:
    out = [f'<circle cx="{side * 0.36 - turn / 4:.2f}" cy=".05" r=".07" fill="{look.skin}"/>' for side in (-1, 1)]
    for x in (turn - 0.14, turn + 0.14):
        out.append(f'<ellipse cx="{x:.2f}" rx=".1" ry=".06" fill="#000" opacity=".25"/>')
        out.append(f'<circle cx="{x:.2f}" r=".035" fill="#1a120e"/>')
        out.append(f'<path d="M{x - 0.08:.2f},-.09q.08,-.04 .16,0" stroke="{look.hair}" stroke-width=".035"/>')
    smile, lips = rng.uniform(0, 0.08), ("#8c3b36", "#a8534a", "#6e2f2a")[int(rng.integers(3))]
    nose = f"M{turn * 1.3:.2f},.02l.05,.14h-.09"
    mouth = f"M{turn * 1.15 - 0.1:.2f},.26q.1,{smile:.2f} .2,0"
    out.append(f'<path d="{nose}" stroke="#000" stroke-opacity=".3" stroke-width=".03"/>')
    out.append(f'<path d="{mouth}" stroke="{lips}" stroke-width=".05"/>')
    extra = pick(rng, nothing=0.7, beard=0.12, glasses=0.1, mask=0.08)
    if extra == "beard":
        beard = f"M-.33,.12Q-.3,.5 0,.52Q.3,.5 .33,.12Q.2,.2 {turn:.2f},.18Q-.2,.2-.33,.12Z"
        out.append(f'<path d="{beard}" fill="{look.hair}" opacity=".85"/>')
    elif extra == "glasses":
        lenses = f"M{turn - 0.26:.2f},-.07h.22v.14h-.22zM{turn + 0.04:.2f},-.07h.22v.14h-.22z"
        tint = rng.uniform(0.1, 0.9)
        out.append(f'<path d="{lenses}" fill="#111" fill-opacity="{tint:.2f}" stroke="#111" stroke-width=".03"/>')
    elif extra == "mask":
        mask = f"M-.33,.1Q{turn:.2f},.02 .33,.1Q.3,.48 0,.5Q-.3,.48-.33,.1Z"
        out.append(f'<path d="{mask}" fill="{("#dfe8ee", "#9fc4dd", "#222222")[int(rng.integers(3))]}"/>')
    return "".join(out)


def _hair_from_behind(look: Look) -> str:
    strands = "M-.2,-.4Q-.05,-.2 .1,.2M.2,-.35Q.15,-.1 .05,.2"
    return (
        f'<path d="M-.4,.2C-.5,-.7 .5,-.7 .4,.2Q0,.45-.4,.2Z" fill="{look.hair}"/>'
        f'<path d="{strands}" stroke="#fff" stroke-opacity=".12" stroke-width=".06"/>'
    )


def _hair_beside(b: Build, look: Look) -> str:
    if b.hair == "bun":
        return f'<circle cx=".05" cy="-.55" r=".17" fill="{look.hair}"/>'
    if b.hair == "curly":
        curls = ((-0.36, -0.1), (-0.34, -0.32), (-0.14, -0.47), (0.12, -0.48), (0.34, -0.32), (0.37, -0.1))
        return "".join(f'<circle cx="{x}" cy="{y}" r=".15" fill="{look.hair}"/>' for x, y in curls)
    if b.hair == "long":
        sides = "M-.4,-.15Q-.5,.4-.42,.75L-.3,.7Q-.36,.2-.28,-.2ZM.4,-.15Q.5,.4 .42,.75L.3,.7Q.36,.2 .28,-.2Z"
        return f'<path d="{sides}" fill="{look.hair}"/>'
    return ""


def _hat(b: Build, look: Look) -> str:
    back = b.view == "back"
    if b.hair == "veil" and not b.hat:
        face = "" if back else "M-.27,-.05Q-.25,.4 0,.42Q.25,.4 .27,-.05Q.2,-.3 0,-.3Q-.2,-.3-.27,-.05Z"
        cloth = f"M-.46,.3C-.5,-.75 .5,-.75 .46,.3Q.4,.7 0,.7Q-.4,.7-.46,.3Z{face}"
        return f'<path fill-rule="evenodd" d="{cloth}" fill="{look.accent}"/>'
    side = -1 if b.view == "left" else 1
    peak = "" if back else f"M{-0.3 * side:.2f},-.2L{0.62 * side:.2f},-.1L{0.3 * side:.2f},-.26Z"
    shapes = {
        "": "",
        "cap": f"M-.41,-.15C-.45,-.7 .45,-.7 .41,-.15Z{peak}",
        "beanie": "M-.43,-.08C-.48,-.78 .48,-.78 .43,-.08Q0,-.22-.43,-.08Z",
        "brim": "M-.4,-.22C-.42,-.72 .42,-.72 .4,-.22ZM-.75,-.16Q0,-.42 .75,-.16Q0,.0-.75,-.16Z",
        "helmet": "M-.48,-.02C-.56,-.8 .56,-.8 .48,-.02Q0,-.25-.48,-.02Z",
        "board": "M-.4,-.1V-.4H.4V-.1Q0,-.25-.4,-.1ZM-.75,-.45L0,-.62L.75,-.45L0,-.28Z",
        "hood": "M-.5,.45C-.62,-.75 .62,-.75 .5,.45"
        + ("Q0,.75-.5,.45Z" if back else "L.33,.45C.4,-.45-.4,-.45-.33,.45Z"),
    }
    shine = '<path d="M-.25,-.4Q-.1,-.55 .1,-.55" stroke="#fff" stroke-opacity=".35" stroke-width=".06"/>'
    return f'<path d="{shapes[b.hat]}" fill="{look.accent}"/>' + (shine if b.hat == "helmet" else "") if b.hat else ""
