"""The outline of a drawn person, in heads: the head is 1 high and its centre is the origin, x right, y down.

Who hides whom is decided on this outline and not on painted pixels, so that the truth depends on no renderer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

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


def make_build(rng: np.random.Generator, stature: float, hats: float) -> Build:
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


def pick(rng: np.random.Generator, **weights: float) -> str:
    """One of the names, with a chance in proportion to its weight."""
    at = rng.random() * sum(weights.values())
    for name, weight in weights.items():
        at -= weight
        if at < 0:
            return name
    return next(reversed(weights))


def _distance(points: NDArray[np.float64], a: Place, b: Place) -> NDArray[np.float64]:
    """Distance of points (..., 2) from the line between two places."""
    start, along = np.array(a), np.array(b) - np.array(a)
    offset = points - start
    t: NDArray[Any] = np.clip(offset @ along / max(float(along @ along), 1e-9), 0, 1)
    gap: NDArray[np.float64] = np.hypot(offset[..., 0] - t * along[0], offset[..., 1] - t * along[1])
    return gap
