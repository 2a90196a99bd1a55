"""Whether a quicker precision counts and locates as right as fp32: the rule by which int8 is the default, or is not.

usage: precisions.py RECORD NAME:PATH [NAME:PATH ...] [--held-out FILE] [--every N] [--precisions int8,bf16]

Each picture is looked at once at 1, 1/2, 1/4 and 1/8 of its size (2560 x 1440 at most) in every precision. For each set
and scale: people on average, MAE, the total against fp32's and F1 at 8 px. The rule: MAE within 2 %, total within 1 %,
F1 within .005 of fp32's; where nobody is, no more people than fp32 sees and .05 a picture.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gigacount.datasets import read
from gigacount.datasets.listed import read_list
from gigacount.geometry import fit, whole
from gigacount.image import GigaImage
from gigacount.metrics.heads import PointPair, PredictedPoints, TruePoints
from gigacount.metrics.localization import fixed_radii
from gigacount.predict import Predictor, with_heads

SCALES = (1.0, 0.5, 0.25, 0.125)
MOST_MAE, MOST_TOTAL, MOST_F1, MOST_NOBODY = 0.02, 0.01, 0.005, 0.05


class Tally:
    """What one precision saw of one set at one scale."""

    def __init__(self) -> None:
        self.true: list[int] = []
        self.seen: list[float] = []
        self.pairs: list[PointPair] = []

    @property
    def mae(self) -> float:
        return float(np.abs(np.subtract(self.seen, self.true)).mean())

    @property
    def f1(self) -> float:
        return float(fixed_radii(self.pairs, (8.0,))[0].score.f1) if sum(self.true) else 1.0

    def faults(self, exact: Tally) -> list[str]:
        """By what this fails the rule against fp32."""
        if not sum(self.true):
            more = (sum(self.seen) - sum(exact.seen)) / len(self.true)
            return ["nobody"] if more > MOST_NOBODY else []
        named = {
            "MAE": self.mae > exact.mae * (1 + MOST_MAE),
            "total": abs(sum(self.seen) / sum(exact.seen) - 1) > MOST_TOTAL,
            "F1": self.f1 < exact.f1 - MOST_F1,
        }
        return [name for name, failed in named.items() if failed]


def look(predictor: Predictor, pixels: NDArray[np.uint8], truth_xy: NDArray[np.float64], tally: Tally) -> None:
    (found,) = predictor.predict([pixels], predictor.locates)
    heads = with_heads(found, predictor.record).points
    assert heads is not None
    points = PredictedPoints(heads[:, :2].astype(np.float64), heads[:, 2].astype(np.float64))
    tally.true.append(len(truth_xy))
    tally.seen.append(float(found.density.sum(dtype=np.float64)))
    tally.pairs.append(PointPair(str(len(tally.true)), TruePoints(truth_xy), points))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("record")
    parser.add_argument("data", nargs="+")
    parser.add_argument("--held-out", type=Path)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--split", default="train")
    parser.add_argument("--precisions", default="int8,bf16")
    asked = parser.parse_args()
    quick = asked.precisions.split(",")
    predictors = {name: Predictor(asked.record, "cpu", name, backend="openvino") for name in ["fp32", *quick]}
    listed = read_list(asked.held_out) if asked.held_out else None
    print("set | scale | people | " + " | ".join(f"{name}: MAE, total, F1" for name in predictors))
    failed: dict[str, list[str]] = {name: [] for name in quick}
    for spec in asked.data:
        name = spec.split(":")[0]
        samples = [s for s in read(spec, asked.split) if listed is None or listed.holds(name, s.image)][:: asked.every]
        tallies = {(scale, one): Tally() for scale in SCALES for one in predictors}
        for sample in samples:
            with GigaImage.open(sample.image) as image:
                for scale in SCALES:
                    size = [max(round(side * scale), 32) for side in fit(image.size_wh, (2560, 1440))]
                    pixels = image.read(whole(image.size_wh), (size[0], size[1]))
                    truth_xy = sample.points_xy * np.divide(size, image.size_wh)
                    for one, predictor in predictors.items():
                        look(predictor, pixels, truth_xy, tallies[scale, one])
        for scale in SCALES:
            exact = tallies[scale, "fp32"]
            cells = [f"{Path(spec).name} ({len(samples)})", f"{scale:g}", f"{np.mean(exact.true):.1f}"]
            for one in predictors:
                tally = tallies[scale, one]
                faults = tally.faults(exact)
                if one != "fp32" and faults:
                    failed[one].append(f"{Path(spec).name} at {scale:g} ({', '.join(faults)})")
                total = sum(tally.seen) / max(sum(exact.seen), 1e-9) if sum(exact.true) else np.mean(tally.seen)
                cells.append(f"{tally.mae:.2f}, {total:.4f}, {tally.f1:.4f}")
            print(" | ".join(cells), flush=True)
    for one, places in failed.items():
        print(f"{one}: " + (f"fails the rule: {'; '.join(places)}" if places else "is as right as fp32"))


if __name__ == "__main__":
    main()
