"""What annotation tools draw: which classes are people, and where the head of each shape is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gigacount.datasets.entries import ASSUMED, LabelledHeads, OnError, from_boxes, shown
from gigacount.datasets.files import bad, guarded
from gigacount.errors import EntryError

HEAD_NAMES = frozenset({"head", "heads", "person head", "human head"})
PERSON_NAMES = frozenset({"person", "persons", "people", "human", "pedestrian", "pedestrians"})
IGNORE = "ignore"  # how the names of classes begin that no tool means to be counted (QuPath: Ignore*)


@dataclass(frozen=True)
class HeadShape:
    """Where a shape has heads: at each of `points` (N, 2), or in `box` (left, top, right, bottom), or why nowhere."""

    points: Sequence[Any] = ()
    box: Sequence[float] | None = None
    no_head: str = ""

    @property
    def centres(self) -> list[list[float]]:
        return from_boxes([self.box]).points_xy.tolist() if self.box is not None else list(self.points)


def around(vertices: ArrayLike) -> HeadShape:
    """A head in the extent of (N, 2) vertices. ValueError where there is none."""
    corners = np.asarray(vertices, np.float64).reshape(-1, 2)
    return HeadShape(box=[*corners.min(axis=0).tolist(), *corners.max(axis=0).tolist()])


def ellipse(centre: ArrayLike, half_axes: ArrayLike, degrees: float = 0.0) -> HeadShape:
    """A head in the extent of an ellipse about its centre (x, y), its half axes (2,) turned by so much."""
    turn = _turn(degrees)
    half = np.sqrt(((turn * np.asarray(half_axes, np.float64)) ** 2).sum(axis=1))
    return around(np.asarray(centre, np.float64) + np.outer([-1, 1], half))


def rectangle(corners: ArrayLike, degrees: float = 0.0) -> HeadShape:
    """A head in the extent of a rectangle, given by two corners (2, 2), turned about its centre by so much."""
    two = np.asarray(corners, np.float64).reshape(2, 2)
    centre, half = two.mean(axis=0), np.abs(two[1] - two[0]) / 2
    return around(centre + np.outer([-1, 1], np.abs(_turn(degrees)) @ half))


def _turn(degrees: float) -> NDArray[np.float64]:
    angle = np.deg2rad(degrees)
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def key_points(rows: ArrayLike, box: HeadShape | None) -> HeadShape:
    """The head of (N, 3) key points x, y, visibility (0: unlabelled): at a single one, else in `box` or around them."""
    table = np.asarray(rows, np.float64).reshape(-1, 3)
    labelled = table[table[:, 2] > 0, :2]
    if len(table) == len(labelled) == 1:
        return HeadShape(labelled.tolist())
    if box is not None and box.box is not None and any(box.box):
        return box
    return around(labelled) if len(labelled) else HeadShape(no_head="key points that are not labelled")


def run_lengths(counts: Any, height: int) -> HeadShape:
    """A head in the extent of a COCO mask: runs of 0 and 1 down the columns, as numbers or in COCO's packed text."""
    if height < 1:
        raise ValueError(f"a mask of {height} rows")
    runs = np.array(unpacked(counts) if isinstance(counts, str) else counts, np.int64)
    ends = np.cumsum(runs)
    first, last = (ends - runs)[1::2], ends[1::2] - 1
    first, last = first[last >= first], last[last >= first]
    top, bottom = first % height, last % height
    if (first // height != last // height).any():  # a run over several columns touches top and bottom
        top, bottom = np.append(top, 0), np.append(bottom, height - 1)
    return around([(first.min() // height, top.min()), (last.max() // height + 1, bottom.max() + 1)])


def unpacked(text: str) -> list[int]:
    """COCO's packed run lengths: six bits a letter, from the third on as the difference from the one but one before."""
    runs: list[int] = []
    value = shift = 0
    for letter in text:
        bits = ord(letter) - 48
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    return runs


@dataclass(frozen=True)
class DrawnHeads:
    """The shapes of one image as a tool wrote them: class ('' for none) and what `shape` makes a Shape of.

    image: what the file calls its image, None where it does not say.
    """

    things: Sequence[tuple[str, Any]]
    shape: Callable[[Any], HeadShape]
    size_wh: tuple[int, int] | None = None
    fractions: bool = False
    image: str | None = None

    def heads(self, people: Collection[str]) -> LabelledHeads:
        """The heads of the classes that are people; boxes only where all have one. Other shapes are counted."""
        passed: Counter[str] = Counter()
        points: list[Any] = []
        boxes: list[Any] = []
        for label, thing in self.things:
            if label not in people:
                passed[class_name(label)] += 1
                continue
            shape = self.shape(thing)
            points += shape.points
            if shape.box is not None:
                boxes.append(shape.box)
            elif not len(shape.points):
                passed[shape.no_head or "shape without a position"] += 1
        heads = from_boxes(boxes)
        positions, extents = heads.points_xy, heads.boxes_xyxy
        if points:
            positions, extents = np.concatenate([positions, np.asarray(points, np.float64).reshape(-1, 2)]), None
        return LabelledHeads(positions, extents, self.size_wh, self.fractions, passed)


@dataclass
class DrawnFiles:
    """The label files of a set with one for each image, all read at first: what all hold decides who is people.

    declared: the classes that the set says it has, None for those that occur. Raises EntryError where none is people.
    """

    paths: Iterable[Path]
    parse: Callable[[Path], DrawnHeads]
    where: Path
    on_error: OnError
    declared: Collection[str] | None = None
    _found: dict[Path, DrawnHeads | EntryError] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for path in self.paths:
            try:
                with guarded(path):
                    self._found[path] = self.parse(path)
            except EntryError as error:
                self._found[path] = error
        drawn = [found for found in self._found.values() if isinstance(found, DrawnHeads)]
        classes = self.declared or {label for drawing in drawn for label, _ in drawing.things}
        self.people = people_classes(classes, self.where, self.on_error)

    def image(self, path: Path) -> str | None:
        found = self._found[path]
        return found.image if isinstance(found, DrawnHeads) else None

    def heads(self, path: Path) -> LabelledHeads:
        found = self._found[path]
        if isinstance(found, EntryError):
            raise found
        with guarded(path):
            return found.heads(self.people)


def class_name(label: str) -> str:
    return f"class '{shown(label, 40)}'" if label else "no class"


def people_classes(
    classes: Iterable[str], where: Path, on_error: OnError, parents: Mapping[str, str] | None = None
) -> frozenset[str]:
    """The classes that count: those of heads if there are any, else those of persons, else those below such a parent.

    A single class counts whatever its name, and is told of. Raises EntryError if there are several and none is known.
    """
    present = frozenset(name for name in classes if not name.strip().lower().startswith(IGNORE))
    for named in ({name: name for name in present}, parents or {}):
        for known in (HEAD_NAMES, PERSON_NAMES):
            people = frozenset(name for name in present if named.get(name, "").strip().lower() in known)
            if people:
                return people
    if len(present) > 1:
        listed = ", ".join(f"'{shown(name, 40)}'" if name else "no class" for name in sorted(present))
        problem = f"no class known to be people among {listed}; rename the one that counts to 'head' or 'person'"
        raise bad(where, problem)
    for name in present - {""}:
        on_error(EntryError(ASSUMED, f"{where}: '{shown(name, 40)}'"))
    return present
