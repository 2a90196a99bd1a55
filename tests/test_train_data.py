"""What training reads: held-out pictures, problems that are listed first, and generated pictures mixed in."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import pyvips
import torch
from command_line import gigacount
from train_fakes import RECIPE, Tiny, add_fakes, batch, options, write_photos

from gigacount.datasets import read
from gigacount.datasets.listed import names_apart, read_list
from gigacount.density import DensityMap
from gigacount.errors import DataError, UsageError
from gigacount.networks import find_record
from gigacount.options import CountOptions, LabelOptions, MixOptions
from gigacount.points import Points
from gigacount.results import CountResult, Located, LocatedHeads
from gigacount.train import train
from gigacount.train.crops import CropMaker
from gigacount.train.processes import Team
from gigacount.train.pseudo_labels import LABELS, agreed, mixed_source, people, scatter
from gigacount.train.sources import open_sources, split_weight
from gigacount.train.validate import Errors, mean_score

ALONE = Team(torch.device("cpu"))


@pytest.fixture(autouse=True)
def _fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    add_fakes(monkeypatch)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("photos"))


@pytest.fixture
def troubled(photos: Path, tmp_path: Path) -> Path:
    """Eight pictures: 1 has a head that is no number, 2 is cut off, 3 has a head outside."""
    folder = tmp_path / "troubled"
    shutil.copytree(photos, folder)
    whole = (folder / "2.png").read_bytes()
    (folder / "2.png").write_bytes(whole[: len(whole) // 2])
    with (folder / "heads.csv").open("a") as file:
        file.write("1.png,nan,5\n3.png,900,5\n")
    return folder


def test_a_share_of_each_set_is_held_out_by_the_seed(photos: Path) -> None:
    def names(seed: int) -> list[str]:
        return [p.sample.name for p in open_sources(options(photos, photos / "x", seed=seed))[0].held_out]

    assert names(0) == names(0)
    assert len(names(0)) == 2
    assert names(0) != names(1) or names(0) != names(2)


def test_the_held_out_pictures_of_an_earlier_run_can_be_held_out_again(photos: Path, tmp_path: Path) -> None:
    listed = tmp_path / "validation.txt"
    listed.write_text("csv\t3.png\ncsv\t5.png\n")
    (source,) = open_sources(options(photos, tmp_path, held_out=listed))
    assert [picture.sample.name for picture in source.held_out] == ["3", "5"]
    assert len(source.train) == 6
    listed.write_text("csv\t3.png\n5.png\n")
    with pytest.raises(DataError, match="line 2"):
        open_sources(options(photos, tmp_path, held_out=listed))


def test_pictures_that_share_their_file_names_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    videos = [tmp_path / "data" / f"train_data/{video}/{frame}.jpg" for video in "ab" for frame in ("001", "002")]
    alone = tmp_path / "data" / "train_data" / "a" / "003.jpg"
    names = names_apart([*videos, alone])
    assert [names[path] for path in (*videos, alone)] == ["a/001.jpg", "a/002.jpg", "b/001.jpg", "b/002.jpg", "003.jpg"]
    listed = tmp_path / "validation.txt"
    listed.write_text(f"fdst\t{names[videos[2]]}\nfdst\t{names[alone]}\n")
    held = read_list(listed)
    assert [held.holds("fdst", path) for path in (*videos, alone)] == [False, False, True, False, True]
    assert not held.holds("csv", alone)
    moved = Path("elsewhere/b/001.jpg")
    assert held.holds("fdst", moved)
    assert names_apart([moved, moved]) == {moved: "elsewhere/b/001.jpg"}


def test_a_run_names_what_it_held_out_so_that_another_holds_out_the_same(photos: Path, tmp_path: Path) -> None:
    """Two folders of pictures with the same names, a fifth of all of them held out."""
    for video in ("a", "b"):
        write_photos(tmp_path / "videos" / video, 5)
    rows = [f"{v}/{line}" for v in "ab" for line in (tmp_path / f"videos/{v}/heads.csv").read_text().split()[1:]]
    for video in ("a", "b"):
        (tmp_path / "videos" / video / "heads.csv").unlink()
    (tmp_path / "videos" / "heads.csv").write_text("\n".join(["image,x,y", *rows]))
    begun = options(tmp_path / "videos", tmp_path / "run", steps=1, validation=0.2)
    train(begun)
    again = open_sources(replace(begun, seed=5, held_out=tmp_path / "run" / "validation.txt"))[0].held_out
    assert [p.sample.image for p in again] == [p.sample.image for p in open_sources(begun)[0].held_out]
    assert len(again) == 2


def test_a_set_is_validated_on_its_own_validation_split(photos: Path, tmp_path: Path) -> None:
    lines = (photos / "heads.csv").read_text().splitlines()
    apart = {split: [line for line in lines[1:] if (line[0] in "05") == (split == "val")] for split in ("train", "val")}
    shutil.copytree(photos, tmp_path / "set", ignore=shutil.ignore_patterns("*.csv"))
    for split, rows in apart.items():
        (tmp_path / "set" / f"{split}.csv").write_text("\n".join([lines[0], *rows]))
    told: list[str] = []
    (source,) = open_sources(options(tmp_path / "set", tmp_path / "run", validation=0.3), told.append)
    assert sorted(picture.sample.name for picture in source.held_out) == ["0", "5"]
    assert len(source.train) == 6
    (source,) = open_sources(options(tmp_path / "set", tmp_path / "run", validation=0.0))
    assert (len(source.train), source.held_out) == (6, [])


def test_what_is_passed_over_is_told(photos: Path, tmp_path: Path) -> None:
    shutil.copytree(photos, tmp_path / "set")
    lines = (photos / "heads.csv").read_text().splitlines()
    rows = [f"{lines[0]},class", *(f"{line},head" for line in lines[1:]), "3.png,5,5,car"]
    (tmp_path / "set" / "heads.csv").write_text("\n".join(rows))
    told: list[str] = []
    open_sources(options(tmp_path / "set", tmp_path), told.append)
    assert any("1 x shape left out" in line for line in told)


def test_weights_of_data_sets() -> None:
    assert split_weight("csv:a@b/c@0.4") == ("csv:a@b/c", 0.4)
    assert split_weight("csv:photos") == ("csv:photos", None)
    with pytest.raises(UsageError, match="above 0"):
        split_weight("csv:photos@0")


def test_all_problems_are_listed_before_training_starts(troubled: Path, tmp_path: Path) -> None:
    told: list[str] = []
    with pytest.raises(DataError, match=r"2 of the problems listed above.*--skip-bad") as raised:
        train(options(troubled, tmp_path / "run"), notify=told.append)
    assert "\n" not in str(raised.value)
    text = "\n".join(told)
    assert "1 x position that is not a number" in text
    assert "head 5 of 5 in 1.png is not at a finite position" in text
    assert "1 x unreadable image" in text
    assert "2.png" in text
    assert "1 x head outside the image" in text
    assert "(900, 5)" in text
    assert not (tmp_path / "run" / "log.jsonl").exists()


def test_bad_pictures_can_be_left_out(troubled: Path, tmp_path: Path) -> None:
    settings = options(troubled, tmp_path / "run", skip_bad=True, validation=0.0, steps=1)
    (source,) = open_sources(settings)
    assert sorted(picture.sample.name for picture in source.train) == ["0", "3", "4", "5", "6", "7"]
    train(settings)
    resumed = options(troubled, tmp_path / "run", skip_bad=True, validation=0.0, steps=2, resume=True)
    train(resumed)


def test_heads_outside_are_told_of_and_harm_nobody(photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "outside"
    shutil.copytree(photos, folder)
    with (folder / "heads.csv").open("a") as file:
        file.write("3.png,900,5\n")
    told: list[str] = []
    train(options(folder, tmp_path / "run", steps=1), notify=told.append)
    assert any("1 x head outside the image" in line for line in told)


def test_a_set_without_labelled_pictures_is_refused(photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    shutil.copytree(photos, folder)
    (folder / "heads.csv").write_text("image,x,y\n")
    with pytest.raises(DataError, match="no labelled images"):
        train(options(folder, tmp_path / "run"))
    (folder / "heads.csv").write_text("image,x\n0.png,5\n")
    told: list[str] = []
    with pytest.raises(DataError, match="1 of the problems listed above"):
        train(options(folder, tmp_path / "other"), notify=told.append)
    assert "no column y" in "".join(told)


def test_a_set_of_which_all_is_held_out_is_refused(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no image is left to train on"):
        train(options(photos, tmp_path / "run", validation=0.99))


# ---- PromptMix


def test_generated_pictures_have_their_share_of_the_crops_and_none_is_held_out(photos: Path, tmp_path: Path) -> None:
    settings = options(photos, tmp_path, mix=MixOptions(str(photos), 0.25))
    real = open_sources(settings)
    generated = mixed_source(settings, real, ALONE, lambda line: None)
    assert generated.held_out == []
    assert len(generated.train) == 8
    assert generated.weight / (generated.weight + real[0].weight) == pytest.approx(0.25)


def test_crops_come_from_generated_pictures_as_often_as_told(photos: Path, tmp_path: Path) -> None:
    """White pictures among black ones with white heads: a quarter of 200 crops, within three standard deviations."""
    white = tmp_path / "white"
    white.mkdir()
    (pyvips.Image.black(100, 100, bands=3) + 255).cast("uchar").write_to_file(str(white / "w.png"))
    (white / "heads.csv").write_text("image,x,y\nw.png,,\n")
    settings = options(photos, tmp_path / "run", mix=MixOptions(str(white), 0.25))
    real = open_sources(settings)
    sources = [*real, mixed_source(settings, real, ALONE, lambda line: None)]
    maker = CropMaker(sources, Tiny(), RECIPE, seed=0)
    crops = torch.cat([batch(maker, step)[0] for step in range(100)])
    generated = int((crops.mean((1, 2, 3)) > 1).sum())
    assert generated == pytest.approx(50, abs=19)


def test_a_run_with_generated_pictures_says_so_in_its_record(photos: Path, tmp_path: Path) -> None:
    made = train(options(photos, tmp_path / "run", steps=1, mix=MixOptions(f"csv:{photos}", 0.5)))
    training = find_record(str(made)).training
    assert (training["mix"], training["mix_ratio"]) == (f"csv:{photos}", 0.5)


def located(cells: np.ndarray, heads: list[tuple[float, float, float]], size_wh: tuple[int, int]) -> CountResult:
    """What a teacher might see: density cells of 8 px, and heads x, y, score."""
    density = DensityMap(cells.astype(np.float32), size_wh, 8)
    array = np.array(heads, np.float32).reshape(-1, 3)
    numbers = np.zeros(len(array), np.int32)
    heads = LocatedHeads(Points(array[:, :2], array[:, 2], numbers, numbers), {}, Located(0, 0, 0))
    return CountResult(Path(), density, [], {}, CountOptions(), {}, "", 1, "", "", {}, heads)


def test_a_teachers_heads_are_as_many_as_it_counts() -> None:
    """Two located heads and two people; three located and two people: the surest two."""
    cells = np.zeros((16, 16))
    cells[2, 3] = cells[9, 10] = 1
    assert people(located(cells, [(28, 20, 0.9), (84, 76, 0.5)], (128, 128))).tolist() == [[28, 20], [84, 76]]
    three = [(28, 20, 0.4), (84, 76, 0.9), (5, 5, 0.2)]
    assert people(located(cells, three, (128, 128))).tolist() == [[84, 76], [28, 20]]


def test_people_that_a_teacher_cannot_tell_apart_are_put_where_its_density_is() -> None:
    """Left a lone head that it locates, in the lower right a dense square of ten with two: eight more go there."""
    cells = np.zeros((16, 16))
    cells[2, 3] = 1
    cells[8:, 8:] = 10 / 64
    heads = people(located(cells, [(28, 20, 0.9), (90, 90, 0.8), (100, 100, 0.8)], (128, 128)))
    assert len(heads) == 11
    assert (heads[3:] >= 64).all()
    assert len({tuple(head) for head in heads.tolist()}) == 11


def test_scattered_points_follow_the_density_and_are_the_same_each_time() -> None:
    cells = np.array([[0.0, 1.0], [0.0, 3.0]])
    points = scatter(cells, 4, 8)
    assert points.tolist() == [[12, 4], [12, 12], [12, 12], [12, 12]]
    assert scatter(cells, 0, 8).shape == scatter(np.zeros((2, 2)), 3, 8).shape == (0, 2)


@pytest.mark.weights
def test_a_teacher_labels_the_generated_pictures(photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "generated"
    folder.mkdir()
    shutil.copy(photos / "0.png", folder / "a.png")
    shutil.copy(photos / "7.png", folder / "b.png")
    told: list[str] = []
    settings = options(photos, tmp_path / "run", steps=1, mix=MixOptions(str(folder), 0.5, ("light",)))
    made = train(settings, notify=told.append)
    assert find_record(str(made)).training["pseudo_labels_from"] == ["light"]
    labels = tmp_path / "run" / LABELS
    assert [sample.name for sample in read(f"csv:{labels}", "all", options=LabelOptions(trust_paths=True))] == [
        "a",
        "b",
    ]
    assert any("light: " in line and "2 images" in line for line in told)
    with pytest.raises(DataError, match="no images to mix in"):
        train(options(photos, tmp_path / "other", mix=MixOptions(str(tmp_path / "run"), 0.5, ("light",))))


def test_several_teachers_must_agree_and_the_one_nearest_their_mean_has_the_say() -> None:
    crowds = [np.full((people, 2), float(people)) for people in (80, 100, 130)]
    chosen = agreed(crowds, 0.5)
    assert chosen is not None
    assert len(chosen) == 100
    assert agreed(crowds, 0.4) is None  # 50 people are more than two fifths of 103
    lone = agreed([np.zeros((0, 2)), np.ones((1, 2))], 0.1)
    assert lone is not None  # by a person they always may
    assert agreed([np.zeros((0, 2)), np.ones((2, 2))], 0.5) is None


@pytest.mark.parametrize("ratio", [0.0, 1.0, -1.0])
def test_a_mix_is_some_and_not_all(ratio: float) -> None:
    with pytest.raises(UsageError, match="mix-ratio"):
        MixOptions("x", ratio)


def test_a_teacher_without_pictures_is_refused(tmp_path: Path) -> None:
    done = gigacount("train", "--data", "csv:x", "--out", tmp_path, "--pseudo-labels-from", "light")
    assert done.returncode == 2
    assert "--pseudo-labels-from needs --mix, which is missing" in done.stderr


def test_checkpoints_are_chosen_by_the_geometric_mean_over_the_sets() -> None:
    """A tenth of 100 people missed, two fifths of 5, and a person seen where nobody is, which counts as a tenth."""
    sets = [
        Errors("a", 3, 100.0, 10.0, 12.0, 0.0),
        Errors("b", 3, 5.0, 2.0, 2.0, 0.0),
        Errors("c", 3, 0.0, 1.0, 1.0, 1.0),
    ]
    assert mean_score(sets) == pytest.approx((0.1 * 0.4 * 0.1) ** (1 / 3))
    assert mean_score([Errors("c", 3, 0.0, 0.0, 0.0, 0.0)]) == pytest.approx(0.01)
