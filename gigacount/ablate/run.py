"""The run: every row of every table at every image, by its networks; what is on record is not measured again."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from gigacount import __version__
from gigacount.ablate.measure import Measurement, SharedLooks, measure
from gigacount.ablate.variants import Variant, variants_of
from gigacount.atomic import explained
from gigacount.datasets import Sample, load
from gigacount.errors import DataError, ExistsError
from gigacount.image import GigaImage
from gigacount.key import image_identity, record_identity
from gigacount.look import Looker
from gigacount.options import AblateOptions
from gigacount.output.stored import fits, number, optional, size, text, whole
from gigacount.predict import Predictor
from gigacount.text import plural

Pair = tuple[str, str | None]
"""A network, and the one for the first look where that is another."""


FILE = "measured.jsonl"

LEVEL_SHARE = {"level": whole, "scale": size, "area": size, "truth": whole, "count": number, "head_px": optional(size)}
MEASUREMENT: dict[str, Any] = {
    "key": text,
    "image": text,
    "truth": size,
    "count": number,
    "truth_grid": [[number]],
    "count_grid": [[number]],
    "inferences": whole,
    "pixels": whole,
    "seconds": size,
    "seen": [LEVEL_SHARE],
}


class MeasurementFile:
    """The measurements in a folder, a line of JSON each: what was measured before a stop is never measured again.

    A process killed while it wrote leaves a torn last line, which does not count.
    """

    def __init__(self, folder: Path) -> None:
        """Raises OutputError for a folder that holds something else, DataError for a damaged file of measurements."""
        self.file = folder / FILE
        if folder.exists() and not self.file.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ExistsError(f"{folder} holds no earlier ablation; choose another --out")
        with explained(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self.file.touch()
            content = self.file.read_bytes()
        entries, _, torn = content.rpartition(b"\n")
        if torn:
            with explained(self.file):
                os.truncate(self.file, len(content) - len(torn))
        lines = entries.split(b"\n") if entries else []
        self._known = {one.key: one for one in map(self._parse, lines, range(1, len(lines) + 1))}

    def find(self, key: str) -> Measurement | None:
        return self._known.get(key)

    def add(self, measurement: Measurement) -> None:
        """Keep a measurement, on disk before this returns. Raises OutputError."""
        with explained(self.file), self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(measurement.as_dict(), ensure_ascii=False, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._known[measurement.key] = measurement

    def _parse(self, line: bytes, number: int) -> Measurement:
        try:
            values = json.loads(line)
            if not fits(values, MEASUREMENT):
                raise ValueError("no measurement")
            return Measurement.from_dict(values)
        except (ValueError, TypeError, RecursionError) as error:
            raise DataError(
                f"{self.file}, line {number}: not a measurement; remove that line, or choose another --out"
            ) from error


@dataclass(frozen=True)
class Cell:
    """One row of one table by one pair of networks, with its measurements; images still to come have none.

    left_out: whether it takes more looks than allowed at some image.
    """

    table: str
    variant: Variant
    networks: Pair
    measured: tuple[Measurement, ...]
    left_out: bool

    @property
    def by(self) -> str:
        """The networks in words."""
        network, coarse = self.networks
        return network if coarse is None else f"{network}, first look {coarse}"


class Ablation:
    """An ablation under way. notify: called with a line for the user.

    Raises UsageError, DataError and WeightsError for what cannot be used, before anything is measured.
    """

    def __init__(self, options: AblateOptions, notify: Callable[[str], None] = lambda line: None) -> None:
        self.options = options
        self.notify = notify
        self.rows = [
            (table, variant) for table in dict.fromkeys(options.tables) for variant in variants_of(table, options)
        ]
        self.samples = load(options.data, options.split, notify, options.labels)[: options.images]
        self.file = MeasurementFile(options.out)
        self.pairs = list(dict.fromkeys(pair for _, variant in self.rows for pair in self._pairs_of(variant)))
        names = dict.fromkeys(name for pair in self.pairs for name in pair if name is not None)
        self.predictors = {
            name: Predictor(name, options.device, options.precision, backend=options.backend) for name in names
        }
        self._left_out: set[str] = set()

    def run(self) -> Iterator[Measurement]:
        """Measure what is not on record, image by image, so that a stopped run has whole images."""
        for done, sample in enumerate(self.samples, 1):
            self.notify(f"image {done} of {len(self.samples)}: {sample.image.name}")
            for pair in self.pairs:
                yield from self._measure(sample, pair)

    def cells(self) -> list[Cell]:
        """The tables, as far as they are measured."""
        return [self._cell(table, variant, pair) for table, variant in self.rows for pair in self._pairs_of(variant)]

    def _pairs_of(self, variant: Variant) -> list[Pair]:
        """By which networks a row is measured."""
        options = self.options
        return [variant.networks] if variant.networks else [(name, options.coarse_network) for name in options.networks]

    def _measure(self, sample: Sample, pair: Pair) -> Iterator[Measurement]:
        missing: dict[str, Variant] = {}
        for _, variant in self.rows:
            key = self.key(variant, pair, sample)
            if pair in self._pairs_of(variant) and self.file.find(key) is None:
                missing.setdefault(key, variant)
        if not missing:
            return
        with GigaImage.open(sample.image, notify=self.notify) as image:
            most = self.options.most_looks
            due = {key: one for key, one in missing.items() if most is None or one.looks(image.size_wh) <= most}
            self._left_out |= missing.keys() - due.keys()
            image.prepare(sum(variant.looks(image.size_wh) for variant in due.values()))
            network, coarse = pair
            with Looker(image, self.predictors[network], None if coarse is None else self.predictors[coarse]) as looker:
                shared = SharedLooks(looker, self.options.cache_mb * 2**20)
                for key, variant in due.items():
                    measurement = measure(key, self._settled(variant, network), sample, image.size_wh, shared)
                    self.file.add(measurement)
                    self.notify(
                        f"  {network}: {variant.label}: counted {measurement.count:,.1f} of {measurement.truth:,},"
                        f" {plural(measurement.inferences, 'look')}"
                    )
                    yield measurement

    def _cell(self, table: str, variant: Variant, pair: Pair) -> Cell:
        keys = [self.key(variant, pair, sample) for sample in self.samples]
        found = (self.file.find(key) for key in keys)
        measured = tuple(one for one in found if one is not None)
        return Cell(table, variant, pair, measured, left_out=not self._left_out.isdisjoint(keys))

    def _settled(self, variant: Variant, network: str) -> Variant:
        """The variant with what the network's record says where the variant leaves it open."""
        resolution = variant.looking.resolution or self.predictors[network].record.resolution
        return replace(variant, looking=replace(variant.looking, resolution=resolution))

    def key(self, variant: Variant, pair: Pair, sample: Sample) -> str:
        """A hash of all that decides a measurement: variant, weights, device, image, truth and version."""
        predictor = self.predictors[pair[0]]
        decisive = {
            "strategy": variant.strategy,
            "looking": asdict(variant.looking),
            "networks": [None if name is None else record_identity(self.predictors[name].record) for name in pair],
            "device": [predictor.device, predictor.precision, predictor.backend],
            "picture": [sample.image.name, image_identity(sample.image)],
            "truth": hashlib.sha256(sample.points_xy.tobytes()).hexdigest(),
            "version": __version__,
        }
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:16]
