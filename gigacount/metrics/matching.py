"""One-to-one matching of labelled and predicted points, of greatest size.

A head and a predicted point may match when their distance is at most a radius. k-d trees find these candidates, so
memory grows with their number and not with heads times predictions; where so many heads stand on one spot that even
these are too many, a search asks the trees instead of a list (`CrowdMatching`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from math import inf, isqrt, nextafter
from typing import Protocol

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import maximum_bipartite_matching
from scipy.spatial import cKDTree

from gigacount.metrics.heads import Floats, Integers

UNMATCHED = -1
MOST_PAIRS = 5_000_000  # candidate pairs of an image that are listed
CROWDED = 8  # mean candidates per head from which scipy's Hopcroft-Karp can take minutes; see `maximum_matching`


class MatchGraph(Protocol):
    """Which predictions may match which head."""

    def reach(self, front: Integers, parent: Integers) -> tuple[Integers, Integers]:
        """Each prediction that has no `parent` yet and may match a head of `front`, and one such head."""


@dataclass(frozen=True)
class Candidates:
    """Which predictions may match which head: those of head i are `predictions[start[i] : stop[i]]`, ascending.

    start, stop: (N,). n_predictions: how many predictions there are in all.
    """

    start: Integers
    stop: Integers
    predictions: Integers
    n_predictions: int

    def heads(self) -> Integers:
        """The head of each candidate pair, beside `predictions`."""
        return np.repeat(np.arange(len(self.start)), self.stop - self.start)

    def reach(self, front: Integers, parent: Integers) -> tuple[Integers, Integers]:
        fan = self.stop[front] - self.start[front]
        head = np.repeat(front, fan)
        first = np.repeat(self.start[front] - np.cumsum(fan) + fan, fan)
        reached = self.predictions[first + np.arange(head.size)]
        fresh = np.flatnonzero(parent[reached] == UNMATCHED)
        fresh = np.random.default_rng(0).permutation(fresh)  # chance decides who has a prediction that many reach
        chosen, place = np.unique(reached[fresh], return_index=True)
        return chosen, head[fresh[place]]


def candidates(heads_xy: Floats, predictions_xy: Floats, radii: Floats) -> Candidates:
    """Predictions (M, 2) within `radii` (N,) of the heads (N, 2), the radius itself included."""
    if len(heads_xy) == 0 or len(predictions_xy) == 0:
        nothing = np.zeros(len(heads_xy), np.int64)
        return Candidates(nothing, nothing, np.zeros(0, np.int64), len(predictions_xy))
    near = cKDTree(predictions_xy).query_ball_point(heads_xy, radii, return_sorted=True)
    stop = np.cumsum([len(found) for found in near])
    predictions = np.fromiter(chain.from_iterable(near), np.int64, stop[-1])
    return Candidates(np.concatenate([[0], stop[:-1]]), stop, predictions, len(predictions_xy))


def maximum_matching(graph: Candidates) -> Integers:
    """A matching of the most heads: the prediction of each head (N,), or UNMATCHED.

    Its size is unique, the heads in it are not, and with them the recall per head size in its third digit. The
    published golden values come from scipy's Hopcroft-Karp, so that is what decides wherever it is quick. Its search
    does not remember dead ends: at 12 candidates a head, 20,000 heads took it over two minutes, `augment` 0.2 s.
    """
    n = len(graph.start)
    if len(graph.predictions) > CROWDED * n:
        mates = np.full(n, UNMATCHED)
        augment(graph, mates, np.full(graph.n_predictions, UNMATCHED))
        return mates
    rows = np.append(graph.start, len(graph.predictions))
    edges = np.ones(len(graph.predictions), np.int8)
    matrix = csr_matrix((edges, graph.predictions, rows), shape=(n, graph.n_predictions))
    return maximum_bipartite_matching(matrix, "column").astype(np.int64)


def augment(graph: MatchGraph, mates: Integers, mates_back: Integers, most: float = inf) -> None:
    """Enlarge a matching in place until it has the greatest size.

    mates: (N,) the prediction of each head; mates_back: (M,) the head of each prediction; UNMATCHED where none. most:
    a size that it cannot exceed.

    All unmatched heads search at once, breadth first; each prediction joins one tree that reaches it first, so that
    the augmenting paths of a round are disjoint and can be flipped together (Azad, Buluc and Pothen 2017, without
    grafting). A round that finds none has seen everything reachable, so the matching is maximum (Berge 1957).
    """
    while (mates != UNMATCHED).sum() < most:
        front = np.flatnonzero(mates == UNMATCHED)
        root = np.arange(len(mates))  # of each head: the unmatched head whose tree it is in
        parent = np.full(len(mates_back), UNMATCHED)  # of each prediction: the head it was reached from
        goal = np.full(len(mates), UNMATCHED)  # of each root: an unmatched prediction in its tree
        while front.size:
            reached, head = graph.reach(front, parent)
            parent[reached] = head
            taken = mates_back[reached] != UNMATCHED
            ends, inner = reached[~taken], reached[taken]
            goal[root[parent[ends]]] = ends
            front = mates_back[inner]
            root[front] = root[parent[inner]]
            front = front[goal[root[front]] == UNMATCHED]  # a tree that has its path grows no further
        ends = goal[goal != UNMATCHED]
        if not ends.size:
            return
        while ends.size:
            head = parent[ends]
            before = mates[head]
            mates[head], mates_back[ends] = ends, head
            ends = before[before != UNMATCHED]


class CrowdMatching:
    """The growing matching of an image whose candidates are too many to be listed.

    heads_xy (N, 2), predictions_xy (M, 2). Each step of the search asks trees of the heads at the front which
    predictions are near one of them; which one is left to chance first, for of many heads on a spot the nearest
    would have all.
    """

    def __init__(self, heads_xy: Floats, predictions_xy: Floats) -> None:
        self.heads_xy, self.predictions_xy = heads_xy, predictions_xy
        self.mates = np.full(len(heads_xy), UNMATCHED)
        self.mates_back = np.full(len(predictions_xy), UNMATCHED)
        self.radii = np.zeros(len(heads_xy))
        self._to_prediction, _ = nearest(predictions_xy, heads_xy)
        self._to_head, _ = nearest(heads_xy, predictions_xy)

    def enlarge(self, radii: Floats) -> int:
        """Match as many heads as `radii` (N,) allow, from what is matched already; how many are."""
        self.radii = radii
        bound = min((self._to_prediction <= radii).sum(), (self._to_head <= radii.max(initial=0)).sum())
        augment(self, self.mates, self.mates_back, bound)
        return int((self.mates != UNMATCHED).sum())

    def reach(self, front: Integers, parent: Integers) -> tuple[Integers, Integers]:
        unseen = np.flatnonzero((parent == UNMATCHED) & (self._to_head <= self.radii.max()))
        chosen = np.full(len(unseen), UNMATCHED)
        for radius in np.unique(self.radii[front]):
            of = front[self.radii[front] == radius]
            left = np.flatnonzero(chosen == UNMATCHED)
            points = self.predictions_xy[unseen[left]]
            distance, head = nearest(self.heads_xy[of], points)
            chosen[left] = np.where(distance <= radius, of[head], UNMATCHED)
            left, points = left[distance <= radius], points[distance <= radius]
            for colours in sorted({isqrt(len(of)), len(of)}):  # the last wins
                found, head = _same_colour(self.heads_xy[of], points, radius, colours)
                chosen[left[found]] = of[head]
        reached = chosen != UNMATCHED
        return unseen[reached], chosen[reached]


def _same_colour(heads_xy: Floats, points_xy: Floats, radius: float, colours: int) -> tuple[Integers, Integers]:
    """Points within `radius` of a head of the same colour, and such a head; colours are given out by chance."""
    rng = np.random.default_rng(colours)
    apart = 3 * radius + 1  # colours are told apart by a third coordinate
    heads, points = (np.column_stack([xy, rng.permutation(len(xy)) % colours * apart]) for xy in (heads_xy, points_xy))
    distance, head = cKDTree(heads).query(points, distance_upper_bound=nextafter(radius, inf))
    found = np.flatnonzero(distance <= radius)
    return found, np.asarray(head)[found]


def nearest(of: Floats, points: Floats) -> tuple[Floats, Integers]:
    """Distance from each of `points` (M, 2) to the nearest of `of` (N, 2), inf where there is none, and its number.

    Positions that occur several times are looked at once: trees of equal points answer each question with all of them.
    """
    if not len(of) or not len(points):
        return np.full(len(points), inf), np.zeros(len(points), np.int64)
    spots, first = np.unique(of @ (1, 1j), return_index=True)
    distance, spot = cKDTree(np.column_stack([spots.real, spots.imag])).query(points)
    return np.asarray(distance, np.float64), first[spot].astype(np.int64)


def match(heads_xy: Floats, predictions_xy: Floats, radii: Floats) -> Integers:
    """A matching of the most heads (N, 2), each within its radius (N,): the prediction of each, or UNMATCHED."""
    if _many(heads_xy, predictions_xy, radii):
        crowd = CrowdMatching(heads_xy, predictions_xy)
        crowd.enlarge(radii)
        return crowd.mates
    return maximum_matching(candidates(heads_xy, predictions_xy, radii))


def _many(heads_xy: Floats, predictions_xy: Floats, radii: Floats) -> bool:
    """Whether there are more candidates than can be listed."""
    if len(heads_xy) * len(predictions_xy) <= MOST_PAIRS:
        return False
    tree, left = cKDTree(predictions_xy), MOST_PAIRS
    for radius in np.unique(radii):
        left -= cKDTree(heads_xy[radii == radius]).count_neighbors(tree, radius)
        if left < 0:
            return True
    return False


def matched_within(images: Iterable[tuple[Floats, Floats]], radii: Sequence[float]) -> list[int]:
    """Heads matched in all images together, for each of the ascending `radii`.

    Each image is (heads_xy, predictions_xy). All images form one graph, and each radius goes on from the matching
    of the one before: only the paths that the new candidates open are searched. Crowds are matched one by one.
    """
    steps = np.asarray(radii, np.float64)
    listed, crowds = [], []
    for heads_xy, predictions_xy in images:
        if _many(heads_xy, predictions_xy, np.full(len(heads_xy), steps[-1])):
            crowds.append(CrowdMatching(heads_xy, predictions_xy))
        else:
            listed.append((heads_xy, predictions_xy))
    parts = [_near(*sides, steps) for sides in listed]
    nothing = np.zeros(0, np.int64)
    rows, cols = (np.cumsum([0, *(part[side] for part in parts)]) for side in (3, 4))
    row = np.concatenate([nothing, *(part[0] + at for part, at in zip(parts, rows, strict=False))])
    col = np.concatenate([nothing, *(part[1] + at for part, at in zip(parts, cols, strict=False))])
    step = np.concatenate([nothing, *(part[2] for part in parts)])

    order = np.lexsort((step, row))  # nearest candidates first, so that a radius admits a prefix of each row
    row, col, step = row[order], col[order], step[order]
    start = np.searchsorted(row, np.arange(rows[-1]))
    stop = start.copy()
    mates, mates_back = np.full(rows[-1], UNMATCHED), np.full(cols[-1], UNMATCHED)
    by_step = np.argsort(step, kind="stable")
    cuts = np.searchsorted(step[by_step], np.arange(1, len(steps)))
    sizes = []
    for radius, new in zip(steps, np.split(by_step, cuts), strict=True):
        stop += np.bincount(row[new], minlength=len(start))
        augment(Candidates(start, stop, col, len(mates_back)), mates, mates_back)
        crowded = sum(crowd.enlarge(np.full(len(crowd.heads_xy), radius)) for crowd in crowds)
        sizes.append(int((mates != UNMATCHED).sum()) + crowded)
    return sizes


def _near(heads_xy: Floats, predictions_xy: Floats, radii: Floats) -> tuple[Integers, Integers, Integers, int, int]:
    """Candidate pairs of an image: row, column, and the index of the first radius that admits each; rows and columns.

    The smaller side is the rows, which search: once all of it is matched there is nothing left to search for.
    """
    few, many = sorted((heads_xy, predictions_xy), key=len)
    if len(few) == 0:
        nothing = np.zeros(0, np.int64)
        return nothing, nothing, nothing, 0, len(many)
    near = cKDTree(few).sparse_distance_matrix(cKDTree(many), radii[-1], output_type="ndarray")
    step = np.searchsorted(radii, near["v"])
    return near["i"].astype(np.int64), near["j"].astype(np.int64), step, len(few), len(many)
