"""Calibration: divisor, thresholds and errors follow from labelled pictures, by hand where a hand can."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import pyvips
import torch
from typer.testing import CliRunner
from untrained import fresh_light

from gigacount.cli import app
from gigacount.count import Counter, count_image
from gigacount.datasets import Sample, read
from gigacount.errors import DataError
from gigacount.evaluate.calibrate import CalibrationImage, best_divisor, best_score, calibrate, errors_of, look
from gigacount.networks import find_record
from gigacount.networks.record import NetworkRecord, hash_file, read_record, write_record
from gigacount.networks.weights import save_weights
from gigacount.options import CalibrateOptions, CountOptions, StrategyOptions
from gigacount.predict import Predictor


def seen(count: float, people: int, points: list[tuple[float, float, float]] | None = None) -> CalibrationImage:
    truth = np.array([(20.0 * i + 10, 10) for i in range(people)], np.float64).reshape(-1, 2)
    density = torch.full((4, 50), count / 200)
    return CalibrationImage(
        "a.png", count, truth, np.array(points or [], np.float32).reshape(-1, 3), (32, 400), density
    )


def test_the_divisor_brings_counts_to_the_truth() -> None:
    assert best_divisor([[seen(90, 100), seen(45, 50)]]) == pytest.approx(0.9)


def test_data_sets_weigh_by_their_relative_error() -> None:
    dense, sparse = [seen(110, 100)], [seen(10, 10), seen(10, 10)]
    assert best_divisor([dense, sparse]) in (pytest.approx(1.0), pytest.approx(1.1))
    assert best_divisor([dense, sparse, sparse]) == pytest.approx(1.0)


@pytest.mark.parametrize(("count", "divisor"), [(70, 0.7), (180, 1.8)])
def test_a_network_may_be_far_off(count: int, divisor: float) -> None:
    assert best_divisor([[seen(count, 100)]]) == pytest.approx(divisor)


def test_the_score_threshold_parts_true_points_from_false_ones() -> None:
    points = [(10.0, 10.0, 0.8), (30.0, 10.0, 0.6), (200.0, 10.0, 0.4), (300.0, 10.0, 0.35)]
    score, f1 = best_score([[seen(2, 2, points)]])
    assert 0.4 < score <= 0.6
    assert f1 == 1


def test_errors_by_hand() -> None:
    record = NetworkRecord("light", "light", "w.safetensors", "0", density_divisor=0.5, min_score=0.5)
    both = [seen(1.5, 2, [(10.0, 10.0, 0.8)]), seen(1.0, 2, [(30.0, 10.0, 0.4)])]
    row = errors_of("csv", both, record)
    assert (row["mae"], row["rmse"], row["bias"]) == (0.5, 0.71, 0.5)  # 3 and 2 people for 2 and 2
    assert row["f1_8px"] == 0.4  # one of four found, nothing false: precision 1, recall 1/4
    assert (row["kind"], row["pictures"], row["people"], row["relative"]) == ("csv", 2, 2.0, 0.25)


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """A light network of random weights, its record, and two labelled pictures of noise."""
    torch.manual_seed(0)
    save_weights(fresh_light(), tmp_path / "net.safetensors")
    record = NetworkRecord("net", "light", "net.safetensors", hash_file(tmp_path / "net.safetensors"), min_score=0.3)
    write_record(record, tmp_path / "net.toml")
    rng = np.random.default_rng(0)
    for name in "ab":
        pixels = rng.integers(0, 255, (96, 128, 3), dtype=np.uint8)
        pyvips.Image.new_from_array(pixels).write_to_file(str(tmp_path / f"{name}.png"))
    (tmp_path / "heads.csv").write_text("image,x,y\na.png,5,6\na.png,50,60\nb.png,90,80\n")
    return tmp_path


def test_the_command_writes_a_record_that_counts(trained: Path) -> None:
    out = trained / "calibrated"
    arguments = ["networks", "calibrate", str(trained / "net.toml"), "--data", f"csv:{trained}", "--out", str(out)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    record = find_record(str(out / "net.toml"))
    assert result.stdout.splitlines()[-1] == str(out / "net.toml")
    assert record.density_divisor != 1
    assert len(record.fusion_theta or ()) == 16
    assert (record.errors[0]["kind"], record.errors[0]["pictures"]) == ("csv", 2)
    assert record.cost["parameters"] == 4_889_690
    assert record.cost["seconds_per_megapixel"] > 0
    old = read_record(trained / "net.toml")
    assert replace(old, errors=[]) == old  # the old record is as it was
    assert record.sha256 == old.sha256


def test_false_people_ask_for_no_divisor(trained: Path) -> None:
    """Pictures of nobody change the errors of the record, and nothing else: divided by more, it would miss people."""
    (trained / "free").mkdir()
    (trained / "a.png").rename(trained / "free" / "a.png")
    people, free = f"csv:{trained}", f"people-free:{trained / 'free'}"
    (trained / "heads.csv").write_text("image,x,y\nb.png,90,80\n")
    network = str(trained / "net.toml")
    both, alone, nobody = (calibrate(network, CalibrateOptions(data)) for data in ((people, free), (people,), (free,)))
    assert both.density_divisor == alone.density_divisor
    assert nobody.density_divisor == find_record(network).density_divisor
    assert [row["kind"] for row in both.errors] == ["csv", "people-free"]


def test_an_enlarged_look_has_its_heads_in_pixels_of_the_picture(trained: Path) -> None:
    predictor = Predictor(str(trained / "net.toml"), precision="fp32")
    (sample, _) = read(f"csv:{trained}", "train")
    once, enlarged = look(predictor, sample), look(predictor, sample, 1.5)
    assert once.density.shape == (12, 16)
    assert enlarged.density.shape == (18, 24)
    assert enlarged.size_hw == (96, 128)
    assert enlarged.truth_xy.tolist() == once.truth_xy.tolist()
    assert (enlarged.points[:, :2] <= (128, 96)).all()
    assert enlarged.points[:, 0].max() > 64  # not shrunk twice either


@pytest.mark.parametrize("better", [1.0, 1.5])
def test_images_are_enlarged_where_counts_are_better_so(
    trained: Path, monkeypatch: pytest.MonkeyPatch, better: float
) -> None:
    def told(counter: Counter, sample: Sample) -> CalibrationImage:
        wrong = 0 if counter.looking.enlarge == better else 5 * (sample.image.name == "a.png")
        return seen(20 + wrong, 20, [(10.0, 10.0, 0.8)])

    monkeypatch.setattr("gigacount.evaluate.calibrate.count", told)
    record = calibrate(str(trained / "net.toml"), CalibrateOptions((f"csv:{trained}",), precision="fp32"))
    assert record.enlarge == better
    assert record.density_divisor == 1
    assert record.errors[0]["mae"] == 0


def test_errors_are_those_of_counting(trained: Path) -> None:
    network, data = str(trained / "net.toml"), f"csv:{trained}"
    record = calibrate(network, CalibrateOptions((data,), precision="fp32"))
    options = CountOptions(network=network, precision="fp32", looking=StrategyOptions(enlarge=record.enlarge))
    wrong = [
        abs(count_image(sample.image, options).count / record.density_divisor - len(sample.points_xy))
        for sample in read(data, "train")
    ]
    assert record.errors[0]["mae"] == pytest.approx(np.mean(wrong), abs=0.01)


def test_only_the_pictures_of_the_list_are_used(trained: Path) -> None:
    listed = trained / "validation.txt"
    listed.write_text("csv\tb.png\n")
    options = CalibrateOptions((f"csv:{trained}",), held_out=listed, precision="fp32")
    assert calibrate(str(trained / "net.toml"), options).errors[0]["pictures"] == 1
    listed.write_text("csv\tc.png\n")
    with pytest.raises(DataError, match="none of its images"):
        calibrate(str(trained / "net.toml"), options)


def test_kinds_are_called_as_told_and_nobody_is_sought_at_smaller_sizes(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """2 pictures of 1 MP in which a person is seen at their size, half a one at a half of it, none at a quarter."""

    def told(predictor: Predictor, sample: Sample, scale: float = 1.0) -> CalibrationImage:
        return replace(seen({1.0: 1.0, 0.5: 0.5}.get(scale, 0.0), 0), size_hw=(1000, 1000))

    monkeypatch.setattr("gigacount.evaluate.calibrate.look", told)
    (trained / "heads.csv").write_text("image,x,y\na.png,,\nb.png,,\n")
    data = (f"empty squares=csv:{trained}", f"csv:{trained}")
    record = calibrate(str(trained / "net.toml"), CalibrateOptions(data, precision="fp32"))
    assert [row["kind"] for row in record.errors] == ["empty squares", "csv"]
    assert record.errors[0]["per_megapixel"] == [1.0, 2.0, 0.0]
    assert "relative" not in record.errors[0]
