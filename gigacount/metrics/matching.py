"""One-to-one matching of labelled and predicted points, of greatest size, on a sparse graph.

A head and a predicted point may match when their distance is at most a radius. k-d trees find these candidates, so
memory grows with their number and not with heads times predictions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import maximum_bipartite_matching
from scipy.spatial import cKDTree

from gigacount.metrics.heads import Floats, Integers

UNMATCHED = -1
CROWDED = 8  # mean candidates per head from which scipy's Hopcroft-Karp can take minutes; see `maximum_matching`


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


def augment(graph: Candidates, mates: Integers, mates_back: Integers) -> None:
    """Enlarge a matching in place until it has the greatest size.

    mates: (N,) the prediction of each head; mates_back: (M,) the head of each prediction; UNMATCHED where none.

    All unmatched heads search at once, breadth first; each prediction joins the tree that reaches it first, so that
    the augmenting paths of a round are disjoint and can be flipped together (Azad, Buluc and Pothen 2017, without
    grafting). A round that finds none has seen everything reachable, so the matching is maximum (Berge 1957).
    """
    while True:
        front = np.flatnonzero((mates == UNMATCHED) & (graph.stop > graph.start))
        root = np.arange(len(mates))  # of each head: the unmatched head whose tree it is in
        parent = np.full(len(mates_back), UNMATCHED)  # of each prediction: the head it was reached from
        goal = np.full(len(mates), UNMATCHED)  # of each root: an unmatched prediction in its tree
        while front.size:
            fan = graph.stop[front] - graph.start[front]
            head = np.repeat(front, fan)
            first = np.repeat(graph.start[front] - np.cumsum(fan) + fan, fan)
            reached = graph.predictions[first + np.arange(head.size)]
            fresh = parent[reached] == UNMATCHED
            head, reached = head[fresh], reached[fresh]
            parent[reached[::-1]] = head[::-1]  # where several heads reach a prediction, the first has it
            reached = reached[parent[reached] == head]
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


def matched_within(pictures: Iterable[tuple[Floats, Floats]], radii: Sequence[float]) -> list[int]:
    """Heads matched in all pictures together, for each of the ascending `radii`.

    Each picture is (heads_xy, predictions_xy). All pictures form one graph, and each radius goes on from the matching
    of the one before: only the paths that the new candidates open are searched.
    """
    steps = np.asarray(radii, np.float64)
    parts = [_Near.of(*sides, steps) for sides in pictures]
    rows = np.cumsum([0, *(part.n_rows for part in parts)])
    cols = np.cumsum([0, *(part.n_cols for part in parts)])
    row = np.concatenate([np.zeros(0, np.int64), *(part.row + at for part, at in zip(parts, rows, strict=False))])
    col = np.concatenate([np.zeros(0, np.int64), *(part.col + at for part, at in zip(parts, cols, strict=False))])
    step = np.concatenate([np.zeros(0, np.int64), *(part.step for part in parts)])

    order = np.lexsort((step, row))  # nearest candidates first, so that a radius admits a prefix of each row
    row, col, step = row[order], col[order], step[order]
    start = np.searchsorted(row, np.arange(rows[-1]))
    stop = start.copy()
    mates, mates_back = np.full(rows[-1], UNMATCHED), np.full(cols[-1], UNMATCHED)
    by_step = np.argsort(step, kind="stable")
    cuts = np.searchsorted(step[by_step], np.arange(1, len(steps)))
    sizes = []
    for new in np.split(by_step, cuts):
        stop += np.bincount(row[new], minlength=len(start))
        augment(Candidates(start, stop, col, len(mates_back)), mates, mates_back)
        sizes.append(int((mates != UNMATCHED).sum()))
    return sizes


@dataclass(frozen=True)
class _Near:
    """Candidate pairs of one picture, with the index of the first radius that admits each."""

    row: Integers
    col: Integers
    step: Integers
    n_rows: int
    n_cols: int

    @classmethod
    def of(cls, heads_xy: Floats, predictions_xy: Floats, radii: Floats) -> _Near:
        # The smaller side searches: once all of it is matched there is nothing left to search for.
        few, many = sorted((heads_xy, predictions_xy), key=len)
        if len(few) == 0:
            nothing = np.zeros(0, np.int64)
            return cls(nothing, nothing, nothing, 0, len(many))
        near = cKDTree(few).sparse_distance_matrix(cKDTree(many), radii[-1], output_type="ndarray")
        step = np.searchsorted(radii, near["v"])
        return cls(near["i"].astype(np.int64), near["j"].astype(np.int64), step, len(few), len(many))
