"""Every shape, class, id and place that annotation tools write: a head where it is, or named as passed over."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import pyvips
import tiny_datasets as tiny

from gigacount.datasets import ALL, Sample, load, read
from gigacount.datasets.check import SIZE_DIFFERS, check_dataset
from gigacount.datasets.entries import (
    ASSUMED,
    CLAIMED_TWICE,
    ELSEWHERE,
    NO_ENTRY,
    NO_PIXELS,
    PASSED_OVER,
    REPEATED_ID,
    TURNED,
)
from gigacount.datasets.shapes import ellipse, rectangle, run_lengths
from gigacount.errors import EntryError
from gigacount.options import LabelOptions

HEAD = {"id": 1, "name": "head"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A set with the picture a.jpg, of 64 x 48 pixels."""
    tiny.picture(tmp_path / "set" / "a.jpg", 1)
    return tmp_path / "set"


def look(spec: str, split: str = ALL, options: LabelOptions | None = None) -> tuple[list[Sample], dict[str, int]]:
    """The samples, and how often which kind of thing was told."""
    errors: list[EntryError] = []
    samples = list(read(spec, split, errors.append, options))
    told: dict[str, int] = {}
    for error in errors:
        assert "\n" not in str(error)
        told[error.kind] = told.get(error.kind, 0) + error.times
    return samples, told


def coco(folder: Path, annotations: list[object], images: list[object] | None = None, categories: object = None) -> str:
    images = [{"id": 1, "file_name": "a.jpg"}] if images is None else images
    tiny.dump(folder / "l.json", {"images": images, "annotations": annotations, "categories": categories or [HEAD]})
    return f"coco:{folder}"


def cvat(folder: Path, shapes: str, more: str = "") -> str:
    image = f'<image id="0" name="a.jpg" width="64" height="48">{shapes}</image>'
    tiny.dump(folder / "annotations.xml", f"<annotations>{image}{more}</annotations>")
    return f"cvat:{folder}"


def on(number: int = 1, category: object = 1, **values: object) -> dict[str, object]:
    return {"image_id": number, "category_id": category, **values}


# --- shapes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("annotation", "where"),
    [
        ({"bbox": [10, 20, 4, 6]}, [12, 23]),
        ({"bbox": [14, 26, -4, -6]}, [12, 23]),
        ({"bbox": [], "segmentation": [[10, 20, 14, 20, 12, 26]]}, [12, 23]),
        ({"segmentation": {"size": [48, 64], "counts": [10 * 48 + 20, 6, 42, 6, 48 * 52 - 26 - 48]}}, [11, 23]),
        ({"segmentation": {"size": [4, 4], "counts": "52203"}}, [2, 2]),
        ({"keypoints": [12, 23, 2], "bbox": [0, 0, 60, 40]}, [12, 23]),
        ({"keypoints": [0, 0, 0], "bbox": [10, 20, 4, 6]}, [12, 23]),
        ({"keypoints": [10, 20, 2, 0, 0, 0, 14, 26, 1]}, [12, 23]),
    ],
)
def test_coco_heads_are_where_their_annotation_is(folder, annotation, where):
    (sample,), told = look(coco(folder, [on(**annotation)]))
    assert sample.points_xy.tolist() == [where]
    assert told == {}


@pytest.mark.parametrize(
    "annotation",
    [{"iscrowd": 1, "bbox": [0, 0, 9, 9]}, {"keypoints": [0, 0, 0]}, {"keypoints": [0, 0, 0], "bbox": [0] * 4}],
)
def test_coco_annotations_that_are_no_heads_are_counted(folder, annotation):
    (sample,), told = look(coco(folder, [on(**annotation)]))
    assert len(sample.points_xy) == 0
    assert told == {PASSED_OVER: 1}


def test_an_annotation_without_a_place_names_itself_and_its_picture(folder):
    with pytest.raises(EntryError, match=r"annotation 77 of 'a\.jpg' has no box, segmentation or key point"):
        load(coco(folder, [on(id=77, bbox=[])]), ALL, print)


def test_masks_are_as_wide_as_their_ones():
    mask = np.zeros((7, 5), int)
    mask[1:3, 2] = mask[6, 3] = 1
    flat = mask.T.ravel()
    edges = np.flatnonzero(np.diff(flat, prepend=0)).tolist()
    shape = run_lengths(np.diff([0, *edges, len(flat)]).tolist(), 7)
    assert shape.box == [2, 1, 4, 7]
    assert run_lengths([3, 9, 100], 7).box == [0, 0, 2, 7]  # from one column into the next


def test_turned_shapes_are_as_wide_as_they_reach():
    assert rectangle([0, 0, 10, 20], 90).box == pytest.approx([-5, 5, 15, 15])
    assert ellipse((5, 10), (5, 10), 90).box == pytest.approx([-5, 5, 15, 15])
    assert ellipse((0, 0), (3, 3), 30).box == pytest.approx([-3, -3, 3, 3])


@pytest.mark.parametrize(
    "shape",
    [
        '<ellipse label="head" cx="12" cy="23" rx="2" ry="3"/>',
        '<ellipse label="head" cx="12" cy="23" rx="2" ry="3" rotation="30"/>',
        '<mask label="head" rle="0, 24" left="10" top="20" width="4" height="6"/>',
        '<box label="head" xtl="10" ytl="20" xbr="14" ybr="26" rotation="45"/>',
        '<polyline label="head" points="10,20;14,26"/>',
        '<cuboid label="head" xtl1="10" ytl1="20" xtr1="14" ytr1="20" xbl1="10" ybl1="26" xbr1="14" ybr1="26" '
        'xtl2="11" ytl2="21" xtr2="13" ytr2="21" xbl2="11" ybl2="25" xbr2="13" ybr2="25"/>',
        '<skeleton label="head"><points label="nose" outside="0" points="12,23"/></skeleton>',
        '<skeleton label="head"><points label="a" outside="0" points="10,20"/>'
        '<points label="b" outside="1" points="60,40"/><points label="c" outside="0" points="14,26"/></skeleton>',
    ],
)
def test_every_cvat_shape_is_a_head(folder, shape):
    (sample,), told = look(cvat(folder, shape))
    assert sample.points_xy == pytest.approx(np.array([[12, 23]]))
    assert told == {}


def test_cvat_tags_and_what_is_unknown_are_counted(folder):
    _, told = look(
        cvat(folder, '<tag label="head"/><blob label="head"/><box label="car"/><points label="head" points="1,2"/>')
    )
    assert told == {PASSED_OVER: 3}


@pytest.mark.parametrize(
    ("line", "where"),
    [
        ("0.25 0.5 0.1 0.2", [16, 24]),
        ("0.25 0.5 0.1 0.2 0.93", [16, 24]),
        ("0.2 0.4 0.3 0.4 0.3 0.6 0.2 0.6", [16, 24]),
        ("0.2 0.4 0.3 0.4 0.25 0.6", [16, 24]),
        ("0.2 0.4 0.3 0.4 0.3 0.5 0.3 0.6 0.2 0.6", [16, 24]),
        ("0.5 0.5 1 1 0.25 0.5 2", [16, 24]),
        ("0.25 0.5 0.1 0.2 0 0 0", [16, 24]),
        ("0.25 0.5 0.1 0.2 0.9 0.9 2 0 0 0", [16, 24]),
    ],
)
def test_yolo_lines_of_every_task(folder, line, where):
    tiny.dump(folder / "a.txt", f"0 {line}\n")
    (sample,), told = look(f"yolo:{folder}")
    assert sample.points_xy == pytest.approx(np.array([where]))
    assert told == {}


def test_yolo_key_points_by_the_layout_of_the_set(folder):
    tiny.dump(folder / "data.yaml", "names:\n  0: person\nkpt_shape: [3, 2]\n")
    tiny.dump(folder / "a.txt", "0 0.25 0.5 0.1 0.2 0.9 0.9 0.8 0.8 0.7 0.7\n0 0 0 0 0 0 0 0 0 0 0\n")
    (sample,), told = look(f"yolo:{folder}")
    assert sample.points_xy == pytest.approx(np.array([[16, 24]]))
    assert told == {PASSED_OVER: 1}


def test_yolo_lines_that_are_nothing_are_refused(folder):
    tiny.dump(folder / "a.txt", "0 0.2 0.4 0.3 0.4 0.3 0.5 0.3 0.6 0.2 0.6 0.7\n")
    with pytest.raises(EntryError, match=r"a\.txt: .*11 numbers after the class"):
        load(f"yolo:{folder}", ALL, print)


def test_labelme_shapes_and_the_picture_that_is_named(folder):
    tiny.picture(folder / "photos" / "b.jpg", 2)
    shapes = [
        {"label": "head", "shape_type": "points", "points": [[1, 2], [3, 4]]},
        {"label": "head", "shape_type": "linestrip", "points": [[10, 20], [14, 26]]},
    ]
    tiny.dump(folder / "a.json", {"imagePath": "photos\\b.jpg", "shapes": shapes})
    (sample,), told = look(f"labelme:{folder}")
    assert sample.image == folder / "photos" / "b.jpg"
    assert sorted(sample.points_xy.tolist()) == [[1, 2], [3, 4], [12, 23]]
    assert told == {"image without labels": 1}  # a.jpg


def test_geojson_lines_and_polygons(folder):
    geometries = [
        {"type": "Polygon", "coordinates": [[[10, 20], [14, 20], [14, 26], [10, 20]]]},
        {"type": "LineString", "coordinates": [[0, 0], [4, 4]]},
        {"type": "MultiPoint", "coordinates": [[5, 6, 0]]},
        {"type": "GeometryCollection", "geometries": [{"type": "Point", "coordinates": [7, 8]}]},
        None,
    ]
    tiny.dump(folder / "a.geojson", {"features": [{"geometry": geometry} for geometry in geometries]})
    (sample,), _ = look(f"geojson:{folder}")
    assert sorted(sample.points_xy.tolist()) == [[2, 2], [5, 6], [7, 8], [12, 23]]


def test_geojson_of_a_map_has_pixels_as_a_property(folder):
    there = {"type": "Point", "coordinates": [13.4, 52.5]}
    tiny.dump(folder / "a.geojson", {"features": [{"geometry": there, "properties": {"pixel": [5.5, 6]}}]})
    (sample,), _ = look(f"geojson:{folder}")
    assert sample.points_xy.tolist() == [[5.5, 6]]


# --- classes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("categories", "used", "heads", "told"),
    [
        ([("heads", "none"), ("person", "heads")], "person", 1, {}),
        ([("people", ""), ("adult", "people"), ("child", "people")], "adult", 1, {}),
        ([("crowd-counting", "none"), ("0", "crowd-counting")], "0", 1, {ASSUMED: 1}),
        ([("person", "person"), ("dog", "animal")], "dog", 0, {PASSED_OVER: 1}),
        ([("people", "none"), ("person", "people")], "people", 1, {}),
    ],
)
def test_coco_categories(folder, categories, used, heads, told):
    named = [{"id": i, "name": name, "supercategory": parent} for i, (name, parent) in enumerate(categories)]
    number = [name for name, _ in categories].index(used)
    (sample,), found = look(coco(folder, [on(category=number, bbox=[1, 2, 3, 4])], categories=named))
    assert (len(sample.points_xy), found) == (heads, told)


@pytest.mark.parametrize("form", ["list", "numbers", "classes.txt"])
def test_yolo_class_names(folder, form):
    tiny.dump(folder / "a.txt", "0 .5 .5 .1 .1\n0 .2 .2 .1 .1\n1 .25 .5 .1 .1\n")
    yaml = {"list": "names: [bicycle, head]\n", "numbers": "names:\n  0: bicycle\n  1: head\n"}
    tiny.dump(folder / ("data.yaml" if form in yaml else form), yaml.get(form, "bicycle\nhead\n"))
    (sample,), told = look(f"yolo:{folder}")
    assert sample.points_xy == pytest.approx(np.array([[16, 24]]))
    assert told == {PASSED_OVER: 2}


def test_yolo_classes_without_a_name_are_refused(folder):
    tiny.dump(folder / "a.txt", "7 .5 .5 .1 .1\n")
    tiny.dump(folder / "data.yaml", "names: [bicycle, head]\n")
    with pytest.raises(EntryError, match=r"a\.txt, line 1: class 7, which has no name among the 2"):
        load(f"yolo:{folder}", ALL, print)


def test_classes_of_points(folder):
    """The class decides for the whole set: a picture that shows bicycles only has no heads."""
    tiny.picture(folder / "b.jpg", 2)

    def point(name: str, *positions: list[int]) -> dict[str, object]:
        geometry = {"type": "MultiPoint", "coordinates": positions}
        return {"properties": {"classification": {"name": name}}, "geometry": geometry}

    tiny.dump(folder / "a.geojson", {"features": [point("Person", [1, 2]), point("Ignore*", [3, 4], [5, 6])]})
    tiny.dump(folder / "b.geojson", {"features": [point("Bicycle", [1, 2])]})
    samples, told = look(f"geojson:{folder}")
    assert [len(sample.points_xy) for sample in samples] == [1, 0]
    assert told == {PASSED_OVER: 3}
    tiny.dump(folder / "heads.csv", "image,x,y,class\na.jpg,1,2,head\na.jpg,3,4,Person\nb.jpg,5,6,Person\n")
    samples, told = look(f"csv:{folder}")
    assert [len(sample.points_xy) for sample in samples] == [1, 0]
    assert told == {PASSED_OVER: 2}


# --- ids, names and places ---------------------------------------------------------------------------------------


def test_ids_as_text_and_as_numbers_are_the_same(folder):
    (sample,), told = look(coco(folder, [on(1, 1.0, bbox=[1, 2, 0, 0])], [{"id": "1", "file_name": "a.jpg"}]))
    assert sample.points_xy.tolist() == [[1, 2]]
    assert told == {}


def test_ids_that_occur_twice_or_match_nothing(folder):
    images = [{"id": 7, "file_name": "a.jpg"}, {"id": "7", "file_name": "b.jpg"}]
    with pytest.raises(EntryError, match=r"1 ids of images occur more than once, such as 7"):
        load(coco(folder, [], images), ALL, print)
    with pytest.raises(EntryError, match=r"1 ids of categories occur more than once"):
        load(coco(folder, [], categories=[HEAD, HEAD]), ALL, print)
    with pytest.raises(EntryError, match=r"no annotation belongs to any of its images"):
        load(coco(folder, [on(5, bbox=[1, 2, 3, 4])]), ALL, print)
    lost = [on(bbox=[1, 2, 3, 4], id=1), on(5, bbox=[1, 2, 3, 4], id=1), on(category=9, bbox=[1, 2, 3, 4])]
    (sample,), told = look(coco(folder, lost))
    assert len(sample.points_xy) == 1
    assert told == {NO_ENTRY: 1, REPEATED_ID: 1, PASSED_OVER: 1}


@pytest.mark.parametrize("names", [["1.jpg", "b/1.jpg"], ["D:\\x\\a\\1.jpg", "D:\\x\\b\\1.jpg"], ["1.jpg", "./1.jpg"]])
def test_a_picture_that_two_entries_claim_is_an_error_that_names_both(folder, names):
    (folder / "a.jpg").rename(folder / "1.jpg")
    spec = coco(folder, [], [{"id": i, "file_name": name} for i, name in enumerate(names)])
    samples, told = look(spec)
    assert samples == []
    assert told[CLAIMED_TWICE] == 1
    with pytest.raises(EntryError, match=r"1\.jpg: claimed by entry 1 '.*1\.jpg' of .* and entry 2 '.*1\.jpg' of"):
        load(spec, ALL, print)


def test_cvat_tasks_with_frames_of_one_name(folder):
    second = '<image id="1" name="a.jpg" task_id="2" width="64" height="48"><points label="head" points="1,2"/></image>'
    samples, told = look(cvat(folder, '<points label="head" points="3,4"/>', second))
    assert (samples, told[CLAIMED_TWICE]) == ([], 1)


def test_cvat_pictures_of_a_project_are_in_a_folder_for_each_subset(folder):
    images = ""
    for subset in ("Train", "Validation"):
        tiny.picture(folder / "images" / subset / "frame.jpg", len(subset))
        shape = '<points label="head" points="1,2"/>'
        images += f'<image name="frame.jpg" subset="{subset}" width="64" height="48">{shape}</image>'
    tiny.dump(folder / "annotations.xml", f"<annotations>{images}</annotations>")
    for split, subset in (("train", "Train"), ("val", "Validation")):
        (sample,) = read(f"cvat:{folder}", split)
        assert sample.image == folder / "images" / subset / "frame.jpg"


def test_two_pictures_of_one_name_beside_one_label_file(folder):
    tiny.picture(folder / "a.png", 2)
    tiny.dump(folder / "a.txt", "0 .5 .5 .1 .1\n")
    with pytest.raises(EntryError, match=r"a\.jpg and .*a\.png have the same name"):
        load(f"yolo:{folder}", ALL, print)


@pytest.mark.parametrize("name", ["val", "valid", "validation", "Valid"])
def test_every_spelling_of_validation(tmp_path, name):
    tiny.picture(tmp_path / name / "images" / "a.jpg", 1)
    tiny.picture(tmp_path / "train" / "images" / "b.jpg", 1)
    tiny.dump(tmp_path / name / "labels" / "a.txt", "")
    assert [sample.name for sample in read(f"yolo:{tmp_path}", "val")] == ["a"]
    tiny.dump(tmp_path / "csv" / f"{name}.csv", "image,x,y\n")
    tiny.picture(tmp_path / "csv" / "c.jpg", 1)
    tiny.dump(tmp_path / "csv" / f"heads_{name}.csv", "image,x,y\nc.jpg,1,2\n")
    (tmp_path / "csv" / f"{name}.csv").unlink()
    tiny.dump(tmp_path / "csv" / "heads_train.csv", "image,x,y\n")
    assert [sample.name for sample in read(f"csv:{tmp_path / 'csv'}", "val")] == ["c"]


def test_valid_beside_validation_are_both_read(tmp_path):
    for name in ("valid", "validation"):
        tiny.picture(tmp_path / name / f"{name}.jpg", len(name))
        tiny.dump(tmp_path / name / f"{name}.txt", "")
    assert [sample.name for sample in read(f"yolo:{tmp_path}", "val")] == ["valid", "validation"]


@pytest.mark.parametrize("how", ["up", "absolute", "link"])
def test_labels_name_pictures_inside_their_set_only(folder, how):
    outside = tiny.picture(folder.parent / "secret.jpg", 3)
    (folder / "link.jpg").symlink_to(outside)
    name = {"up": "../secret.jpg", "absolute": str(outside), "link": "link.jpg"}[how]
    tiny.dump(folder / "heads.csv", f"image,x,y\n{name},1,2\n")
    for spec in (f"csv:{folder}", f"csv:{folder / 'heads.csv'}"):
        samples, told = look(spec)
        assert (samples, told[ELSEWHERE]) == ([], 1)
        with pytest.raises(EntryError, match=r"secret\.jpg, outside .*set; move it there, or --trust-paths"):
            load(spec, ALL, print)
        (sample,), _ = look(spec, "train", LabelOptions(trust_paths=True))
        assert sample.image.resolve() == outside


def test_labels_may_go_up_inside_their_set(folder):
    tiny.dump(folder / "labels" / "heads.csv", "image,x,y\n../a.jpg,1,2\n")
    for spec in (f"csv:{folder / 'labels' / 'heads.csv'}",):
        (sample,), told = look(spec)
        assert sample.image.resolve() == folder / "a.jpg"
        assert told == {}


# --- positions ---------------------------------------------------------------------------------------------------


def test_fractions_and_percentages_are_no_pixels(tmp_path):
    rng = np.random.default_rng(0)
    pyvips.Image.black(800, 600, bands=3).write_to_file(str(tmp_path / "a.jpg"))
    heads = rng.random((20, 2))
    for factor, unit in ((1, "fractions"), (100, "percentages")):
        rows = [f"a.jpg,{x:.4f},{y:.4f}" for x, y in heads * factor]
        tiny.dump(tmp_path / "heads.csv", "\n".join(["image,x,y", *rows]))
        report = check_dataset(f"csv:{tmp_path}")
        assert report.counts()[NO_PIXELS] == 1
        assert not report.ok
        with pytest.raises(EntryError, match=unit):
            load(f"csv:{tmp_path}", ALL, print)
    rows = [f"a.jpg,{x:.4f},{y:.4f}" for x, y in heads * 101]
    tiny.dump(tmp_path / "heads.csv", "\n".join(["image,x,y", *rows]))
    assert check_dataset(f"csv:{tmp_path}").ok


@pytest.mark.parametrize("orientation", range(2, 9))
def test_labels_of_pictures_that_exif_turns(tmp_path, orientation):
    """One bright spot, labelled where it is stored by a tool that ignores EXIF, and found where it is upright."""
    from gigacount.geometry import whole
    from gigacount.image import GigaImage

    stored = np.zeros((480, 640, 3), np.uint8)
    stored[96:112, 480:496] = 255  # centre (488, 104)
    image = pyvips.Image.new_from_array(stored).copy()
    image.set_type(pyvips.GValue.gint_type, "orientation", orientation)
    image.write_to_file(str(tmp_path / "a.jpg"), Q=95)
    with GigaImage.open(tmp_path / "a.jpg") as opened:
        upright = opened.read(whole(opened.size_wh), opened.size_wh)[..., 0] > 128
        size = opened.size_wh
    where = np.argwhere(upright).mean(axis=0)[::-1] + 0.5

    tiny.dump(tmp_path / "heads.csv", "image,x,y\na.jpg,488,104\n")
    (sample,), told = look(f"csv:{tmp_path}")
    assert sample.points_xy.tolist() == [[488, 104]]
    assert told == {TURNED: 1}
    (sample,), told = look(f"csv:{tmp_path}", options=LabelOptions("stored"))
    assert sample.points_xy[0] == pytest.approx(where, abs=0.6)
    assert told == {}
    tiny.dump(tmp_path / "a.txt", f"0 {488 / 640} {104 / 480} 0.025 0.03\n")
    (sample,), _ = look(f"yolo:{tmp_path}", options=LabelOptions("stored"))
    assert sample.points_xy[0] == pytest.approx(where, abs=0.6)

    images = [{"id": 1, "file_name": "a.jpg", "width": 640, "height": 480}]
    (sample,), told = look(coco(tmp_path, [on(bbox=[480, 96, 16, 16])], images))
    if size == (480, 640):  # the stated size says that the labels lie on the picture as stored
        assert sample.points_xy[0] == pytest.approx(where, abs=0.6)
        assert sample.size_wh == size
        assert told == {}
        assert SIZE_DIFFERS not in check_dataset(f"coco:{tmp_path}").counts()
    else:
        assert told == {TURNED: 1}


# --- what is told ------------------------------------------------------------------------------------------------


def test_notices_are_told_in_one_line(folder):
    tiny.dump(folder / "heads.csv", "image,x,y,class\na.jpg,1,2,head\na.jpg,3,4,car\nb.jpg,5,6,head\n")
    told: list[str] = []
    (sample,) = load(f"csv:{folder}", "test", told.append)
    assert len(sample.points_xy) == 1
    (line,) = told
    assert "1 x labels without an image" in line
    assert "1 x shape left out" in line
    assert f"gigacount data check csv:{folder} --split test" in line


NAMED = b'{"images": [{"id": 1, "file_name": "%s"}], "annotations": [], "categories": []}'


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("annotations.xml", b"<?xml version='1.0' encoding='cp037'?><annotations/>"),
        ("annotations.xml", b"<?xml version='1.0' encoding='nonsense'?><annotations/>"),
        ("annotations.xml", b"<!DOCTYPE a [<!ENTITY b 'c'>]><annotations><image name='&b;'/></annotations>"),
        ("annotations.xml", b"<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><annotations>&b;</annotations>"),
        ("l.json", b"[" * 100_000),
        ("l.json", b'{"images": [], "annotations": [], "categories": [{"id": ' + b"9" * 5000 + b', "name": "head"}]}'),
        (
            "l.json",
            NAMED % (b"\\u0000" * 3),
        ),
        (
            "l.json",
            NAMED % (b"x" * 5000),
        ),
        ("l.json", b'{"images": [], "annotations": [{"id": 1}], "categories": []}'),
        ("data.yaml", b"names: {a: b}"),
        ("data.yaml", b"names: !!python/object/apply:os.system [ls]"),
        ("data.yaml", b"[" * 3000),
    ],
)
def test_hostile_label_files_are_our_errors_in_one_short_line(folder, name, content):
    tiny.dump(folder / "a.txt", "0 .5 .5 .1 .1\n")
    (folder / name).write_bytes(content)
    form = {"annotations.xml": "cvat", "l.json": "coco", "data.yaml": "yolo"}[name]
    errors: list[EntryError] = []
    assert list(read(f"{form}:{folder}", ALL, errors.append)) == []
    assert errors
    for error in errors:
        assert "\n" not in str(error)
        assert "\0" not in str(error)
        assert len(str(error)) < 1000
