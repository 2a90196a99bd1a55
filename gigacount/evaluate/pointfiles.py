"""Files of points for many images, as truth or as prediction.

nwpu      a line per image: `id n` and n times `x y sigma_s sigma_l size_class` (truth) or n times `x y`
csv       a line per head with the columns image, x, y; a line `name,,` is an image without heads. Truth may add
          sigma_s, sigma_l and size_class, or head boxes as left, top, right, bottom or as width, height; predictions
          may add score. Other columns are ignored. Commas, semicolons or tabs
geojson   a FeatureCollection of Point and MultiPoint features, the same names as properties or as QuPath measurements;
          a feature without geometry is an image without heads
coco      a COCO file, of which a box of no size is a point

A CSV or GeoJSON file that does not name its images holds a single one. All positions are in pixels. Where heads have
classes (CSV: a column class, label or category), those of heads count, or else those of persons, as in data sets.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from gigacount.datasets.coco import annotation_shape, load_coco
from gigacount.datasets.csv_points import BOX, POSITION, row_class, row_numbers
from gigacount.datasets.files import PARSING, bad, csv_rows, guarded, load_json, read_text
from gigacount.datasets.geojson import feature_class, feature_parts, part_shape
from gigacount.datasets.shapes import HeadShape, class_name, people_classes
from gigacount.errors import DataError, EntryError, UnknownNameError
from gigacount.metrics.heads import SIZE_CLASSES, Floats, PointPair, PredictedPoints, TruePoints
from gigacount.text import listed

SIGMAS = ("sigma_s", "sigma_l")
SIDES = ("width", "height")
NWPU_TRUTH = (*POSITION, *SIGMAS, "size_class")
TRUTH_COLUMNS = (*NWPU_TRUTH, *BOX, *SIDES)
PREDICTION_COLUMNS = (*POSITION, "score")
NOT_NEGATIVE = (*SIGMAS, *SIDES)
SHOWN_NAMES = 5
FARTHEST = 1e12
"""The largest coordinate in pixels that is accepted; areas of such sides do not overflow."""


@dataclass(frozen=True)
class PointFile:
    """The points of a file: per image an (N, C) array of `columns`.

    named: whether the file names its images. passed: how many points of which class are no heads.
    """

    path: Path
    columns: tuple[str, ...]
    images: dict[str, Floats]
    named: bool
    passed: Mapping[str, int] = field(default_factory=dict)

    def take(self, name: str, columns: Sequence[str]) -> Floats | None:
        """(N, len(columns)) values of an image, or None where the file lacks one of the columns."""
        if not set(columns) <= set(self.columns):
            return None
        return self.images[name][:, [self.columns.index(column) for column in columns]]

    def truth(self, name: str) -> TruePoints:
        points, sigmas, classes = self.images[name][:, :2], self.take(name, SIGMAS), self.take(name, ("size_class",))
        if sigmas is not None:
            size_class = None if classes is None else classes[:, 0].astype(np.int64)
            return TruePoints(points, sigmas[:, 0], sigmas[:, 1], size_class)
        box, sides = self.take(name, BOX), self.take(name, SIDES)
        if box is not None:
            sides = box[:, 2:] - box[:, :2]
        return TruePoints(points) if sides is None else TruePoints.from_boxes(points, sides)

    def predicted(self, name: str) -> PredictedPoints:
        scores = self.take(name, ("score",))
        return PredictedPoints(self.images[name][:, :2], None if scores is None else scores[:, 0])


def read_pairs(
    truth: Path, predictions: Path, form: str | None = None, notify: Callable[[str], None] = lambda line: None
) -> list[PointPair]:
    """Truth and prediction of every image, in the order of the truth.

    notify: told, for each file, which points are not heads and were left out. form: a name of `FORMATS`, or None to go
    by each file's suffix. Raises UnknownNameError for any other name, and DataError, naming file and line, for files
    that cannot be used or do not hold the same images.
    """
    true, found = read_points(truth, TRUTH_COLUMNS, form), read_points(predictions, PREDICTION_COLUMNS, form)
    for file in (true, found):
        if file.passed:
            what = ", ".join(f"{times} x {kind}" for kind, times in file.passed.items())
            notify(f"{file.path}: points left out: {what}")
    if not true.images:
        raise DataError(f"{truth}: there is no image in it")
    return [PointPair(a, true.truth(a), found.predicted(b)) for a, b in _same_images(true, found)]


def _same_images(true: PointFile, found: PointFile) -> list[tuple[str, str]]:
    """The images' names in both files."""
    both = true, found
    if not all(file.named for file in both):
        if all(len(file.images) == 1 for file in both):
            return list(zip(true.images, found.images, strict=True))
        plain, other = sorted(both, key=lambda file: file.named)
        raise DataError(f"{plain.path}: does not name its images, and {other.path} holds {len(other.images)} of them")
    for file, other in (both, both[::-1]):
        missing = [name for name in other.images if name not in file.images]
        if missing:
            raise DataError(
                f"{file.path}: lacks {len(missing)} of the {len(other.images)} images in {other.path}: "
                f"{listed(missing, SHOWN_NAMES)}; an image without heads needs its line too"
            )
    return [(name, name) for name in true.images]


def read_points(path: Path, columns: Sequence[str], form: str | None = None) -> PointFile:
    """The points of a file with those of `columns` that it has; see `read_pairs` for `form` and errors."""
    if form is None:
        form = SUFFIXES.get(path.suffix.lower())
        if form is None:
            raise DataError(f"{path}: its suffix tells no format; name one of: {', '.join(FORMATS)}")
    if form not in FORMATS:
        raise UnknownNameError("point format", form, FORMATS)
    with guarded(path):
        return FORMATS[form](path, columns)


def _read_nwpu(path: Path, columns: Sequence[str]) -> PointFile:
    """All columns that the lines have; the official files hold integers, other numbers are read as well."""
    images: dict[str, Floats] = {}
    layout: tuple[str, ...] | None = None
    for line, text in enumerate(read_text(path).splitlines(), 1):
        if not (words := text.split()):
            continue
        name, count, numbers = words[0], "".join(words[1:2]), words[2:]
        if not (count.isascii() and count.isdigit()):
            raise bad(path, f"'{text[:40]}' does not begin with an image's id and its number of points", line)
        if name in images:
            raise bad(path, f"image '{name}' has a line already", line)
        n = int(count)
        fitting = [
            names for names in (POSITION, NWPU_TRUTH) if n * len(names) == len(numbers) and layout in (None, names)
        ]
        if not fitting:
            each = "2 or 5" if layout is None else len(layout)
            raise bad(path, f"{len(numbers)} numbers do not make {n} points of {each} numbers each", line)
        layout = fitting[0] if n else layout
        try:
            images[name] = np.array(numbers, np.float64).reshape(n, -1) if n else np.zeros((0, 0))
        except ValueError as error:
            raise bad(path, f"not a number ({error})", line) from error
        if n and (problem := _first_problem(images[name], fitting[0])):
            raise bad(path, problem[1], line)
    used = layout or POSITION
    return PointFile(path, used, {name: rows.reshape(-1, len(used)) for name, rows in images.items()}, named=True)


Head = tuple[str, int, list[float] | None, str]  # image, line or feature, values (None for no head), class


def _read_csv(path: Path, columns: Sequence[str]) -> PointFile:
    names, rows = csv_rows(path, POSITION, "image,x,y")
    used = tuple(column for column in columns if column in names)

    def heads() -> Iterator[Head]:
        for line, cells in rows:
            name = cells.get("image", path.stem)
            if not name:
                raise bad(path, "no image is named", line)
            yield name, line, row_numbers(path, line, cells, used), row_class(cells)

    return _gathered(path, heads(), used, "image" in names, lambda line, problem: bad(path, problem, line))


def _read_geojson(path: Path, columns: Sequence[str]) -> PointFile:
    content = load_json(path)
    if isinstance(content, dict) and "annotations" in content:
        return _read_coco(path, columns)
    features = content.get("features") if isinstance(content, dict) else content
    if not isinstance(features, list):
        raise bad(path, "not a GeoJSON FeatureCollection")

    def complain(number: int, problem: str) -> EntryError:
        return bad(path, f"feature {number}: {problem}")

    parsed = []
    for number, feature in enumerate(features, 1):
        try:
            positions = [xy for part in feature_parts(feature) for xy in part_shape(part).centres]
            parsed.append((number, positions, feature_class(feature), _properties(feature)))
        except PARSING as error:
            raise complain(number, f"not a point in GeoJSON ({error})") from error
    extra = [column for column in columns if any(column in properties for *_, properties in parsed)]
    named = any("image" in properties for *_, properties in parsed)

    def heads() -> Iterator[Head]:
        for number, positions, label, properties in parsed:
            if named and "image" not in properties:
                raise complain(number, "no image is named in its property image")
            name = str(properties["image"]) if named else path.stem
            if not positions:
                yield name, number, None, label
            try:
                values = [float(properties[column]) for column in extra] if positions else []
            except PARSING as error:
                raise complain(number, f"no number in one of its properties {', '.join(extra)}") from error
            for position in positions:
                yield name, number, [*position, *values], label

    return _gathered(path, heads(), (*POSITION, *extra), named, complain)


def _read_coco(path: Path, columns: Sequence[str]) -> PointFile:
    """Positions, the sizes of boxes where all have one, scores where all have one."""
    listed, annotations, people = load_coco(path)
    images: dict[str, list[list[float]]] = {}
    passed: Counter[str] = Counter()
    sized = scored = True
    for key, image in listed:
        with guarded(path):
            rows = images.setdefault(str(image["file_name"]), [])
            for label, annotation in annotations[key]:
                shape = annotation_shape(annotation, image) if label in people else HeadShape(no_head=class_name(label))
                if shape.no_head:
                    passed[shape.no_head] += 1
                    continue
                left, top, right, bottom = shape.box or (0, 0, 0, 0)
                sized, scored = sized and right > left and bottom > top, scored and "score" in annotation
                rest = [right - left, bottom - top, float(annotation.get("score", 0))]
                rows += [[*centre, *rest] for centre in shape.centres]
    found = (*POSITION, *SIDES, "score")
    used = [c for c in columns if c in POSITION or (c in SIDES and sized) or (c == "score" and scored)]
    places = [found.index(column) for column in used]
    heads = ((name, 0, [row[i] for i in places], "") for name, rows in images.items() for row in rows)
    nobody = ((name, 0, None, "") for name in images)
    file = _gathered(path, chain(nobody, heads), tuple(used), True, lambda _, problem: bad(path, problem))
    return replace(file, passed=passed)


def _properties(feature: Any) -> dict[str, Any]:
    """A feature's properties, with QuPath's measurements among them: an object, or a list of name and value."""
    properties = dict(feature.get("properties") or {})
    measured = properties.pop("measurements", None) or {}
    if isinstance(measured, list):
        measured = {one["name"]: one["value"] for one in measured}
    return {**measured, **properties}


def _gathered(
    path: Path, heads: Iterable[Head], columns: tuple[str, ...], named: bool, complain: Callable[[int, str], DataError]
) -> PointFile:
    """The heads of the classes that are people by image, as (N, len(columns)) arrays that hold nothing impossible."""
    found = list(heads)
    people = people_classes({label for _, _, values, label in found if values is not None}, path, lambda error: None)
    values: dict[str, list[list[float]]] = {}
    places: dict[str, list[int]] = {}
    passed: Counter[str] = Counter()
    for name, place, head, label in found:
        rows = values.setdefault(name, [])
        if head is not None and label not in people:
            passed[class_name(label)] += 1
        elif head is not None:
            rows.append(head)
            places.setdefault(name, []).append(place)
    if not named and not values:  # a file that names no image holds one even where it holds no head
        values[path.stem] = []
    images = {}
    for name, rows in values.items():
        images[name] = np.array(rows, np.float64).reshape(-1, len(columns))
        if problem := _first_problem(images[name], columns):
            row, what = problem
            raise complain(places[name][row], what)
    return PointFile(path, columns, images, named, passed)


def _first_problem(rows: Floats, columns: Sequence[str]) -> tuple[int, str] | None:
    """The first row with an impossible value, and what is wrong with it."""
    column = {name: rows[:, place] for place, name in enumerate(columns)}
    tests = [
        (~np.isfinite(rows).all(axis=1), "a value is not finite"),
        ((np.isfinite(rows) & (np.abs(rows) > FARTHEST)).any(axis=1), "a value is larger than any image"),
    ]
    tests += [(column[name] < 0, f"{name} is negative") for name in NOT_NEGATIVE if name in column]
    if "size_class" in column:
        tests.append((~np.isin(column["size_class"], range(len(SIZE_CLASSES))), "size_class is none of 0, 1, ..., 5"))
    if set(BOX) <= set(column):
        ends_early = (column["right"] < column["left"]) | (column["bottom"] < column["top"])
        tests.append((ends_early, "the box ends before it begins"))
    found = [(int(np.argmax(wrong)), what) for wrong, what in tests if wrong.any()]
    return min(found, default=None)


FORMATS: dict[str, Callable[[Path, Sequence[str]], PointFile]] = {
    "nwpu": _read_nwpu,
    "csv": _read_csv,
    "geojson": _read_geojson,
    "coco": _read_coco,
}
SUFFIXES = {".txt": "nwpu", ".csv": "csv", ".geojson": "geojson", ".json": "geojson"}
