"""Calibration: what a network's record says besides its weights, settled on labelled images it was not trained on.

Divisor, thresholds, how large people must be seen, and how sure a count is.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gigacount.appearance import Appearance, appearance_of
from gigacount.count import Counter
from gigacount.datasets import Sample, load
from gigacount.datasets.listed import read_list
from gigacount.density import block_sums, spread_of
from gigacount.errors import DataError
from gigacount.geometry import fit, whole
from gigacount.image import GigaImage
from gigacount.metrics.heads import PointPair, PredictedPoints, TruePoints
from gigacount.metrics.localization import fixed_radii
from gigacount.metrics.ranking import raz
from gigacount.networks import build
from gigacount.networks.peaks import points_to_cells
from gigacount.networks.profile import multiply_accumulates
from gigacount.networks.raznet.decisions import fit_theta, sub_counts
from gigacount.networks.record import NetworkRecord, write_record
from gigacount.options import CalibrateOptions, CountOptions, LabelOptions, StrategyOptions
from gigacount.points import Heads
from gigacount.predict import Predictor
from gigacount.resolution import BLOCK_PX, SQUARE, Resolution, deviation
from gigacount.train.crops import MAX_WH
from gigacount.train.sources import Notify
from gigacount.train.validate import Errors
from gigacount.train.validate import errors_of as count_errors

DIVISORS = np.arange(0.5, 2.0001, 0.01)
SCORES = np.arange(0.1, 0.7001, 0.025)
ENLARGE = (1.0, 1.5, 2.0)
SLACK = 0.015
"""A lower score threshold is taken where it costs no more F1: who is left out is lost, who is false has a low score."""
SCALED_IMAGES, SCALED_WH, SCALES = 12, (1280, 1280), (1.0, 0.5, 0.25, 0.125)
RADIUS_PX = 8.0
SIGMA_PX = 40.0
FURTHER = (0.5, 0.25)
"""Sizes at which images are seen besides: as the first looks at gigapixel images see them."""
COUNTED_PX = 256
TIMED_HW = (720, 1280)
TIMES = 3  # looks, of which the fastest is kept


@dataclass(frozen=True)
class CalibrationImage:
    """What a network saw in an image, its divisor taken out.

    count: people; density: the same per cell. truth_xy (N, 2), points (M, 3): labelled and found heads in pixels of
    the image, or of what it was shrunk to for one look, of `size_hw`.
    """

    name: str
    count: float
    truth_xy: NDArray[np.float64]
    points: Heads
    size_hw: tuple[int, int]
    density: torch.Tensor
    appearance: Appearance | None = None


ImagesAtScales = dict[float, list[list[CalibrationImage]]]
"""For each scale of one look, or enlargement of counting, what was seen in the images of each data set."""


def calibrate(network: str, options: CalibrateOptions, notify: Notify = lambda line: None) -> NetworkRecord:
    """The record of a network, given by name or path, with all but its weights measured anew: divisor, thresholds,
    resolution, errors by kind, cost.

    Images are counted as `count` counts them. The divisor, and how much people in small images are enlarged, have the
    least mean over the data sets with people of MAE / mean count (false people in sets without any would only lower all
    counts); the score threshold has a mean F1 of heads at 8 px close to the best. All this, and RAZ-Net's theta_f
    (3.1), follows from the images given: name some that the network was not trained on. Raises DataError where a set
    has none.
    """
    predictor = Predictor(network, options.device, options.precision)
    kinds: list[str] = []
    looks: ImagesAtScales = {scale: [] for scale in (1.0, *FURTHER)}
    counted: ImagesAtScales = {enlarge: [] for enlarge in ENLARGE}
    counters = {enlarge: counter(predictor, enlarge, options) for enlarge in ENLARGE}
    for kind, samples in chosen(options, notify):
        notify(f"{kind}: {len(samples)} images")
        kinds.append(kind)
        for scale, sets in looks.items():
            sets.append([look(predictor, sample, scale) for sample in samples])
        for enlarge, sets in counted.items():
            sets.append([count(counters[enlarge], sample) for sample in samples])
    record, with_people = predictor.record, [number for number, seen in enumerate(looks[1.0]) if peopled(seen)]
    if with_people:
        record = settle(record, {scale: [sets[number] for number in with_people] for scale, sets in counted.items()})
    if with_people and predictor.locates:
        score = round(best_score([counted[record.enlarge][number] for number in with_people])[0], 3)
        theta = fusion([looks[1.0][number] for number in with_people], record.density_divisor, score)
        record = replace(record, min_score=score, fusion_theta=theta)
    record = replace(record, resolution=fit_resolution(looks, record.density_divisor, record.stride))
    as_usual = counted.get(record.enlarge, counted[1.0])
    rows = [errors_of(kind, seen, record) for kind, seen in zip(kinds, as_usual, strict=True)]
    for number, (row, seen) in enumerate(zip(rows, as_usual, strict=True)):
        if not peopled(seen):
            found = [per_megapixel(looks[scale][number], scale) for scale in (1.0, *FURTHER)]
            row["per_megapixel"] = [round(people / record.density_divisor, 3) for people in found]
    return replace(record, errors=rows, cost=cost(predictor))


def per_megapixel(seen: Sequence[CalibrationImage], scale: float) -> float:
    return sum(one.count for one in seen) / (scale**2 * sum(one.size_hw[0] * one.size_hw[1] for one in seen) / 1e6)


def cost(predictor: Predictor) -> dict[str, Any]:
    """What a look costs: parameters, multiply-accumulates a pixel, seconds a megapixel and on what."""
    network = build(predictor.record.network, **predictor.record.settings).eval()
    operations = multiply_accumulates(network, (COUNTED_PX, COUNTED_PX))
    image, seconds = np.zeros((*TIMED_HW, 3), np.uint8), math.inf
    for _ in range(TIMES):
        began = time.perf_counter()
        predictor.predict([image])
        seconds = min(seconds, time.perf_counter() - began)
    cuda = predictor.device.startswith("cuda")
    return {
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "multiply_accumulates_per_pixel": round(operations / COUNTED_PX**2),
        "seconds_per_megapixel": round(seconds / math.prod(TIMED_HW) * 1e6, 4),
        "precision": predictor.precision,
        "hardware": torch.cuda.get_device_name() if cuda else f"{torch.get_num_threads()} CPU threads",
    }


def settle(record: NetworkRecord, counted: ImagesAtScales) -> NetworkRecord:
    """The record with the enlargement and divisor that suit the sets with people, which `counted` are of."""
    divisors = {enlarge: best_divisor(sets) for enlarge, sets in counted.items()}
    enlarge = min(counted, key=lambda enlarge: mean_error(counted[enlarge], divisors[enlarge]))
    return replace(record, enlarge=enlarge, density_divisor=round(divisors[enlarge], 3))


def write_calibrated(record: NetworkRecord, folder: Path) -> Path:
    """Write a record, and its weights beside it where they are not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    if folder.resolve() != record.folder.resolve():
        for source in (record.weights_path, *(path for kind in record.graphs for path in record.graph_paths(kind))):
            shutil.copyfile(source, folder / source.name)
    path = (folder / record.weights).with_suffix(".toml")
    write_record(record, path)
    return path


def chosen(options: CalibrateOptions, notify: Notify) -> Iterator[tuple[str, list[Sample]]]:
    """Each kind, by default its data set's name, and its images, those of `held_out` alone where it is given."""
    listed = read_list(options.held_out) if options.held_out else None
    for text in options.data:
        kind, _, spec = text.rpartition("=") if "=" in text.split(":")[0] else (None, "", text)
        name = spec.split(":")[0]
        read = load(spec, options.split, notify, options.labels)
        samples = [s for s in read if listed is None or listed.holds(name, s.image)]
        if not samples:
            raise DataError(f"{spec}: none of its images is in {options.held_out}")
        yield kind or name, samples


def images_at_all_scales(
    data: Sequence[str], split: str, labels: LabelOptions, notify: Notify
) -> list[NDArray[np.uint8]]:
    """Some images (H, W, 3) of every data set, evenly spread over it, at scales from 1 down to 1/8."""
    images = []
    for spec in data:
        samples = load(spec, split, notify, labels)
        chosen = samples[:: max(len(samples) // SCALED_IMAGES, 1)][:SCALED_IMAGES]
        for number, sample in enumerate(chosen):
            with GigaImage.open(sample.image) as image:
                size = fit(image.size_wh, SCALED_WH)
                scale = SCALES[number % len(SCALES)]
                size_wh = max(round(size[0] * scale), 32), max(round(size[1] * scale), 32)
                images.append(image.read(whole(image.size_wh), size_wh))
    return images


def counter(predictor: Predictor, enlarge: float, options: CalibrateOptions) -> Counter:
    """What counts as `count` does by default, with people in small images enlarged so."""
    looking = StrategyOptions(enlarge=enlarge)
    counting = CountOptions(device=options.device, precision=options.precision, looking=looking, min_score=0.0)
    return Counter(counting, locate=predictor.locates, preview=False, records={"network": predictor.record})


def count(counter: Counter, sample: Sample) -> CalibrationImage:
    result = counter.count(sample.image)
    points = np.zeros((0, 3), np.float32)
    if result.points is not None:
        points = np.column_stack([result.points.xy, result.points.score])
    divisor = counter.predictor.record.density_divisor
    density = torch.from_numpy(result.density.cells * np.float32(divisor))
    size_hw = result.density.size_wh[::-1]
    return CalibrationImage(sample.image.name, result.count * divisor, sample.points_xy, points, size_hw, density)


def look(predictor: Predictor, sample: Sample, scale: float = 1.0) -> CalibrationImage:
    """One look at a whole image at a scale, shrunk as far as it is too large for that."""
    with GigaImage.open(sample.image) as image:
        size = fit(image.size_wh, MAX_WH)
        seen_size = fit(image.size_wh, MAX_WH, scale)
        pixels = image.read(whole(image.size_wh), seen_size)
        shrunk = np.divide(size, image.size_wh)
    (found,) = predictor.predict([pixels], predictor.locates)
    points = np.zeros((0, 3), np.float32) if found.points is None else found.points.copy()
    points[:, :2] *= np.divide(size, seen_size)
    density = torch.from_numpy(found.density) * predictor.record.density_divisor
    truth_xy, size_hw, appearance = sample.points_xy * shrunk, (size[1], size[0]), appearance_of(pixels)
    return CalibrationImage(sample.image.name, float(density.sum()), truth_xy, points, size_hw, density, appearance)


def peopled(seen: Sequence[CalibrationImage]) -> bool:
    return any(len(one.truth_xy) for one in seen)


def best_divisor(sets: Sequence[Sequence[CalibrationImage]]) -> float:
    """Of the divisors tried, that with the least `mean_error`."""
    return float(min(DIVISORS, key=lambda divisor: mean_error(sets, divisor)))


def mean_error(sets: Sequence[Sequence[CalibrationImage]], divisor: float) -> float:
    """The mean over the sets of MAE / mean count, of sparse sets / 10."""
    errors = [people(seen, divisor) for seen in sets]
    return float(np.mean([error.mae / max(error.truth_mean, 10.0) for error in errors]))


def people(seen: Sequence[CalibrationImage], divisor: float, kind: str = "") -> Errors:
    return count_errors(kind, [len(one.truth_xy) for one in seen], [one.count / divisor for one in seen])


def best_score(sets: Sequence[Sequence[CalibrationImage]]) -> tuple[float, float]:
    """The lowest score threshold whose mean F1 over the sets is within SLACK of the best, and the best F1."""

    def quality(score: float) -> float:
        return float(np.mean([fixed_radii(pairs(seen, score), (RADIUS_PX,))[0].score.f1 for seen in sets]))

    qualities = np.array([quality(score) for score in SCORES])
    best = float(qualities.max())
    return float(SCORES[np.argmax(qualities >= best - SLACK)]), best


def pairs(seen: Sequence[CalibrationImage], score: float) -> list[PointPair]:
    return [PointPair(one.name, TruePoints(one.truth_xy), predicted(one.points, score)) for one in seen]


def predicted(points: Heads, score: float) -> PredictedPoints:
    sure = points[points[:, 2] >= score].astype(np.float64)
    return PredictedPoints(sure[:, :2], sure[:, 2])


def fusion(sets: Sequence[Sequence[CalibrationImage]], divisor: float, score: float) -> tuple[float, ...]:
    """RAZ-Net's theta_f of 4 x 4 parts; where it is not finite in effect, both streams are always fused."""
    counts: list[list[torch.Tensor]] = [[], [], []]
    for one in (one for seen in sets for one in seen):
        stride = -(-one.size_hw[0] // one.density.shape[0])
        sure = one.points[one.points[:, 2] >= score]
        truth = one.truth_xy.astype(np.float32)
        streams = (
            one.density / divisor,
            points_to_cells(sure, one.size_hw, stride),
            points_to_cells(truth, one.size_hw, stride),
        )
        for rows, cells in zip(counts, streams, strict=True):
            rows.append(sub_counts(cells))
    density, located, true = (torch.stack(rows) for rows in counts)
    return tuple(round(value, 1) for value in fit_theta(density, located, true).tolist())


def errors_of(kind: str, seen: Sequence[CalibrationImage], record: NetworkRecord) -> dict[str, Any]:
    """A row of a record's errors: counts, and points where the network locates and the kind has people."""
    errors = people(seen, record.density_divisor, kind)
    row = errors.row()
    if errors.truth_mean:
        row["relative"] = round(errors.mae / errors.truth_mean, 3)
    if record.min_score is not None and errors.truth_mean:
        row["f1_8px"] = round(fixed_radii(pairs(seen, record.min_score), (RADIUS_PX,))[0].score.f1, 3)
        row["mar_40px"] = round(raz(pairs(seen, record.min_score), SIGMA_PX).mar or 0.0, 3)
    return row | {"date": date.today().isoformat()}


EDGES = (0.0, *(4 * 2 ** (step / 2) for step in range(9)), np.inf)
"""Of the classes of spacing, in read pixels: 4, 5.7, 8, ... 64."""

MIN_PEOPLE = 50.0
"""The fewest people for whom a class of spacing is measured."""

MIN_GAIN = 1.0
"""A closer look at a full square is worth it where it brings the count this many people nearer to the truth."""

COVERAGE = 0.9
INTERVAL_SCALES = (1.0, 0.5)
"""Scales of images from which the intervals are measured: in scenes, some people are seen large and some small."""


def fit_resolution(looks: ImagesAtScales, divisor: float, stride: int) -> Resolution | None:
    """From looks at images, by kind, at their size and at halves of it; None where too few people were seen.

    Squares of all images are pooled into classes of spacing. People are resolved above the last class in which a
    closer look at a square full of them saves MIN_GAIN people. `kinds` is what images with people, each kind with the
    same weight, need besides the errors of their places for COVERAGE of them to lie in their intervals.
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
        if saved >= MIN_GAIN and high < np.inf:
            resolved = high
        rows.append((apart, (n - true[inside]).sum() / n.sum(), off.sum() / n.sum()))
    with_people = sum(len(one.truth_xy) > 0 for seen in looks[1.0] for one in seen)
    if not rows or not with_people:
        return None
    spacing_px, bias, error = (tuple(column.tolist()) for column in np.clip(np.round(rows, 3), -9, [[999, 9, 9]]).T)
    placed = Resolution(spacing_px, bias, error, round(resolved, 1))
    needs, weights = _needs([looks[scale] for scale in INTERVAL_SCALES if scale in looks], divisor, stride, placed)
    order = np.argsort(needs)
    share = np.cumsum(weights[order]) / weights.sum()
    kinds = float(needs[order][np.searchsorted(share, COVERAGE)])
    seen_so = [one.appearance for sets in looks.values() for seen in sets for one in seen if len(one.truth_xy)]
    found = [appearance for appearance in seen_so if appearance is not None]
    brightness = ends([appearance.brightness for appearance in found], placed.brightness)
    sharpness = ends([a.sharpness for a in found if a.sharpness is not None], placed.sharpness)
    kinds = math.ceil(kinds * 1000) / 1000
    return replace(placed, kinds=kinds, pictures=with_people, brightness=brightness, sharpness=sharpness)


def ends(values: Sequence[float], otherwise: tuple[float, float]) -> tuple[float, float]:
    """The lowest and the highest, to three digits outwards."""
    return (math.floor(min(values) * 1000) / 1000, math.ceil(max(values) * 1000) / 1000) if values else otherwise


def _squares(
    one: CalibrationImage, scale: float, divisor: float, stride: int, closer: CalibrationImage | None = None
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
    looks: Sequence[Sequence[Sequence[CalibrationImage]]], divisor: float, stride: int, curve: Resolution
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of each image with people: the deviation that its places do not explain, and its weight; all (N,)."""
    needs, weights = [], []
    for scale, sets in zip(INTERVAL_SCALES, looks, strict=False):
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
