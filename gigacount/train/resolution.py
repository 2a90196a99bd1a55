"""How large people must be seen, and how sure a count is: measured on labelled images seen at several sizes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise, product
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gigacount.density import block_sums, spread_of
from gigacount.resolution import BLOCK_PX, SQUARE, Resolution, deviation

if TYPE_CHECKING:
    from gigacount.train.calibrate import Looks, Measured

EDGES = (0.0, *(4 * 2 ** (step / 2) for step in range(9)), np.inf)
"""Of the classes of spacing, in read pixels: 4, 5.7, 8, ... 64."""

MIN_PEOPLE = 50.0
"""People counted without whom a class says nothing."""

SAVED = 1.0
"""People by whom a look twice as close brings a square full of people nearer to the truth, for it to be worth it."""

COVERED = 0.9
SURE_AT = (1.0, 0.5)
"""Sizes of images that tell how sure counts are: in scenes, some people are seen large and some small."""


def fit_resolution(looks: Looks, divisor: float, stride: int) -> Resolution | None:
    """From looks at images, by kind, at their size and at halves of it; None where too few people were seen.

    Squares of all images are pooled into classes of spacing. People are resolved above the last class in which a
    closer look at a square full of them saves SAVED people. `kinds` is what images with people, each kind with the
    same weight, need besides the errors of their places for COVERED of them to lie in their intervals.
    """
    scales = [scale for scale in looks if scale <= 1]
    parts = []
    for scale, kind in product(scales, range(len(looks[1.0]))):
        seen = looks[scale][kind]
        closer = looks[2 * scale][kind] if 2 * scale in scales else [None] * len(seen)
        parts += [_squares(one, scale, divisor, stride, finer) for one, finer in zip(seen, closer, strict=True)]
    people, spacing, true, again = np.concatenate(parts, axis=1)
    rows, resolved = [], EDGES[1]
    for low, high in pairwise(EDGES):
        n = people[inside := (spacing >= low) & (spacing < high)]
        if n.sum() < MIN_PEOPLE:
            continue
        off, off_again = np.abs(people - true)[inside], np.abs(again - true)[inside]
        twice = ~np.isnan(off_again)
        apart = (spacing[inside] * n).sum() / n.sum()
        saved = (off - off_again)[twice].sum() / max(n[twice].sum(), 1) * (BLOCK_PX * SQUARE / apart) ** 2
        if saved >= SAVED and high < np.inf:
            resolved = high
        rows.append((apart, (n - true[inside]).sum() / n.sum(), off.sum() / n.sum()))
    with_people = sum(len(one.truth_xy) > 0 for seen in looks[1.0] for one in seen)
    if not rows or not with_people:
        return None
    spacing_px, bias, error = (tuple(column.tolist()) for column in np.clip(np.round(rows, 3), -9, [[999, 9, 9]]).T)
    placed = Resolution(spacing_px, bias, error, round(resolved, 1))
    needs, weights = _needs([looks[scale] for scale in SURE_AT if scale in looks], divisor, stride, placed)
    order = np.argsort(needs)
    share = np.cumsum(weights[order]) / weights.sum()
    kinds = float(needs[order][np.searchsorted(share, COVERED)])
    return replace(placed, kinds=math.ceil(kinds * 1000) / 1000, pictures=with_people)


def _squares(
    one: Measured, scale: float, divisor: float, stride: int, closer: Measured | None = None
) -> NDArray[np.float64]:
    """(4, N) of a look's squares with people: counted, their spacing in read pixels, true, counted twice as close."""
    block = max(round(BLOCK_PX / stride), 1)
    people, spacing = spread_of((one.density / divisor).numpy(), block)
    side = block * SQUARE * stride
    true, again = np.zeros_like(people), np.full_like(people, np.nan)
    rows, cols = people.shape
    col, row = (one.truth_xy * scale // side).astype(int).T
    np.add.at(true, (np.clip(row, 0, rows - 1), np.clip(col, 0, cols - 1)), 1)
    if closer is not None:
        sums = block_sums(closer.density.numpy() / divisor, 2 * block * SQUARE)[:rows, :cols]
        again[: sums.shape[0], : sums.shape[1]] = sums
    return np.stack([people, spacing * block * stride, true, again])[:, people > 0]


def _needs(
    looks: Sequence[Sequence[Sequence[Measured]]], divisor: float, stride: int, curve: Resolution
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of each image with people: the deviation that its places do not explain, and its weight; all (N,)."""
    needs, weights = [], []
    for scale, sets in zip(SURE_AT, looks, strict=False):
        for seen in sets:
            peopled = [one for one in seen if len(one.truth_xy)]
            for one in peopled:
                people, spacing, *_ = _squares(one, scale, divisor, stride)
                bias, squares = curve.off_by(people, spacing)
                places = math.hypot(bias, math.sqrt(squares)) / max(float(people.sum()), 1e-9)
                off = deviation(one.count / divisor, len(one.truth_xy))
                needs.append(max(off**2 - places**2, 0) ** 0.5)
                weights.append(1 / len(peopled))
    return np.array(needs), np.array(weights)
