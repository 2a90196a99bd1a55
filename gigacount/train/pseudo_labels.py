"""Labels that networks give: to generated images (PromptMix), and boxes to heads that are points (IIM, 4.1).

Bakhtiarnia, Zhang and Iosifidis, "PromptMix: text-to-image diffusion models enhance the performance of lightweight
networks", IJCNN 2023: images generated from captions of real ones are labelled by strong networks and mixed into the
training of a light one. Of the paper only the abstract was at hand: how several networks' labels become one, and which
images are left out, is ours, and so is that labels are heads, from which every network makes its own targets.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from gigacount.atomic import write_whole
from gigacount.count import Counter
from gigacount.datasets import DATASETS, Sample, read
from gigacount.datasets.csv_points import csv_text
from gigacount.datasets.entries import ALL, IMAGE_SUFFIXES
from gigacount.errors import DataError, UsageError
from gigacount.geometry import fit, whole
from gigacount.image import GigaImage
from gigacount.networks import find_record, load
from gigacount.networks.backends.torch import choose_device
from gigacount.networks.head_sizes import HeadSizes
from gigacount.options import CountOptions, LabelOptions, MixOptions, TrainOptions
from gigacount.results import CountResult
from gigacount.train.crops import MAX_WH
from gigacount.train.processes import Team
from gigacount.train.sources import Notify, TrainingPicture, TrainingSet, checked

LABELS = "pseudo-labels.csv"
BLOCK_PX = 64
"""Side of the squares in which a teacher's density and its heads are compared: a few heads wide in a dense crowd."""


def mixed_source(options: TrainOptions, real: Sequence[TrainingSet], team: Team, notify: Notify) -> TrainingSet:
    """The generated images as a set whose crops are the wished share of all; none are held out. Raises DataError."""
    mix = options.mix
    assert mix is not None
    if not mix.teachers:
        spec = mix.folder if mix.folder.split(":")[0] in DATASETS else f"csv:{mix.folder}"
        samples, bad = checked(spec, options, notify, ALL)
        if bad and not options.skip_bad:
            raise DataError(f"{bad} of the problems listed above must be put right before training; or use --skip-bad")
    else:
        labels = options.out / LABELS
        if team.first and not (options.resume and labels.exists()):
            write_labels(labels, teach(mix, options, notify))
        team.wait()
        samples = list(read(f"csv:{labels}", ALL, options=LabelOptions(trust_paths=True)))
    total = sum(source.weight for source in real)
    return TrainingSet("mix", total * mix.ratio / (1 - mix.ratio), [TrainingPicture(sample) for sample in samples], [])


def teach(mix: MixOptions, options: TrainOptions, notify: Notify) -> list[Sample]:
    """The images of the folder with the heads that teachers see in one look at 2560 x 1440 px at most.

    Of several, the one whose count is nearest to their mean. Raises DataError where they agree on no image.
    """
    folder = Path(mix.folder)
    pictures = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    if not pictures:
        raise DataError(f"{folder}: no images to mix in")
    counted = CountOptions("downsample", device=options.device, precision=options.precision)
    teachers = [Counter(replace(counted, network=name), locate=True, preview=False) for name in mix.teachers]
    samples = []
    for path in pictures:
        heads = agreed([people(teacher.count(path)) for teacher in teachers], mix.agree)
        if heads is not None:
            samples.append(Sample(path.resolve(), heads))
    seen, names = sum(len(sample.points_xy) for sample in samples), " and ".join(mix.teachers)
    without = f"; {len(pictures) - len(samples)} left out, on which they disagree" if len(teachers) > 1 else ""
    notify(f"{folder}: {names}: {seen} people in {len(samples)} images{without}")
    if not samples:
        raise DataError(f"{folder}: the teachers agree on no image; raise --mix-agree, or take one of them")
    return samples


def agreed(seen: Sequence[NDArray[np.float64]], agree: float) -> NDArray[np.float64] | None:
    """Of several teachers' heads (N, 2) those whose number is nearest to the mean; None where they differ by more than
    `agree` of it, and by more than a person."""
    counts = [len(heads) for heads in seen]
    mean = sum(counts) / len(counts)
    if max(counts) - min(counts) > max(agree * mean, 1):
        return None
    return min(seen, key=lambda heads: abs(len(heads) - mean))


def people(found: CountResult) -> NDArray[np.float64]:
    """As many heads (N, 2) as the teacher counts: the surest that it locates, then those that it cannot tell apart.

    The latter are spread over the squares in which its density exceeds its heads, and there as the density is.
    """
    density, located = found.density, found.points
    assert located is not None
    total = round(density.count)
    heads = located.xy[np.argsort(-located.score, kind="stable")[:total]].astype(np.float64)
    side = max(BLOCK_PX // density.cell_px, 1)  # of a square, in cells
    cells = np.pad(density.cells.astype(np.float64), [(0, -length % side) for length in density.cells.shape])
    rows, cols = cells.shape[0] // side, cells.shape[1] // side
    counted = cells.reshape(rows, side, cols, side).sum((1, 3))
    unseen = counted.copy()
    col, row = (heads // (side * density.cell_px)).astype(int).T
    np.subtract.at(unseen, (row, col), 1)
    share = np.divide(unseen.clip(0), counted, out=np.zeros_like(counted), where=counted > 0)
    rest = scatter(cells * np.kron(share, np.ones((side, side))), total - len(heads), density.cell_px)
    return np.concatenate([heads, np.minimum(rest, np.nextafter(np.array(density.size_wh, np.float64), 0))])


def scatter(cells: NDArray[np.float64], number: int, cell_px: int) -> NDArray[np.float64]:
    """`number` points (N, 2) spread as people per cell (rows, cols) are, in the middle of cells; the same each time."""
    cumulative = np.cumsum(cells)
    if number <= 0 or cumulative[-1] <= 0:
        return np.zeros((0, 2))
    places = np.searchsorted(cumulative, (np.arange(number) + 0.5) / number * cumulative[-1])
    row, col = np.unravel_index(places, cells.shape)
    return (np.stack([col, row], axis=1) + 0.5) * cell_px


def write_labels(path: Path, samples: Iterable[Sample]) -> None:
    """As a csv data set, which is read again with paths trusted; whole or not at all."""
    rows = ((sample.image.resolve(), sample.points_xy, sample.boxes_xyxy) for sample in samples)
    write_whole(path, csv_text(rows).encode())


def with_boxes(samples: Iterable[Sample], name: str, enlarge: float = 1.0, device: str = "auto") -> Iterator[Sample]:
    """The samples with a square box around every head, as the network of the record `name` sees them.

    enlarge: images are looked at so many times as large, and shrunk where they are too large for a look. Raises
    UsageError for another network.
    """
    record, place = find_record(name), choose_device(device)
    network = load(record).to(place)
    if not isinstance(network, HeadSizes):
        raise UsageError(f"{name} is a network {record.network}; boxes are told by one trained as head-sizes")
    mean, std = (torch.tensor(values, device=place).view(1, 3, 1, 1) for values in (record.mean, record.std))
    for sample in samples:
        with GigaImage.open(sample.image) as image:
            size_wh = fit(image.size_wh, MAX_WH, enlarge)
            pixels = image.read(whole(image.size_wh), size_wh)
            scale = np.divide(size_wh, image.size_wh)
        batch = torch.from_numpy(pixels).to(place).permute(2, 0, 1)[None] / 255
        boxes = network.boxes((batch - mean) / std, sample.points_xy * scale)
        yield replace(sample, boxes_xyxy=boxes / np.tile(scale, 2))
