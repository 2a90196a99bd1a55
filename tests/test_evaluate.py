"""Evaluation: files of points read and refused, reports, the seam to what counts, and NWPU-Crowd's golden scores."""

from __future__ import annotations

import csv
import importlib.util
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tiny_datasets import TINY

from gigacount.datasets import read
from gigacount.datasets.entries import Sample
from gigacount.density import DensityMap
from gigacount.errors import DataError, OutputError, UnknownNameError, UsageError
from gigacount.evaluate.pointfiles import read_pairs
from gigacount.evaluate.reports import (
    METRICS,
    CountReport,
    count_samples,
    evaluate_counts,
    evaluate_pairs,
    evaluate_points,
    locate_samples,
    scatter_plot,
    write_count_report,
    write_points_report,
)
from gigacount.metrics.counting import ImageCount
from gigacount.metrics.heads import PredictedPoints
from gigacount.metrics.localization import NwpuScore, RadiusScore
from gigacount.options import EvaluateOptions

Write = Callable[[str, str], Path]
GOLDEN = ["0.7134", "0.6931", "0.7349", "0.6341", "0.6161", "0.6533"]
"""F1, precision and recall of `labelled_crowds` at sigma_l, then at sigma_s."""


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_file(name: str, text: str) -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write_file


def feature(x: float, y: float, **properties: object) -> dict[str, object]:
    geometry = {"type": "Point", "coordinates": [x, y]}
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def collection(*features: object) -> str:
    return json.dumps({"type": "FeatureCollection", "features": features})


def labelled_crowds() -> tuple[str, str]:
    """Truth and predictions of 30 images, as NWPU-Crowd's files: heads of 4 to 120 px, some missed, some false."""
    rng = np.random.default_rng(7)
    truth, found = [], []
    for image in range(30):
        n = 0 if image % 10 == 0 else int(rng.integers(1, 60))
        heads, sides = rng.integers(0, 600, (n, 2)), rng.integers(4, 120, (n, 2))
        s, large = sides.min(axis=1) // 2, (np.hypot(*sides.T) / 2).astype(int)
        classes = np.searchsorted((10, 100, 1000, 10_000, 100_000), sides.prod(axis=1))
        lines = np.column_stack([heads, s, large, classes]).ravel() if n else []
        truth.append(" ".join(map(str, [image, n, *lines])))
        points = np.concatenate([heads[rng.random(n) < 0.7] + 3, rng.integers(0, 600, (rng.integers(0, 20), 2))])
        found.append(" ".join(map(str, [image, len(points), *points.ravel()])))
    return "\n".join(truth), "\n".join(found)


def hits_by_the_book(truth: str, found: str, column: int) -> tuple[int, int, int]:
    """Matches, heads and predictions by the NWPU protocol, written from its description: augmenting paths, no trees."""
    matched = heads = predictions = 0
    for line, other in zip(truth.splitlines(), found.splitlines(), strict=True):
        values = np.array(line.split()[2:], float).reshape(-1, 5)
        points = np.array(other.split()[2:], float).reshape(-1, 2)
        near = [[i for i, p in enumerate(points) if math.dist(p, v[:2]) <= v[column]] for v in values]
        owner: dict[int, int] = {}

        def place(head: int, seen: set[int]) -> bool:
            for point in set(near[head]) - seen:  # noqa: B023
                seen.add(point)
                if point not in owner or place(owner[point], seen):  # noqa: B023
                    owner[point] = head  # noqa: B023
                    return True
            return False

        matched += sum(place(head, set()) for head in range(len(values)))
        heads, predictions = heads + len(values), predictions + len(points)
    return matched, heads, predictions


class TestGolden:
    """Scores by NWPU-Crowd's protocol of a small truth made here, against a second implementation, and to the digit.

    The published predictions of RAZ_loc on NWPU-Crowd's validation set score as that data set's table has them: F1
    0.6249, precision 0.6929, recall 0.5690.
    """

    def test_scores(self, write: Write) -> None:
        truth, found = labelled_crowds()
        report = evaluate_points(write("t.txt", truth), write("p.txt", found), EvaluateOptions(metrics=("nwpu",)))
        score = report.metrics["nwpu"]
        assert isinstance(score, NwpuScore)
        for radius, column in ((score.sigma_s, 2), (score.sigma_l, 3)):
            matched, heads, predictions = hits_by_the_book(truth, found, column)
            assert radius.score.true_positives == matched
            assert radius.score.precision == matched / predictions
            assert radius.score.recall == matched / heads
            assert radius.score.f1 == pytest.approx(2 * matched / (heads + predictions))
            assert radius.classes is not None
            assert sum(one.heads for one in radius.classes) == heads == report.heads
            assert sum(one.matched for one in radius.classes) == matched
        assert report.images == 30
        assert report.counting.levels[0].images == 3
        assert [
            f"{value:.4f}"
            for one in (score.sigma_l.score, score.sigma_s.score)
            for value in (one.f1, one.precision, one.recall)
        ] == GOLDEN

    def test_every_metric_of_them(self, write: Write) -> None:
        truth, found = labelled_crowds()
        report = evaluate_points(write("t.txt", truth), write("p.txt", found))
        assert list(report.metrics) == list(METRICS)


class TestPointFiles:
    TRUTH = "7 2 10 10 3 5 1 90 90 3 5 2\n8 0\n"
    FOUND = "7 1 12 10\n8 0\n"

    def score(self, truth: Path, found: Path, **options: object) -> tuple[int, int, int]:
        report = evaluate_points(truth, found, EvaluateOptions(metrics=("fixed",), radii=(4,), **options))  # type: ignore[arg-type]
        (one,) = report.metrics["fixed"]  # type: ignore[misc]
        assert isinstance(one, RadiusScore)
        return one.score.true_positives, one.score.false_positives, one.score.false_negatives

    def test_nwpu(self, write: Write) -> None:
        truth, found = write("t.txt", self.TRUTH), write("p.txt", self.FOUND)
        assert self.score(truth, found) == (1, 0, 1)
        (first, second) = read_pairs(truth, found)
        assert (first.name, len(first.truth), len(second.truth)) == ("7", 2, 0)
        assert first.truth.sigmas is not None
        assert [sigma.tolist() for sigma in first.truth.sigmas] == [[3, 3], [5, 5]]
        assert first.truth.classes is not None
        assert first.truth.classes.tolist() == [1, 2]

    def test_points_alone_are_a_truth_too(self, write: Write) -> None:
        report = evaluate_points(write("t.txt", "7 1 10 10\n"), write("p.txt", "7 1 10 10\n"))
        assert "nwpu" not in report.metrics
        assert any("no head sizes" in note for note in report.notes)
        with pytest.raises(DataError, match="no head sizes"):
            evaluate_points(write("t.txt", "7 1 1 1\n"), write("p.txt", "7 0\n"), EvaluateOptions(metrics=("nwpu",)))

    def test_csv(self, write: Write) -> None:
        truth = write("t.csv", "image,x,y,width,height\na.jpg,10,10,6,8\nempty.jpg,,,,\na.jpg,90,90,6,8\n")
        found = write("p.csv", "image;x;y;score;note\na.jpg;12;10;.5;hello\nempty.jpg\n")
        assert self.score(truth, found) == (1, 0, 1)
        first, _ = read_pairs(truth, found)
        assert first.predicted.scores is not None
        assert first.predicted.scores.tolist() == [0.5]
        assert first.truth.sigmas is not None
        assert [sigma.tolist() for sigma in first.truth.sigmas] == [[3, 3], [5, 5]]

    def test_boxes_by_their_sides(self, write: Write) -> None:
        truth = write("t.csv", "image,x,y,left,top,right,bottom\na,10,10,7,6,13,14\n")
        ((first),) = read_pairs(truth, write("p.csv", "image,x,y\na,1,1\n"))
        assert first.truth.sigmas is not None
        assert [sigma.tolist() for sigma in first.truth.sigmas] == [[3], [5]]

    def test_files_of_one_picture_need_no_name(self, write: Write) -> None:
        truth = write("t.csv", "image,x,y\na.jpg,10,10\n")
        found = write("p.csv", 'x,y,score,level,window\n10,11,.9,2,"0,0,5,5"\n')
        assert self.score(truth, found) == (1, 0, 0)
        assert self.score(truth, write("none.csv", "x,y,score\n")) == (0, 0, 1)
        assert self.score(truth, write("p.geojson", collection(feature(10, 11)))) == (1, 0, 0)

    def test_coco(self, write: Write) -> None:
        """What `localize --out p.json` writes, and truth with boxes; a bicycle is none of them."""
        categories = [{"id": 1, "name": "head"}, {"id": 2, "name": "bicycle"}]

        def coco(*annotations: dict[str, object]) -> str:
            images = [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "b.jpg"}]
            named = [{"image_id": 1, "category_id": 1, **annotation} for annotation in annotations]
            return json.dumps({"images": images, "annotations": named, "categories": categories})

        box = {"bbox": [8, 8, 4, 6]}
        truth = write("t.json", coco(box, {**box, "category_id": 2}, {"bbox": [50, 50, 4, 6]}))
        found = write("p.json", coco({"bbox": [10, 11, 0, 0], "score": 0.5}, {"bbox": [90, 90, 0, 0], "score": 0.25}))
        told: list[str] = []
        first, second = read_pairs(truth, found, notify=told.append)
        assert first.truth.points_xy.tolist() == [[10, 11], [52, 53]]
        assert first.truth.sigma_s is not None
        assert first.truth.sigma_s.tolist() == [2, 2]
        assert first.predicted.scores is not None
        assert first.predicted.scores.tolist() == [0.5, 0.25]
        assert (second.name, len(second.truth), len(second.predicted)) == ("b.jpg", 0, 0)
        assert told == [f"{truth}: points left out: 1 x class 'bicycle'"]

    def test_classes_decide(self, write: Write) -> None:
        classes = {"classification": {"name": "Bicycle"}}, {"classification": {"name": "Person"}}
        features = [{**feature(10 * i, 10), "properties": named} for i, named in enumerate(classes)]
        told: list[str] = []
        (pair,) = read_pairs(
            write("t.geojson", collection(*features)), write("p.csv", "x,y\n1,2\n"), notify=told.append
        )
        assert pair.truth.points_xy.tolist() == [[10, 10]]
        assert len(told) == 1

    def test_geojson(self, write: Write) -> None:
        several = {"type": "MultiPoint", "coordinates": [[10, 10], [90, 90, 0]]}
        nobody = {"type": "Feature", "geometry": None, "properties": {"image": "b"}}
        truth = write(
            "t.geojson",
            collection(
                {"type": "Feature", "geometry": several, "properties": {"image": "a", "sigma_s": 1, "sigma_l": 2}},
                nobody,
            ),
        )
        found = write(
            "p.geojson",
            collection(
                feature(12, 10, image="a", measurements={"score": 0.5}),
                feature(0, 0, image="a", measurements=[{"name": "score", "value": 0.25}]),
                nobody,
            ),
        )
        assert self.score(truth, found) == (1, 1, 1)
        first, second = read_pairs(truth, found)
        assert first.predicted.scores is not None
        assert first.predicted.scores.tolist() == [0.5, 0.25]
        assert first.truth.sigmas is not None
        assert len(second.truth) == len(second.predicted) == 0

    def test_the_format_can_be_told(self, write: Write) -> None:
        truth, found = write("truth", self.TRUTH), write("found", self.FOUND)
        assert self.score(truth, found, form="nwpu") == (1, 0, 1)
        with pytest.raises(DataError, match="its suffix tells no format; name one of: nwpu, csv, geojson"):
            evaluate_points(truth, found)
        with pytest.raises(UnknownNameError, match="no point format 'xml'; choose one of: nwpu, csv, geojson"):
            evaluate_points(truth, found, EvaluateOptions(form="xml"))

    def test_mixed_formats(self, write: Write) -> None:
        assert self.score(write("t.txt", self.TRUTH), write("p.csv", "image,x,y\n7,12,10\n8,,\n")) == (1, 0, 1)

    @pytest.mark.parametrize(
        ("name", "text", "complaint"),
        [
            ("p.txt", "7 1 12 10\n8 x\n", r"p\.txt, line 2: '8 x' does not begin with an image's id"),
            ("p.txt", "7\n", "line 1: '7' does not begin"),
            ("p.txt", "7 -1\n", "line 1: '7 -1' does not begin"),
            ("p.txt", "7 2 12 10\n", "line 1: 2 numbers do not make 2 points of 2 or 5 numbers each"),
            ("p.txt", "7 0 12 10\n", "line 1: 2 numbers do not make 0 points"),
            ("p.txt", "6 1 1 1\n\n7 1 1 1 3 5 2\n", "line 3: 5 numbers do not make 1 points of 2 numbers each"),
            ("p.txt", "7 1 12 ten\n", "line 1: not a number .*ten"),
            ("p.txt", "7 1 12 nan\n", "line 1: a value is not finite"),
            ("p.txt", "7 1 1 1\n8 0\n7 1 2 2\n", "line 3: image '7' has a line already"),
            ("t.txt", "7 1 1 1 -3 5 2\n", "line 1: sigma_s is negative"),
            ("t.txt", "7 1 1 1 3 5 6\n", "line 1: size_class is none of 0, 1, ..., 5"),
            ("p.csv", "", "line 1: no column x or y; the first line must name them, such as image,x,y"),
            ("p.csv", "image,y\n", "line 1: no column x;"),
            ("p.csv", "image,x,y\n7,1,1\n7,1,one\n", r"p\.csv, line 3: '1,one' is not a number for each of x,y"),
            ("p.csv", "image,x,y\n7,1\n", "line 2: '1,' is not a number"),
            ("p.csv", "image,x,y\n7,1,1\n7,1,inf\n", "line 3: a value is not finite"),
            ("p.csv", "image,x,y\n,1,1\n", "line 2: no image is named"),
            ("p.csv", "image,x,y,score\n7,1,1,\n", "line 2: '1,1,' is not a number for each of x,y,score"),
            ("p.csv", "image,x,y\n7,1,1\n7," + "1" * 140_000 + ",1\n", "line 3: not CSV"),
            ("p.geojson", "{", "line 1: not JSON"),
            ("p.geojson", "{}", "not a GeoJSON FeatureCollection"),
            ("p.geojson", "5", "not a GeoJSON FeatureCollection"),
            (
                "p.geojson",
                collection(feature(1, 1), {"geometry": {"type": "Polygon", "coordinates": []}}),
                "feature 2: not a point in GeoJSON",
            ),
            ("p.geojson", collection(feature(1, 1, image=7), feature(1, 1)), "feature 2: no image is named"),
            (
                "p.geojson",
                collection(feature(1, 1, score=1), feature(1, 1)),
                "feature 2: no number in one of its properties score",
            ),
            (
                "p.geojson",
                collection({"geometry": {"type": "Point", "coordinates": ["a", 1]}}),
                "feature 1: not a point in GeoJSON",
            ),
            ("p.geojson", collection("text"), "feature 1: not a point in GeoJSON"),
            (
                "p.geojson",
                collection({"geometry": {"type": "Point", "coordinates": [1]}}),
                "feature 1: not a point in GeoJSON",
            ),
            ("p.txt", "a " + "9" * 5000, r"p\.txt: not in the expected form \(Exceeds the limit"),
            ("p.geojson", collection(feature(1, float("nan"))), "feature 1: a value is not finite"),
        ],
    )
    def test_malformed_lines_are_named_in_one_line(self, write: Write, name: str, text: str, complaint: str) -> None:
        good = write("good.txt", "7 1 1 1\n")
        bad = write(name, text)
        files = (bad, good) if name.startswith("t") else (good, bad)
        with pytest.raises(DataError, match=complaint) as raised:
            read_pairs(*files)
        assert str(bad) in str(raised.value)
        assert "\n" not in str(raised.value)

    def test_missing_and_binary_files(self, write: Write, tmp_path: Path) -> None:
        good = write("good.txt", "7 0\n")
        with pytest.raises(DataError, match=r"absent\.txt: cannot be read"):
            read_pairs(tmp_path / "absent.txt", good)
        (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
        with pytest.raises(DataError, match="not UTF-8 text"):
            read_pairs(good, tmp_path / "binary.txt")

    def test_unequal_pictures_are_named(self, write: Write) -> None:
        truth = write("t.txt", "".join(f"{i} 0\n" for i in range(1, 9)))
        with pytest.raises(DataError, match=r"p\.txt: lacks 7 of the 8 images in .*t\.txt: 2, 3, 4, 5, 6 and 2 more;"):
            read_pairs(truth, write("p.txt", "1 0\n"))
        with pytest.raises(DataError, match=r"t\.txt: lacks 1 of the 9 images in .*p\.txt: 9;"):
            read_pairs(truth, write("p.txt", "".join(f"{i} 0\n" for i in range(1, 10))))

    def test_pictures_without_names_among_several_are_refused(self, write: Write) -> None:
        truth = write("t.txt", "1 0\n2 0\n")
        with pytest.raises(DataError, match=r"p\.csv: does not name its images, and .*t\.txt holds 2 of them"):
            read_pairs(truth, write("p.csv", "x,y\n1,1\n"))

    def test_no_picture_is_no_truth(self, write: Write) -> None:
        with pytest.raises(DataError, match="no image in it"):
            read_pairs(write("t.txt", "\n"), write("p.txt", ""))


class TestPoints:
    def test_all_metrics_by_default(self, write: Write) -> None:
        report = evaluate_points(write("t.txt", TestPointFiles.TRUTH), write("p.txt", TestPointFiles.FOUND))
        assert list(report.metrics) == list(METRICS)
        assert (report.heads, report.predictions, report.counting.mae) == (2, 1, 0.5)
        assert any("have no scores" in note for note in report.notes)
        assert any("no head of size A0, A3, A4, A5" in note for note in report.notes)
        json.dumps(report.as_dict(), allow_nan=False)

    def test_nobody_at_all_is_explained(self, write: Write) -> None:
        report = evaluate_points(write("t.txt", "1 0\n2 0\n"), write("p.txt", "1 0\n2 0\n"))
        assert any("no head in the truth" in note for note in report.notes)
        assert any("no predicted point" in note for note in report.notes)
        json.dumps(report.as_dict(), allow_nan=False)

    def test_unknown_metric_is_refused_before_files_are_read(self) -> None:
        with pytest.raises(UnknownNameError, match="no metric 'f1'; choose one of: nwpu, fixed, qnrf, raz, nap"):
            evaluate_points(Path("absent"), Path("absent"), EvaluateOptions(metrics=("f1",)))

    def test_a_locator_is_measured_on_samples(self) -> None:
        heads = np.array([[10.0, 10], [30, 30]])
        boxed = Sample(Path("a.jpg"), heads, np.hstack([heads - 4, heads + 4]))
        empty = Sample(Path("b.jpg"), np.zeros((0, 2)))  # no boxes, and none needed
        pairs = list(locate_samples([boxed, empty], lambda sample: PredictedPoints(sample.points_xy + 1)))
        score = evaluate_pairs(pairs).metrics["nwpu"]
        assert isinstance(score, NwpuScore)
        assert score.sigma_s.score.f1 == 1

    def test_pictures_of_one_file_name_stay_apart(self, tmp_path: Path) -> None:
        """Two frames 001.jpg: the file of predictions is read back as two pictures."""
        samples = [Sample(tmp_path / video / "001.jpg", np.full((i + 1, 2), 9.0)) for i, video in enumerate("ab")]
        pairs = list(locate_samples(samples, lambda s: PredictedPoints(s.points_xy, np.ones(len(s.points_xy)))))
        assert [pair.name for pair in pairs] == ["a/001.jpg", "b/001.jpg"]
        write_points_report(evaluate_pairs(pairs), pairs, tmp_path / "out")
        predictions = tmp_path / "out" / "predictions.csv"
        again = read_pairs(predictions, predictions)
        assert [(pair.name, len(pair.predicted)) for pair in again] == [("a/001.jpg", 1), ("b/001.jpg", 2)]

    @pytest.mark.parametrize(
        "wrong",
        [
            {"radii": ()},
            {"radii": (0.0,)},
            {"sigmas": (float("nan"),)},
            {"metrics": ()},
        ],
    )
    def test_options_that_make_no_sense(self, wrong: dict[str, object]) -> None:
        with pytest.raises(UsageError):
            EvaluateOptions(**wrong)  # type: ignore[arg-type]


def counter(sample: Sample) -> DensityMap:
    """Puts all people of a sample, and one more, into the first cell of its map."""
    density = DensityMap.empty((80, 80), 8)
    density.cells[0, 0] = len(sample.points_xy) + 1
    return density


@pytest.fixture
def report() -> CountReport:
    samples = [Sample(Path("one/1.jpg"), np.array([[5.0, 5], [75, 75]])), Sample(Path("two/1.jpg"), np.zeros((0, 2)))]
    return evaluate_counts(count_samples(samples, counter))


class TestCounts:
    def test_a_counter_is_measured_on_samples(self, report: CountReport) -> None:
        assert [(image.name, image.truth, image.estimate) for image in report.images] == [
            (str(Path("one/1.jpg")), 2, 3),
            (str(Path("two/1.jpg")), 0, 1),
        ]
        metrics = report.metrics
        assert (metrics.mae, metrics.bias) == (1, 1)
        # Estimated at the top left: 3; true: 1 there, 1 at the bottom right. Then 1 too many in the empty picture.
        assert metrics.game == ((1 + 1) / 2, (3 + 1) / 2, (3 + 1) / 2, (3 + 1) / 2)
        assert metrics.grid_error == 1.5

    def test_a_picture_counted_twice_is_named(self) -> None:
        with pytest.raises(DataError, match="such as 'a'"):
            evaluate_counts([ImageCount("a", 1, 1), ImageCount("b", 1, 1), ImageCount("a", 1, 2)])

    def test_the_folder_of_an_evaluation(self, report: CountReport, tmp_path: Path) -> None:
        write_count_report(report, tmp_path / "out")
        with (tmp_path / "out" / "images.csv").open(newline="") as file:
            first, second = csv.DictReader(file)
        assert (first["truth"], first["estimate"], first["error"], first["nae"]) == ("2", "3.0", "1.0", "0.5")
        assert (first["level"], first["game_0"], first["game_3"], first["grid_error"]) == ("S1", "1.0", "3.0", "1.5")
        assert (second["nae"], second["grid_error"], second["level"]) == ("", "", "S0")
        content = json.loads((tmp_path / "out" / "report.json").read_text())
        assert content["metrics"]["mae"] == 1
        assert content["images"][1]["nae"] is None
        if importlib.util.find_spec("matplotlib"):
            assert (tmp_path / "out" / "scatter.png").stat().st_size > 1000

    def test_plot_of_a_wide_range(self) -> None:
        pytest.importorskip("matplotlib")
        counts = [ImageCount(str(i), g, p) for i, (g, p) in enumerate([(0, 2), (3, 3), (5, 4), (9000, 7000)])]
        (axes,) = scatter_plot(evaluate_counts(counts)).axes
        assert axes.get_xscale() == axes.get_yscale() == "symlog"

    def test_without_matplotlib(self, report: CountReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("gigacount.evaluate.reports.find_spec", lambda name: None)
        told: list[str] = []
        write_count_report(report, tmp_path / "out", told.append)
        assert "pip install gigacount[plots]" in told[0]
        assert {path.name for path in (tmp_path / "out").iterdir()} == {"report.json", "images.csv"}

    def test_no_place_to_write(self, report: CountReport, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(OutputError, match="cannot write"):
            write_count_report(report, tmp_path / "file" / "out")


def test_worldexpo_is_counted_in_its_region_of_interest(tmp_path: Path) -> None:
    """The published protocol: heads and people outside each scene's region do not count. Here it is the upper half."""
    samples = list(read(f"worldexpo:{TINY['worldexpo'](tmp_path / 'set')}", "test"))
    assert samples[0].region_xy is not None
    assert samples[0].region_xy.tolist() == [[0, 0], [64, 0], [64, 24], [0, 24]]

    def estimate(sample: Sample) -> DensityMap:
        density = DensityMap.empty((64, 48))
        density.cells[:] = 1  # 8 x 6 cells
        return density

    (counted, *_) = count_samples(samples, estimate)
    assert counted.estimate == pytest.approx(24)
    assert counted.truth == (samples[0].points_xy[:, 1] < 24).sum()
    assert counted.truth_grid is not None
    assert counted.truth_grid.sum() == counted.truth
