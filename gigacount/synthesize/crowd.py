"""Drawn people, in heads; a head is 1 high and its centre the origin. Outline, who stands where, whose head is seen.

Who hides whom is decided on this outline and not on painted pixels, so that the truth depends on no renderer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from gigacount.synthesize.scene import Perspective, SceneOptions

Bounds = tuple[float, float, float, float]
Place = tuple[float, float]

HEAD_WH = (0.76, 1.0)
"""Width and height of a head's box."""

_ARMS: dict[str, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    "down": ((1.0, 0.3, 0.55), (0.95, 0.05, 1.0)),
    "akimbo": ((1.35, 0.4, 0.55), (0.75, -0.2, 1.0)),
    "up": ((1.25, 0.5, 0.0), (1.0, -0.9, 0.0)),
    "phone": ((1.05, 1.9, 0.0), (0.4, 0.95, 0.0)),
    "wave": ((1.3, 0.9, 0.0), (1.25, -0.6, 0.0)),
}
"""Pose -> elbow and hand: x in half shoulder widths, then y = a + b * hips."""


@dataclass(frozen=True)
class Build:
    """What decides the outline. stature: heads from crown to sole; width: half the shoulder width in heads."""

    stature: float
    width: float
    view: str
    hair: str
    hat: str
    pose: str
    flag: bool
    skirt: bool

    @property
    def hips(self) -> float:
        return 0.5 + 2.5 * self.stature / 7.2

    @property
    def foot(self) -> float:
        return self.stature - 0.6

    @property
    def hem(self) -> float:
        return self.hips + (1.5 if self.skirt else 0.25)

    @property
    def bounds(self) -> Bounds:
        """(left, top, right, bottom) of everything drawn, the shadow on the right included."""
        left = -1.6 * self.width - 0.3 if self.pose != "down" else -1.3 * self.width - 0.25
        return left, -1.85 if self.pose in ("up", "wave") else -0.85, 2.6, self.foot + 0.45

    def arm(self, side: int) -> tuple[Place, Place, Place]:
        """Shoulder, elbow and hand; side -1 left, 1 right. Only the right arm waves or holds a phone."""
        pose = "down" if side < 0 and self.pose in ("phone", "wave") else self.pose
        (ex, ea, eb), (hx, ha, hb) = _ARMS[pose]
        w = side * self.width
        return (0.84 * w, 1.18), (ex * w, ea + eb * self.hips), (hx * w, ha + hb * self.hips)

    def covers(self, points: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which points (..., 2) this person stands in front of."""
        x, y = points[..., 0], points[..., 1]
        side = np.abs(x)
        bulk = 1.25 if self.hat or self.hair in ("long", "veil", "curly") else 1.0
        head = (side / (0.4 * bulk)) ** 2 + (y / (0.5 * bulk)) ** 2 <= 1
        waist, flare = 0.86 * self.width, (1.25 if self.skirt else 0.78) * self.width
        half = np.interp(
            y, [0.6, 0.75, 1.12, 0.6 * self.hips, self.hem], [0.2, 0.55 * self.width, self.width, waist, flare]
        )
        torso = (y >= 0.6) & (y <= self.hem) & (side <= half)
        legs = (y > self.hips) & (y < self.foot + 0.1) & (side < 0.65 * self.width)
        out: NDArray[np.bool_] = head | torso | legs
        for hand in (-1, 1):
            shoulder, elbow, end = self.arm(hand)
            out |= (_distance(points, shoulder, elbow) < 0.2) | (_distance(points, elbow, end) < 0.15)
        if self.flag:
            hx, hy = self.arm(1)[2]
            out |= (x > hx) & (x < hx + 0.8) & (y > hy - 0.8) & (y < hy - 0.3)
        return out


@dataclass(frozen=True)
class CrowdStyle:
    """How people of a scene are. stature: heads per body; hats: share of people; mirrored: lit from the right."""

    stature: float
    hats: float
    mirrored: bool


def make_style(rng: Generator) -> CrowdStyle:
    return CrowdStyle(
        stature=rng.uniform(5.6, 7.4),
        hats=(0.05, 0.15, 0.3, 0.9)[int(rng.choice(4, p=(0.35, 0.35, 0.2, 0.1)))],
        mirrored=bool(rng.random() < 0.5),
    )


def make_build(rng: Generator, stature: float, hats: float) -> Build:
    """A person at random; `stature` is the mean of the scene in heads, `hats` the share of heads that wear one."""
    view = pick(rng, front=0.4, left=0.17, right=0.17, back=0.26)
    pose = pick(rng, down=0.66, akimbo=0.12, up=0.06, phone=0.1, wave=0.06)
    return Build(
        stature=stature * rng.uniform(0.92, 1.06),
        width=rng.uniform(0.82, 1.12) * (0.8 if view in ("left", "right") else 1.0),
        view=view,
        hair=pick(rng, short=0.42, long=0.26, bun=0.09, curly=0.1, bald=0.07, veil=0.06),
        hat=pick(rng, cap=1, beanie=1, brim=1, helmet=1, board=1, hood=1) if rng.random() < hats else "",
        pose=pose,
        flag=pose == "wave" and bool(rng.random() < 0.5),
        skirt=bool(rng.random() < 0.14),
    )


def pick(rng: Generator, **weights: float) -> str:
    at = rng.random() * sum(weights.values())
    for name, weight in weights.items():
        at -= weight
        if at < 0:
            return name
    return next(reversed(weights))


def _distance(points: NDArray[np.float64], a: Place, b: Place) -> NDArray[np.float64]:
    start, along = np.array(a), np.array(b) - np.array(a)
    offset = points - start
    t: NDArray[Any] = np.clip(offset @ along / max(float(along @ along), 1e-9), 0, 1)
    gap: NDArray[np.float64] = np.hypot(offset[..., 0] - t * along[0], offset[..., 1] - t * along[1])
    return gap


HIDDEN = 0.6
"""A head of which nearer people cover more than this share is not seen and does not count: the person is left out."""

NEAR_OVERSIZE = 1.25
"""Of who stands in front of the image's lower edge the head may still be in it; up to this much larger."""

_PROBES = 40
_STANDING_ROOM = (1.5, 1.8)
"""Ground per person, across and away, in heads."""

Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Person:
    """head_xy: centre of the head; head_px: its height; foot_y: where the feet stand; seed: of the looks."""

    head_xy: tuple[float, float]
    head_px: float
    foot_y: float
    seed: int
    build: Build


def populate(options: SceneOptions, perspective: Perspective, crowd: CrowdStyle, rng: Generator) -> list[Person]:
    """`options.people` people with visible heads, or as many as there is room for, from near to far."""
    seen: list[Person] = []
    for surplus in (1.5, 3.0, 6.0, 12.0):
        if len(seen) >= options.people:
            break
        across, away = _settle(int(options.people * surplus) + 5, options, perspective, rng)
        seen = visible(_stand(across, away, options, perspective, crowd, rng), crowd.mirrored)
    # Whoever is left out hides nobody, so the rest stay visible.
    chosen = np.sort(rng.permutation(len(seen))[: options.people])
    return [seen[i] for i in chosen]


def visible(people: list[Person], mirrored: bool) -> list[Person]:
    """Those whose head is not hidden by nearer ones who are themselves seen, from near to far."""
    people = sorted(people, key=lambda p: -p.foot_y)
    if not people:
        return []
    radius = np.sqrt((np.arange(_PROBES) + 0.5) / _PROBES) * 0.96
    angle = np.arange(_PROBES) * 2.39996  # the golden angle spreads points evenly over a disc
    disc = np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1) * (HEAD_WH[0] / 2, HEAD_WH[1] / 2)
    heads = np.array([p.head_xy for p in people])
    sizes = np.array([p.head_px for p in people])
    order = np.argsort(heads[:, 0], kind="stable")
    sorted_x = heads[order, 0]
    hidden = np.zeros((len(people), _PROBES), bool)
    mirror = np.array([-1.0 if mirrored else 1.0, 1.0])
    seen = []
    for i, p in enumerate(people):
        if hidden[i].mean() > HIDDEN:
            continue
        seen.append(p)
        left, top, right, bottom = p.build.bounds
        reach = max(-left, right) * p.head_px + sizes.max()
        first, last = np.searchsorted(sorted_x, [p.head_xy[0] - reach, p.head_xy[0] + reach])
        behind = order[first:last]
        down = (heads[behind, 1] - p.head_xy[1]) / p.head_px
        behind = behind[(behind > i) & (down > top - 0.5) & (down < bottom + 0.5)]
        probes = heads[behind, None] + disc * sizes[behind, None, None]
        hidden[behind] |= p.build.covers((probes - p.head_xy) / p.head_px * mirror)
    return seen


def _stand(
    across: Doubles, away: Doubles, options: SceneOptions, p: Perspective, crowd: CrowdStyle, rng: Generator
) -> list[Person]:
    size = p.depth / away
    x, foot = options.size_wh[0] / 2 + across * size, p.foot_y(size)
    size *= rng.normal(1, 0.05, len(size)).clip(0.85, 1.15) * np.where(rng.random(len(size)) < 0.08, 0.8, 1.0)
    seeds = rng.integers(0, 2**31, len(size))
    people = []
    for i in range(len(size)):
        build = make_build(np.random.default_rng(int(seeds[i])), crowd.stature, crowd.hats)
        y = foot[i] - build.foot * size[i]
        half_w, half_h = HEAD_WH[0] / 2 * size[i], HEAD_WH[1] / 2 * size[i]
        if half_w <= x[i] <= options.size_wh[0] - half_w and half_h <= y <= options.size_wh[1] - half_h:
            people.append(Person((float(x[i]), float(y)), float(size[i]), float(foot[i]), int(seeds[i]), build))
    return people


def _settle(n: int, options: SceneOptions, p: Perspective, rng: Generator) -> tuple[Doubles, Doubles]:
    """Ground places of about n people, across and away in heads: files, groups, blocks and some alone.

    Head sizes of groups are log-uniform over the image: an even spread over the plane would leave the front empty.
    """
    far, near = options.heads_px
    alone = int(n * rng.uniform(0.05, 0.4)) + 1
    parts = [_anywhere(alone, options, p, rng)]
    have = alone
    while have < n:
        count = int(np.clip(rng.lognormal(np.log(max(n / 40, 3.0)), 1.1), 1, max(n * 0.4, 1)))
        formation = FORMATIONS[pick(rng, files=0.3, group=0.35, block=0.35)]
        parts.append(_anywhere(1, options, p, rng) + formation(rng, count))
        have += count
    places = np.concatenate(parts, 1)
    places = places[:, (places[1] > p.depth / near / NEAR_OVERSIZE) & (places[1] < p.depth / far)]
    cells = np.floor(places.T / _STANDING_ROOM).astype(np.int64)
    first = np.sort(np.unique(cells, axis=0, return_index=True)[1])
    return places[0, first], places[1, first]


def _anywhere(n: int, options: SceneOptions, p: Perspective, rng: Generator) -> Doubles:
    far, near = options.heads_px
    size = np.exp(rng.uniform(np.log(far), np.log(near * 1.08), n))
    return np.stack([rng.uniform(-0.52, 0.52, n) * options.size_wh[0] / size, p.depth / size])


def _files(rng: Generator, n: int) -> Doubles:
    gap, columns = rng.uniform(2.2, 9.0), max(1, int(np.sqrt(n) * rng.lognormal(0, 0.7)))
    at = np.arange(n)
    across = (at % columns - columns / 2) * gap + rng.normal(0, 0.25, n)
    return np.stack([across, at // columns * gap * 1.6 + rng.normal(0, 0.4, n)])


def _group(rng: Generator, n: int) -> Doubles:
    size, stretch = rng.uniform(2.2, 9.0) * np.sqrt(n), rng.lognormal(0, 0.7)
    return np.stack([rng.normal(0, size / 2 * stretch, n), rng.normal(0, size / stretch, n)])


def _block(rng: Generator, n: int) -> Doubles:
    size, stretch = rng.uniform(2.2, 9.0) * np.sqrt(n), rng.lognormal(0, 0.7)
    return np.stack([rng.uniform(-size, size, n) * stretch, rng.uniform(-size, size, n) / stretch * 2])


FORMATIONS: dict[str, Callable[[Generator, int], Doubles]] = {"files": _files, "group": _group, "block": _block}
"""Name -> (2, n) places across and away, in heads, about a group's place."""
