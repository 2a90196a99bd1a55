"""Every reader on its tiny generated copy, on malformed labels, and on the real folders where we have them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny_datasets as tiny
from tiny_datasets import TINY, label_files

from gigacount.datasets import ALL, DATASETS, Sample, parse_spec, read
from gigacount.datasets.entries import ASSUMED, PASSED_OVER
from gigacount.errors import DataError, EntryError, NotFoundError, UnknownNameError, UsageError

SHARED = Path(__file__).parents[2] / "shared" / "data"
WITH_BOXES = {"panda", "nwpu", "jhu", "fdst", "csv", "coco", "yolo", "labelme", "cvat"}
LABELLED = sorted(set(TINY) - {"people-free"})


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: write(tmp_path_factory.mktemp(name)) for name, write in TINY.items()}


@pytest.fixture
def copy(copies: dict[str, Path], tmp_path: Path, request: pytest.FixtureRequest) -> tuple[str, Path]:
    """A copy of a data set that the test may damage."""
    name: str = request.param
    return name, Path(shutil.copytree(copies[name], tmp_path / name))


def every(names: list[str]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("copy", names, indirect=True, ids=names)


def collect(name: str, root: Path, split: str = ALL) -> tuple[list[Sample], list[EntryError]]:
    errors: list[EntryError] = []
    return list(read(f"{name}:{root}", split, errors.append)), errors


# --- the tiny copies ---------------------------------------------------------------------------------------------


def test_every_data_set_has_a_tiny_copy():
    assert set(TINY) == set(DATASETS)


@pytest.mark.parametrize("name", LABELLED)
def test_splits_have_their_pictures_and_heads(copies, name):
    held_out = "val" if name == "nwpu" else "test"  # NWPU's test labels are not public
    for split, truth in (("train", tiny.TRAIN), (held_out, tiny.TEST)):
        samples = [sample for sample in read(f"{name}:{copies[name]}", split) if "000002" not in sample.name]
        assert len(samples) == len(truth)
        for sample, key in zip(samples, truth, strict=True):
            assert sample.image.is_file()
            assert sample.labels is not None
            assert sample.labels.is_file()
            assert sample.points_xy.dtype == np.float64
            np.testing.assert_allclose(sample.points_xy, tiny.array(key), atol=1e-9)
            assert sample.size_wh in (None, tiny.SIZE_WH)
            if name in WITH_BOXES:
                assert sample.boxes_xyxy is not None
                np.testing.assert_allclose(sample.boxes_xyxy, np.reshape(tiny.BOXES[key], (-1, 4)), atol=1e-9)
            else:
                assert sample.boxes_xyxy is None or len(sample.boxes_xyxy) == 0


@pytest.mark.parametrize("name", LABELLED)
def test_all_splits_are_each_picture_once(copies, name):
    samples, errors = collect(name, copies[name])
    assert len({sample.image for sample in samples}) == len(samples) == 3
    assert sum(len(sample.points_xy) for sample in samples) == 4
    absent = [
        error.kind for error in errors if name != "mall" and error.kind != PASSED_OVER
    ]  # of its 801 frames only 3 have a picture
    assert absent == {"nwpu": ["image without labels"]}.get(name, [])


def test_people_free_pictures_have_no_heads(copies):
    samples = list(read(f"people-free:{copies['people-free']}"))
    assert [sample.name for sample in samples] == ["0", "1", "2"]
    assert all(sample.points_xy.shape == (0, 2) for sample in samples)


@every(LABELLED)
def test_readers_are_lazy(copy):
    name, root = copy
    if len(label_files(root)) < 3:
        pytest.skip("one label file for all pictures")
    samples = read(f"{name}:{root}", "train")
    for path in label_files(root):
        path.write_bytes(b"damaged")
    with pytest.raises(EntryError):
        next(samples)  # nothing was read before it was asked for


# --- what is missing ---------------------------------------------------------------------------------------------


def test_specs():
    assert parse_spec(f"csv:{__file__}") == ("csv", Path(__file__))
    with pytest.raises(UsageError, match="write NAME:PATH"):
        parse_spec("somewhere")
    with pytest.raises(UnknownNameError, match="there is no data set 'shanghai'; choose one of: panda, shanghaitech-a"):
        parse_spec("shanghai:somewhere")
    with pytest.raises(NotFoundError, match="mall: there is no nowhere"):
        parse_spec("mall:nowhere")


@pytest.mark.parametrize("name", sorted(DATASETS))
def test_an_empty_folder_says_where_it_looked(tmp_path, name):
    with pytest.raises(DataError) as caught:
        list(read(f"{name}:{tmp_path}"))
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", sorted(set(LABELLED) - {"geojson"}))
def test_an_unknown_split_is_an_error(copies, name):
    with pytest.raises(NotFoundError, match="no 'exam' split"):
        list(read(f"{name}:{copies[name]}", "exam"))


@every(["shanghaitech-a", "ucf-qnrf", "jhu", "nwpu", "fdst", "beijing-brt", "geojson", "yolo", "labelme"])
def test_missing_labels_and_missing_pictures(copy):
    name, root = copy
    first = next(read(f"{name}:{root}", "train"))
    last = list(read(f"{name}:{root}", "train"))[-1]
    first.labels.unlink()
    last.image.unlink()
    samples, errors = collect(name, root, "train")
    errors = [error for error in errors if error.kind not in (ASSUMED, PASSED_OVER)]
    assert len(samples) == 0
    assert [error.kind for error in errors[:2]] == ["image without labels", "labels without an image"]
    assert str(first.image) in str(errors[0])
    assert str(last.labels) in str(errors[1])
    with pytest.raises(EntryError, match=first.image.name):
        list(read(f"{name}:{root}", "train"))


@every(["csv", "coco", "cvat", "panda"])
def test_pictures_that_a_label_file_names_but_are_missing(copy):
    name, root = copy
    first = next(read(f"{name}:{root}", "train"))
    first.image.unlink()
    assert len(list(read(f"{name}:{root}", "train"))) == 1  # labels without an image harm nobody
    errors = [error for error in collect(name, root, "train")[1] if error.kind != PASSED_OVER]
    assert [error.kind for error in errors] == ["labels without an image"]
    assert first.image.name in str(errors[0])


@every(["csv", "coco", "cvat"])
def test_pictures_that_no_label_file_names(copy):
    name, root = copy
    extra = tiny.picture(next(read(f"{name}:{root}", "train")).image.with_name("extra.jpg"), 9)
    errors = [error for error in collect(name, root)[1] if error.kind != PASSED_OVER]
    assert [(error.kind, str(extra) in str(error)) for error in errors] == [("image without labels", True)]


# --- particulars -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", ["part_A", "part_A_final"])
@pytest.mark.parametrize("truth", ["ground-truth", "ground_truth"])
def test_shanghaitech_spellings(tmp_path, part, truth):
    root = tiny.shanghaitech(part, truth, tmp_path)
    for path in (root, root / part):
        assert [sample.name for sample in read(f"shanghaitech-a:{path}")] == ["IMG_1", "IMG_3"]
    with pytest.raises(NotFoundError, match="is not part B of ShanghaiTech"):
        list(read(f"shanghaitech-b:{root / part}"))
    with pytest.raises(NotFoundError, match="no part B of ShanghaiTech: looked for"):
        list(read(f"shanghaitech-b:{root}"))


def test_pictures_come_in_natural_order(tmp_path):
    for number in (10, 9, 1, 100):
        tiny.picture(tmp_path / f"photo{number}.jpg", number)
    assert [s.name for s in read(f"people-free:{tmp_path}")] == ["photo1", "photo9", "photo10", "photo100"]


def test_ucf_cc_50_has_five_folds(tmp_path):
    root = tiny.ucf_cc_50(tmp_path)
    assert [s.name for s in read(f"ucf-cc-50:{root}", "test-2")] == ["11"]
    assert [s.name for s in read(f"ucf-cc-50:{root}", "train-2")] == ["2", "42"]
    assert [s.name for s in read(f"ucf-cc-50:{root}", "test-5")] == ["42"]


@pytest.mark.parametrize("kind", ["person", "box", "point"])
def test_panda_annotation_kinds(tmp_path, kind):
    root = tiny.panda(kind, tmp_path)
    samples = list(read(f"panda:{root}", "all"))
    for sample, key in zip(samples, tiny.ORDER, strict=True):
        np.testing.assert_allclose(sample.points_xy, tiny.array(key))
        assert (sample.boxes_xyxy is None) == (kind == "point" and key != "none")
        assert sample.size_wh == tiny.SIZE_WH


def test_panda_crowd_is_split_30_6_9(tmp_path):
    scenes = {"Graduation": 15, "Marathon": 15, "Square": 15}
    names = [f"{scene}/{scene.lower()}_{i:02d}.jpg" for scene, many in scenes.items() for i in range(1, many + 1)]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    content = {name: {"image size": {"width": 10, "height": 10}, "objects list": []} for name in reversed(names)}
    tiny.dump(tmp_path / "head_bbox_annotations.json", content)
    sides = ("train", "val", "test")
    splits = {s: [x.image.relative_to(tmp_path).as_posix() for x in read(f"panda:{tmp_path}", s)] for s in sides}
    assert {split: len(chosen) for split, chosen in splits.items()} == {"train": 30, "val": 6, "test": 9}
    assert sorted(name for chosen in splits.values() for name in chosen) == names
    for scene in scenes:
        assert [sum(n.startswith(scene) for n in splits[s]) for s in sides] == [10, 2, 3]
    assert splits["test"][:3] == [
        "Graduation/graduation_05.jpg",
        "Graduation/graduation_10.jpg",
        "Graduation/graduation_15.jpg",
    ]
    assert splits["val"][:2] == ["Graduation/graduation_03.jpg", "Graduation/graduation_13.jpg"]


def test_panda_of_another_size_asks_for_a_split(tmp_path):
    root = tiny.panda("box", tmp_path)
    (root / "train.txt").unlink()
    (root / "test.txt").unlink()
    with pytest.raises(NotFoundError, match=r"known for the 45 images of PANDA-Crowd, not for these 3; list"):
        list(read(f"panda:{root}"))


def test_csv_takes_semicolons_capitals_and_a_byte_order_mark(tmp_path):
    tiny.picture(tmp_path / "a.jpg", 1)
    (tmp_path / "heads.csv").write_text("Image; X; Y; note\na.jpg; 1.5; 2; left\n\na.jpg; 3; 4; right\n", "utf-8-sig")
    for spec in (f"csv:{tmp_path}", f"csv:{tmp_path / 'heads.csv'}"):
        (sample,) = read(spec, "test")
        assert sample.points_xy.tolist() == [[1.5, 2], [3, 4]]


def test_a_label_file_for_each_image_is_a_data_set(tmp_path):
    for name, heads in (("a", 1), ("b", 3)):
        tiny.picture(tmp_path / f"{name}.jpg", heads)
        (tmp_path / f"{name}.csv").write_text("image,x,y\n" + f"{name}.jpg,5,6\n" * heads)
    assert [len(sample.points_xy) for sample in read(f"csv:{tmp_path}", "train")] == [1, 3]
    (tmp_path / "c.csv").write_text("image,x,y\n")
    with pytest.raises(NotFoundError, match="several label files"):
        list(read(f"csv:{tmp_path}", "train"))


def test_several_undivided_label_files_are_ambiguous(tmp_path):
    for name in ("monday", "tuesday"):
        (tmp_path / f"{name}.csv").write_text("image,x,y\n")
    with pytest.raises(NotFoundError, match=r"several label files in .* \(monday.csv, tuesday.csv\)"):
        list(read(f"csv:{tmp_path}"))


def test_yolo_without_class_names_takes_class_0_only(tmp_path):
    root = tiny.yolo(tmp_path)
    (root / "classes.txt").unlink()
    with pytest.raises(EntryError, match=r"many.txt, line 2: class 1, but no data.yaml or classes.txt says"):
        list(read(f"yolo:{root}"))
    for path in root.rglob("*.txt"):
        path.write_text("0 0.5 0.5 0.25 0.25\n")
    (sample, _) = read(f"yolo:{root}")
    assert sample.points_xy.tolist() == [[32, 24]]
    assert sample.boxes_xyxy is not None
    assert sample.boxes_xyxy.tolist() == [[24, 18, 40, 30]]


def test_classes_that_are_not_people_are_refused(tmp_path):
    root = tiny.labelme(tmp_path / "labelme")
    for path in root.rglob("*.json"):
        path.write_text(path.read_text().replace('"head"', '"noggin"'))
    with pytest.raises(EntryError, match="no class known to be people among 'noggin', 'tree'; rename"):
        list(read(f"labelme:{root}"))
    root = tiny.coco(tmp_path / "coco")
    for path in root.rglob("*.json"):
        path.write_text(path.read_text().replace('"Head"', '"cat"').replace('"person"', '"car"'))
    with pytest.raises(EntryError, match="among 'car', 'cat', 'dog'"):
        list(read(f"coco:{root}"))


def test_labelme_shapes(tmp_path):
    tiny.picture(tmp_path / "a.jpg", 1)
    shapes = [
        {"label": "Person", "shape_type": "point", "points": [[1, 2]]},
        {"label": "Person", "shape_type": "circle", "points": [[10, 10], [13, 14]]},
        {"label": "Person", "shape_type": "polygon", "points": [[20, 20], [30, 20], [25, 40]]},
    ]
    tiny.dump(tmp_path / "a.json", {"shapes": shapes})
    (sample,) = read(f"labelme:{tmp_path}")
    assert sorted(sample.points_xy.tolist()) == [[1, 2], [10, 10], [25, 30]]
    assert sample.boxes_xyxy is None  # not every head has one


def test_cvat_points_and_polygons(tmp_path):
    tiny.picture(tmp_path / "a.jpg", 1)
    shapes = '<points label="head" points="1.5,2;3,4"/><polygon label="head" points="0,0;10,0;10,20"/>'
    image = f'<image name="a.jpg" width="64" height="48">{shapes}<box label="car" xtl="1"/></image>'
    (tmp_path / "annotations.xml").write_text(f"<annotations>{image}</annotations>")
    (sample,) = read(f"cvat:{tmp_path}")
    assert sorted(sample.points_xy.tolist()) == [[1.5, 2], [3, 4], [5, 10]]


# --- the real folders --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "pictures", "heads"),
    [
        ("shanghaitech-a:shanghaitech/part_A", 300, 162_413),
        ("shanghaitech-b:shanghaitech", 400, 49_151),
        ("beijing-brt:beijing_brt", 360, 4_757),
        ("people-free:negatives", 130, 0),
    ],
)
def test_real_folders(spec, pictures, heads):
    name, folder = spec.split(":")
    if not (SHARED / folder).is_dir():
        pytest.skip(f"{folder} is not here")
    samples = list(read(f"{name}:{SHARED / folder}", "train"))
    assert (len(samples), sum(len(sample.points_xy) for sample in samples)) == (pictures, heads)
    assert all(np.isfinite(sample.points_xy).all() for sample in samples)
