"""Who stands where on the ground of a drawn scene, and whose head can be seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gigacount.synthesize.person import HEAD_WH, Build, make_build, pick
from gigacount.synthesize.scene import Perspective, SceneOptions

HIDDEN = 0.6
"""A head of which nearer people cover more than this share is not seen and does not count: the person is left out."""

NEAR_OVERSIZE = 1.25
"""Of who stands in front of the picture's lower edge the head may still be in it; up to this much larger."""

_PROBES = 40
_STANDING_ROOM = (1.5, 1.8)
"""Ground per person, across and away, in heads."""

Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Crowd:
    """How people of a scene are. stature: heads per body; hats: share of people; mirrored: lit from the right."""

    stature: float
    hats: float
    mirrored: bool


@dataclass(frozen=True)
class Person:
    """head_xy: centre of the head; head_px: its height; foot_y: where the feet stand; seed: of the looks."""

    head_xy: tuple[float, float]
    head_px: float
    foot_y: float
    seed: int
    build: Build


def populate(options: SceneOptions, perspective: Perspective, crowd: Crowd, rng: np.random.Generator) -> list[Person]:
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
    across: Doubles, away: Doubles, options: SceneOptions, p: Perspective, crowd: Crowd, rng: np.random.Generator
) -> list[Person]:
    """People at ground places whose whole head is in the picture."""
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


def _settle(n: int, options: SceneOptions, p: Perspective, rng: np.random.Generator) -> tuple[Doubles, Doubles]:
    """Ground places of about n people, across and away in heads: files, groups, blocks and some alone.

    Head sizes of groups are log-uniform over the picture: an even spread over the plane would leave the front empty.
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


def _anywhere(n: int, options: SceneOptions, p: Perspective, rng: np.random.Generator) -> Doubles:
    """(2, n) ground places, a little beyond the picture's edges too."""
    far, near = options.heads_px
    size = np.exp(rng.uniform(np.log(far), np.log(near * 1.08), n))
    return np.stack([rng.uniform(-0.52, 0.52, n) * options.size_wh[0] / size, p.depth / size])


def _files(rng: np.random.Generator, n: int) -> Doubles:
    gap, columns = rng.uniform(2.2, 9.0), max(1, int(np.sqrt(n) * rng.lognormal(0, 0.7)))
    at = np.arange(n)
    across = (at % columns - columns / 2) * gap + rng.normal(0, 0.25, n)
    return np.stack([across, at // columns * gap * 1.6 + rng.normal(0, 0.4, n)])


def _group(rng: np.random.Generator, n: int) -> Doubles:
    size, stretch = rng.uniform(2.2, 9.0) * np.sqrt(n), rng.lognormal(0, 0.7)
    return np.stack([rng.normal(0, size / 2 * stretch, n), rng.normal(0, size / stretch, n)])


def _block(rng: np.random.Generator, n: int) -> Doubles:
    size, stretch = rng.uniform(2.2, 9.0) * np.sqrt(n), rng.lognormal(0, 0.7)
    return np.stack([rng.uniform(-size, size, n) * stretch, rng.uniform(-size, size, n) / stretch * 2])


FORMATIONS: dict[str, Callable[[np.random.Generator, int], Doubles]] = {
    "files": _files,
    "group": _group,
    "block": _block,
}
"""Name -> (2, n) places across and away, in heads, about a group's place."""
