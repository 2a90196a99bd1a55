"""Localization measured by matching within a radius: NWPU-Crowd, fixed radii, UCF-QNRF.

All three count true positives, false positives and false negatives over the whole data set, then divide (micro
average). An image without heads adds all its predictions to the false positives, one without predictions all its
heads to the false negatives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gigacount.errors import DataError
from gigacount.metrics.heads import SIZE_CLASSES, Floats, PointPair
from gigacount.metrics.matching import UNMATCHED, match, matched_within

QNRF_RADII = tuple(range(1, 101))


@dataclass(frozen=True)
class Score:
    """Matches over a data set, and what follows from them.

    precision = tp / (tp + fp), recall = tp / (tp + fn), f1 = 2 * precision * recall / (precision + recall). Where a
    denominator is 0 the value is 0, as upstream's 1e-20 in the denominator makes it (its F1 is then 0 / 0).
    """

    true_positives: int
    false_positives: int
    false_negatives: int
    precision: float
    recall: float
    f1: float

    @classmethod
    def of(cls, matched: int, heads: int, predictions: int) -> Score:
        precision, recall = _ratio(matched, predictions), _ratio(matched, heads)
        return cls(matched, predictions - matched, heads - matched, precision, recall, harmonic(precision, recall))


@dataclass(frozen=True)
class ClassRecall:
    """Recall of the heads of one size class; 0 where the data set has none of them, as upstream prints it."""

    size_class: str
    heads: int
    matched: int
    recall: float


@dataclass(frozen=True)
class NwpuRadius:
    """Scores at one of the two radii; classes and their unweighted mean are None where no sizes are known."""

    score: Score
    classes: tuple[ClassRecall, ...] | None
    mean_class_recall: float | None


@dataclass(frozen=True)
class NwpuScore:
    """The NWPU-Crowd localization protocol (Wang et al. 2020); the leaderboard ranks by `sigma_l.score.f1`."""

    sigma_l: NwpuRadius
    sigma_s: NwpuRadius


@dataclass(frozen=True)
class RadiusScore:
    """Scores at one radius in pixels, the same for every head (4 and 8 in FIDTM's tables)."""

    radius: float
    score: Score


@dataclass(frozen=True)
class QnrfScore:
    """Averages over the radii 1, 2, ..., 100 px as on UCF-QNRF (Idrees et al. 2018); f1 is that of the averages."""

    precision: float
    recall: float
    f1: float


def nwpu(pairs: Sequence[PointPair]) -> NwpuScore:
    """Precision, recall and F1 with each head's own radius sigma_l and sigma_s; recall per head area A0..A5.

    A match needs distance <= sigma; the matching is the largest possible one, not the nearest. Raises DataError
    where the truth has no head sizes.
    """
    sigmas = []
    for pair in pairs:
        if pair.truth.sigmas is None:
            raise DataError(
                f"the truth of '{pair.name}' has no head sizes, which the metric nwpu needs: "
                "give sigma_s and sigma_l, or width and height, of every head, or choose other metrics"
            )
        sigmas.append(pair.truth.sigmas)
    return NwpuScore(
        sigma_l=_nwpu_at(pairs, [large for _, large in sigmas]),
        sigma_s=_nwpu_at(pairs, [small for small, _ in sigmas]),
    )


def _nwpu_at(pairs: Sequence[PointPair], sigmas: Sequence[Floats]) -> NwpuRadius:
    found = [
        match(pair.truth.points_xy, pair.predicted.points_xy, sigma) != UNMATCHED
        for pair, sigma in zip(pairs, sigmas, strict=True)
    ]
    heads, predictions = totals(pairs)
    score = Score.of(sum(int(hits.sum()) for hits in found), heads, predictions)
    per_class = np.zeros((2, len(SIZE_CLASSES)), np.int64)  # heads, matched
    for pair, hits in zip(pairs, found, strict=True):
        if pair.truth.classes is None:
            return NwpuRadius(score, None, None)
        for row, chosen in enumerate((pair.truth.classes, pair.truth.classes[hits])):
            per_class[row] += np.bincount(chosen, minlength=len(SIZE_CLASSES))
    classes = tuple(
        ClassRecall(name, heads, matched, _ratio(matched, heads))
        for name, heads, matched in zip(SIZE_CLASSES, *per_class.tolist(), strict=True)
    )
    return NwpuRadius(score, classes, sum(one.recall for one in classes) / len(classes))


def fixed_radii(pairs: Sequence[PointPair], radii: Sequence[float]) -> tuple[RadiusScore, ...]:
    """Precision, recall and F1 at each radius in pixels, with the largest matching as in the NWPU protocol."""
    ascending = sorted(set(radii))
    matched = matched_within([(pair.truth.points_xy, pair.predicted.points_xy) for pair in pairs], ascending)
    score = {r: Score.of(m, *totals(pairs)) for r, m in zip(ascending, matched, strict=True)}
    return tuple(RadiusScore(float(radius), score[radius]) for radius in radii)


def qnrf(pairs: Sequence[PointPair]) -> QnrfScore:
    """Precision and recall averaged over the radii 1..100 px.

    The data set's paper matches greedily and does not penalise further points on a matched head; the tables of later
    papers use a one-to-one matching, and so does this, with the largest one at every radius. Their F1 is the harmonic
    mean of the averaged precision and recall, not the average of 100 F1 values.
    """
    scores = [one.score for one in fixed_radii(pairs, QNRF_RADII)]
    precision = sum(score.precision for score in scores) / len(scores)
    recall = sum(score.recall for score in scores) / len(scores)
    return QnrfScore(precision, recall, harmonic(precision, recall))


def totals(pairs: Sequence[PointPair]) -> tuple[int, int]:
    """Heads and predictions in all images."""
    return sum(len(pair.truth) for pair in pairs), sum(len(pair.predicted) for pair in pairs)


def harmonic(a: float, b: float) -> float:
    """The harmonic mean, 0 where both are 0."""
    return _ratio(2 * a * b, a + b)


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
