"""Localization measured by ranking predictions by score: RAZ-Net's AP and AR, P2PNet's nAP.

Where COCO and the papers leave a choice open:

- Ranks run over the whole data set, not per image. Equal scores are one operating point of the precision-recall
  curve, so that the order of lines in a file changes nothing; without any scores there is just that one point.
- Average precision is COCO's: precision made non-increasing from the right, sampled at recall 0, .01, ..., 1.
- Average recall is the recall that all predictions together reach (COCO's, without its cap of 100 per image).
- Without any head both are undefined, hence None (COCO prints -1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from gigacount.metrics.heads import Floats, Integers, PointPair, PredictedPoints, mean_of_known
from gigacount.metrics.localization import totals
from gigacount.metrics.matching import candidates, nearest

RAZ_THRESHOLDS = tuple(k / 100 for k in range(50, 100, 5))
NAP_DELTAS = tuple(k / 100 for k in range(5, 55, 5))
NAP_NEIGHBOURS = 3
RECALL_STEPS = 100


@dataclass(frozen=True)
class RazScore:
    """AP and AR at one sigma in pixels, as in RAZ-Net's Table 3; None where the truth has no head."""

    sigma: float
    ap_50: float | None
    ap_75: float | None
    map: float | None
    ar_50: float | None
    ar_75: float | None
    mar: float | None


@dataclass(frozen=True)
class NapScore:
    """P2PNet's density-normalised average precision; None where the truth has no head.

    nap: mean over the deltas .05, .10, ..., .50. at: (delta, nAP) of each.
    """

    nap: float | None
    at: tuple[tuple[float, float | None], ...]


def raz(pairs: Sequence[PointPair], sigma: float) -> RazScore:
    """RAZ-Net's AP and AR (Liu et al. 2019, section 4.2): a Gaussian of width `sigma` px on every head.

    From the highest score down, each point goes to its nearest head and is a true positive when no point before it
    has that head and exp(-d^2 / (2 sigma^2)) > threshold; it is never passed on to the second nearest head. Averaged
    over the thresholds .50, .55, ..., .95. The paper says "un-normalized Gaussian parameterized by sigma"; the factor
    2 is the one of its attention map in section 3.1 and of the usual definition.
    """
    heads, _ = totals(pairs)
    scores, distance, head = _nearest_heads(pairs)
    affinity = np.exp(-(distance**2) / (2 * sigma**2))
    curves = {}
    for threshold in RAZ_THRESHOLDS:
        near = np.flatnonzero(affinity > threshold)
        hits = np.zeros(len(scores), bool)
        hits[near[np.unique(head[near], return_index=True)[1]]] = True  # the first in rank of each head
        curves[threshold] = average_precision(hits, scores, heads)
    precision = {threshold: ap for threshold, (ap, _) in curves.items()}
    recall = {threshold: ar for threshold, (_, ar) in curves.items()}
    return RazScore(
        sigma=float(sigma),
        ap_50=precision[0.50],
        ap_75=precision[0.75],
        map=mean_of_known(precision.values()),
        ar_50=recall[0.50],
        ar_75=recall[0.75],
        mar=mean_of_known(recall.values()),
    )


def _nearest_heads(pairs: Sequence[PointPair]) -> tuple[Floats, Floats, Integers]:
    """Of all predictions by falling score: score, distance to the nearest head, and that head's number."""
    scores, distances, heads = [np.zeros(0)], [np.zeros(0)], [np.zeros(0, np.int64)]
    first = 0
    for pair in pairs:
        points = pair.predicted.points_xy
        distance, head = nearest(pair.truth.points_xy, points)
        scores.append(_scores(pair.predicted))
        distances.append(distance)
        heads.append(head + first)
        first += len(pair.truth)
    score = np.concatenate(scores)
    rank = np.argsort(-score, kind="stable")
    return score[rank], np.concatenate(distances)[rank], np.concatenate(heads)[rank]


def nap(pairs: Sequence[PointPair]) -> NapScore:
    """P2PNet's nAP (Song et al. 2021): match radii that follow the crowd's density.

    A point may match a head when d < delta * d_kNN, d_kNN the head's mean distance to its 3 nearest heads (all there
    are, where the image has fewer than four). From the highest score down, each point takes the free head that is
    nearest by d / d_kNN. A head alone in its image has no neighbour to measure by and may be matched from anywhere.
    """
    heads, _ = totals(pairs)
    scores = np.concatenate([np.zeros(0), *(_scores(pair.predicted) for pair in pairs)])
    rank = np.argsort(-scores, kind="stable")
    reach = _relative_distances(pairs)
    reach = reach[np.lexsort((reach["distance"], reach["relative"], -scores[reach["prediction"]]))]
    at = []
    for delta in NAP_DELTAS:
        close = reach[reach["relative"] < delta]
        hits = np.zeros(len(scores), bool)
        taken = np.zeros(heads, bool)
        for prediction, head in zip(close["prediction"].tolist(), close["head"].tolist(), strict=True):
            if not hits[prediction] and not taken[head]:
                hits[prediction] = taken[head] = True
        at.append((delta, average_precision(hits[rank], scores[rank], heads)[0]))
    return NapScore(mean_of_known(ap for _, ap in at), tuple(at))


_REACH = np.dtype([("prediction", np.int64), ("head", np.int64), ("distance", np.float64), ("relative", np.float64)])


def _relative_distances(pairs: Sequence[PointPair]) -> NDArray[np.void]:
    """All (prediction, head) with d / d_kNN up to the greatest delta, numbered over the data set."""
    parts = [np.zeros(0, _REACH)]
    heads_before = predictions_before = 0
    for pair in pairs:
        heads, points = pair.truth.points_xy, pair.predicted.points_xy
        spacing = _spacing(heads)
        measured = np.flatnonzero(spacing > 0)  # nothing is nearer than a share of 0
        graph = candidates(heads[measured], points, NAP_DELTAS[-1] * spacing[measured])
        head = measured[graph.heads()]
        part = np.zeros(len(head), _REACH)
        part["distance"] = np.hypot(*(heads[head] - points[graph.predictions]).T)
        part["relative"] = part["distance"] / spacing[head]
        part["head"] = head + heads_before
        part["prediction"] = graph.predictions + predictions_before
        parts.append(part)
        heads_before += len(heads)
        predictions_before += len(points)
    return np.concatenate(parts)


def _spacing(heads_xy: Floats) -> Floats:
    """d_kNN: mean distance (N,) from each head to its nearest others; infinite for a head alone."""
    others = min(NAP_NEIGHBOURS, len(heads_xy) - 1)
    if others < 1:
        return np.full(len(heads_xy), np.inf)
    spots, spot, heads = np.unique(heads_xy, axis=0, return_inverse=True, return_counts=True)
    k = range(1, min(others + 1, len(spots)) + 1)
    distances, near = cKDTree(spots).query(spots, k=k)  # itself first, at distance 0
    many = heads[near]
    many[:, 0] -= 1
    before = np.cumsum(many, axis=1) - many
    taken = np.clip(others - before, 0, many)
    return np.asarray((distances * taken).sum(axis=1) / others, np.float64)[spot.ravel()]


def average_precision(hits: NDArray[np.bool_], scores: Floats, heads: int) -> tuple[float, float] | tuple[None, None]:
    """COCO's interpolated average precision, and the recall reached, of predictions sorted by falling score.

    hits: (M,) true positives. scores: (M,), equal ones taken together. (None, None) where there are no heads.
    """
    if heads == 0:
        return None, None
    if len(hits) == 0:
        return 0.0, 0.0
    last = np.flatnonzero(np.append(np.diff(scores) != 0, True))  # the last prediction of each score
    found = np.cumsum(hits)[last]
    precision = np.maximum.accumulate((found / (last + 1))[::-1])[::-1]
    # First point at which recall >= k/100, in whole numbers: no rounding decides.
    point = np.searchsorted(found * RECALL_STEPS, np.arange(RECALL_STEPS + 1) * heads)
    reached = point[point < len(precision)]
    return float(precision[reached].sum() / (RECALL_STEPS + 1)), float(found[-1] / heads)


def _scores(predicted: PredictedPoints) -> Floats:
    return np.ones(len(predicted)) if predicted.scores is None else predicted.scores
