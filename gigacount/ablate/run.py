"""The run: every row of every table at every picture, by every network; what is on record is not measured again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace

from gigacount import __version__
from gigacount.ablate.looks import SharedLooks
from gigacount.ablate.measure import Measurement, measure
from gigacount.ablate.options import AblateOptions
from gigacount.ablate.records import Records
from gigacount.ablate.tables import TABLES, Row
from gigacount.datasets import Sample, load
from gigacount.image import GigaImage
from gigacount.key import image_identity, record_identity
from gigacount.look import Looker
from gigacount.predict import Predictor


@dataclass(frozen=True)
class Cell:
    """One row of one table by one network, with its measurements; pictures that are still to come have none.

    left_out: whether it takes more looks than allowed at some picture.
    """

    table: str
    row: Row
    network: str
    measured: tuple[Measurement, ...]
    left_out: bool


class Ablation:
    """An ablation under way. notify: called with a line for the user.

    Raises UsageError, DataError and WeightsError for what cannot be used, before anything is measured.
    """

    def __init__(self, options: AblateOptions, notify: Callable[[str], None] = lambda line: None) -> None:
        self.options = options
        self.notify = notify
        self.samples = load(options.data, options.split, notify)[: options.pictures]
        self.records = Records(options.out)
        self.predictors = {name: self._predictor(name) for name in dict.fromkeys(options.networks)}
        self.coarse = None if options.coarse_network is None else self._predictor(options.coarse_network)
        self._left_out: set[str] = set()

    def run(self) -> Iterator[Measurement]:
        """Measure what is not on record, picture by picture, so that a stopped run has whole pictures."""
        for number, sample in enumerate(self.samples, 1):
            self.notify(f"picture {number} of {len(self.samples)}: {sample.image.name}")
            for network in self.predictors:
                yield from self._measure(sample, network)

    def cells(self) -> list[Cell]:
        """The tables, as far as they are measured."""
        return [
            self._cell(table, row, network)
            for table in dict.fromkeys(self.options.tables)
            for row in TABLES[table].rows(self.options.looking)
            for network in self.predictors
        ]

    def _measure(self, sample: Sample, network: str) -> Iterator[Measurement]:
        missing: dict[str, Row] = {}
        for row in (row for table in self.options.tables for row in TABLES[table].rows(self.options.looking)):
            key = self.key(row, network, sample)
            if self.records.find(key) is None:
                missing.setdefault(key, row)
        if not missing:
            return
        with GigaImage.open(sample.image, notify=self.notify) as image:
            most = self.options.most_looks
            due = {key: row for key, row in missing.items() if most is None or row.looks(image.size_wh) <= most}
            self._left_out |= missing.keys() - due.keys()
            image.prepare(sum(row.looks(image.size_wh) for row in due.values()))
            with Looker(image, self.predictors[network], self.coarse) as looker:
                shared = SharedLooks(looker, self.options.cache_mb * 2**20)
                for key, row in due.items():
                    measurement = measure(key, self._settled(row, network), sample, image.size_wh, shared)
                    self.records.add(measurement)
                    self.notify(
                        f"  {network}: {row.label}: counted {measurement.count:,.1f} of {measurement.truth:,},"
                        f" {measurement.inferences} looks"
                    )
                    yield measurement

    def _cell(self, table: str, row: Row, network: str) -> Cell:
        keys = [self.key(row, network, sample) for sample in self.samples]
        found = (self.records.find(key) for key in keys)
        measured = tuple(one for one in found if one is not None)
        return Cell(table, row, network, measured, left_out=not self._left_out.isdisjoint(keys))

    def _settled(self, row: Row, network: str) -> Row:
        """The row with what the network's record says where the row leaves it open."""
        resolution = row.looking.resolution or self.predictors[network].record.resolution
        return replace(row, looking=replace(row.looking, resolution=resolution))

    def key(self, row: Row, network: str, sample: Sample) -> str:
        """A hash of all that decides a measurement: row, weights, device, picture, truth and this program's version."""
        predictor = self.predictors[network]
        decisive = {
            "strategy": row.strategy,
            "looking": asdict(row.looking),
            "networks": [None if one is None else record_identity(one.record) for one in (predictor, self.coarse)],
            "device": [predictor.device, predictor.precision, predictor.backend],
            "picture": [sample.image.name, image_identity(sample.image)],
            "truth": hashlib.sha256(sample.points_xy.tobytes()).hexdigest(),
            "version": __version__,
        }
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:16]

    def _predictor(self, name: str) -> Predictor:
        return Predictor(name, self.options.device, self.options.precision, backend=self.options.backend)
