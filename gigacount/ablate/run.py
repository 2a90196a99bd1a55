"""The run: every row of every table at every picture, by its networks; what is on record is not measured again."""

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
from gigacount.ablate.tables import Row
from gigacount.datasets import Sample, load
from gigacount.image import GigaImage
from gigacount.key import image_identity, record_identity
from gigacount.look import Looker
from gigacount.predict import Predictor

Pair = tuple[str, str | None]
"""A network, and the one for the first look where that is another."""


@dataclass(frozen=True)
class Cell:
    """One row of one table by one pair of networks, with its measurements; pictures still to come have none.

    left_out: whether it takes more looks than allowed at some picture.
    """

    table: str
    row: Row
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
        self.samples = load(options.data, options.split, notify, options.labels)[: options.pictures]
        self.records = Records(options.out)
        self.rows = [(table, row) for table in dict.fromkeys(options.tables) for row in options.rows(table)]
        self.pairs = list(dict.fromkeys(pair for _, row in self.rows for pair in self._pairs_of(row)))
        names = dict.fromkeys(name for pair in self.pairs for name in pair if name is not None)
        self.predictors = {
            name: Predictor(name, options.device, options.precision, backend=options.backend) for name in names
        }
        self._left_out: set[str] = set()

    def run(self) -> Iterator[Measurement]:
        """Measure what is not on record, picture by picture, so that a stopped run has whole pictures."""
        for number, sample in enumerate(self.samples, 1):
            self.notify(f"picture {number} of {len(self.samples)}: {sample.image.name}")
            for pair in self.pairs:
                yield from self._measure(sample, pair)

    def cells(self) -> list[Cell]:
        """The tables, as far as they are measured."""
        return [self._cell(table, row, pair) for table, row in self.rows for pair in self._pairs_of(row)]

    def _pairs_of(self, row: Row) -> list[Pair]:
        """By which networks a row is measured."""
        options = self.options
        return [row.networks] if row.networks else [(name, options.coarse_network) for name in options.networks]

    def _measure(self, sample: Sample, pair: Pair) -> Iterator[Measurement]:
        missing: dict[str, Row] = {}
        for _, row in self.rows:
            key = self.key(row, pair, sample)
            if pair in self._pairs_of(row) and self.records.find(key) is None:
                missing.setdefault(key, row)
        if not missing:
            return
        with GigaImage.open(sample.image, notify=self.notify) as image:
            most = self.options.most_looks
            due = {key: row for key, row in missing.items() if most is None or row.looks(image.size_wh) <= most}
            self._left_out |= missing.keys() - due.keys()
            image.prepare(sum(row.looks(image.size_wh) for row in due.values()))
            network, coarse = pair
            with Looker(image, self.predictors[network], None if coarse is None else self.predictors[coarse]) as looker:
                shared = SharedLooks(looker, self.options.cache_mb * 2**20)
                for key, row in due.items():
                    measurement = measure(key, self._settled(row, network), sample, image.size_wh, shared)
                    self.records.add(measurement)
                    self.notify(
                        f"  {network}: {row.label}: counted {measurement.count:,.1f} of {measurement.truth:,},"
                        f" {measurement.inferences} looks"
                    )
                    yield measurement

    def _cell(self, table: str, row: Row, pair: Pair) -> Cell:
        keys = [self.key(row, pair, sample) for sample in self.samples]
        found = (self.records.find(key) for key in keys)
        measured = tuple(one for one in found if one is not None)
        return Cell(table, row, pair, measured, left_out=not self._left_out.isdisjoint(keys))

    def _settled(self, row: Row, network: str) -> Row:
        """The row with what the network's record says where the row leaves it open."""
        resolution = row.looking.resolution or self.predictors[network].record.resolution
        return replace(row, looking=replace(row.looking, resolution=resolution))

    def key(self, row: Row, pair: Pair, sample: Sample) -> str:
        """A hash of all that decides a measurement: row, weights, device, picture, truth and this program's version."""
        predictor = self.predictors[pair[0]]
        decisive = {
            "strategy": row.strategy,
            "looking": asdict(row.looking),
            "networks": [None if name is None else record_identity(self.predictors[name].record) for name in pair],
            "device": [predictor.device, predictor.precision, predictor.backend],
            "picture": [sample.image.name, image_identity(sample.image)],
            "truth": hashlib.sha256(sample.points_xy.tobytes()).hexdigest(),
            "version": __version__,
        }
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:16]
