"""Published sets of photographs with a label file for each, or one for all, laid out as their authors give them.

    shanghaitech    part_A (or part_A_final)/{train,test}_data/images/IMG_1.jpg
                    .../ground-truth (or ground_truth)/GT_IMG_1.mat          `image_info{1}.location`
    ucf-qnrf        {Train,Test}/img_0001.jpg, img_0001_ann.mat              `annPoints`
    ucf-cc-50       1.jpg ... 50.jpg, 1_ann.mat ... 50_ann.mat               `annPoints`
    beijing-brt     {train,test}/frame/1-20160620091226.jpg, ground_truth/1-20160620091226.mat      `loc`
    worldexpo       train_frame/104207_1-04-S....jpg, train_label/<scene>/104207_1-04-S....mat      `point_position`
                    test_frame/<scene>/<frame>.jpg, test_label/<scene>/<frame>.mat
    mall            frames/seq_000001.jpg, mall_gt.mat                       `frame{1, i}.loc`
    jhu             {train,val,test}/images/0001.jpg, gt/0001.txt            a head a line: x y w h occlusion blur
    fdst            {train,test}_data/<video>/001.jpg, 001.json              VGG Image Annotator's rectangles
    nwpu            images (or images_part1 ... 5)/0001.jpg, jsons/0001.json, {train,val,test}.txt

Positions are N x 2 pixels x, y in each. ShanghaiTech: Zhang et al., CVPR 2016; UCF-QNRF and UCF_CC_50: Idrees et al.,
ECCV 2018 and CVPR 2013; Beijing-BRT: Ding et al. 2018; WorldExpo'10: Zhang et al., CVPR 2015; Mall: Chen et al., BMVC
2012; JHU-CROWD++: Sindagi et al., PAMI 2020; FDST: Fang et al., ICME 2019; NWPU-Crowd: Wang et al., PAMI 2020.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from gigacount.datasets.entries import (
    ALL,
    Entry,
    LabelledHeads,
    OnError,
    Positions,
    by_stem,
    choose,
    divided,
    files,
    folders,
    from_boxes,
    images_in,
    points_only,
    read_listed,
    read_pairs,
)
from gigacount.datasets.files import guarded, load_json, load_mat, number_lines, parse_content, read_text
from gigacount.errors import NotFoundError

TRUTH_FOLDERS = ("ground-truth", "ground_truth")
FOLD_SIZE = 10
TRAINING_FRAMES = 800
REGION = "roi.mat"


def mat_points(find: Callable[[dict[str, Any]], Any]) -> Callable[[Path], LabelledHeads]:
    """A parser of MATLAB files in which `find` finds the positions."""
    return lambda path: parse_content(path, load_mat(path), lambda content: points_only(find(content)))


parse_ann_points = mat_points(lambda content: content["annPoints"])
parse_location = mat_points(lambda content: content["image_info"][0, 0][0, 0]["location"])
parse_loc = mat_points(lambda content: content["loc"])
parse_point_position = mat_points(lambda content: content["point_position"])


def read_part_a(root: Path, split: str, on_error: OnError) -> Iterator[Entry]:
    """Dense crowds from the web: 300 images for training, 182 for test."""
    return read_shanghaitech(_part(root, "A"), split, on_error)


def read_part_b(root: Path, split: str, on_error: OnError) -> Iterator[Entry]:
    """Streets of Shanghai: 400 images for training, 316 for test."""
    return read_shanghaitech(_part(root, "B"), split, on_error)


def read_shanghaitech(root: Path, split: str, on_error: OnError) -> Iterator[Entry]:
    for folder in choose(split, {"train": root / "train_data", "test": root / "test_data"}):
        truth = next((folder / name for name in TRUTH_FOLDERS if (folder / name).is_dir()), None)
        if truth is None:
            raise NotFoundError(f"{folder}: no labels: looked for the folders {' and '.join(TRUTH_FOLDERS)}")
        images = by_stem(images_in(folder / "images"), on_error, "IMG_")
        yield from read_pairs(images, by_stem(files(truth, {".mat"}), on_error, "GT_IMG_"), parse_location, on_error)


def _part(root: Path, letter: str) -> Path:
    """The folder of a part; NotFoundError if it is not there, or if `root` is the other part."""
    names = [f"part_{letter}", f"part_{letter}_final"]
    if root.name.lower().startswith("part_") and root.name.lower() not in [name.lower() for name in names]:
        raise NotFoundError(f"{root} is not part {letter} of ShanghaiTech; its folder is called {' or '.join(names)}")
    if any((root / f"{split}_data").is_dir() for split in ("train", "test")):
        return root
    found = next((root / name for name in names if (root / name).is_dir()), None)
    if found is None:
        raise NotFoundError(f"no part {letter} of ShanghaiTech: looked for {root / names[0]} and {root / names[1]}")
    return found


def read_ucf_qnrf(root: Path, split: str, on_error: OnError) -> Iterator[Entry]:
    for folder in choose(split, {"train": root / "Train", "test": root / "Test"}):
        labels = by_stem(files(folder, {".mat"}), on_error, suffix="_ann")
        yield from read_pairs(by_stem(images_in(folder), on_error), labels, parse_ann_points, on_error)


def read_ucf_cc_50(root: Path, split: str, on_error: OnError) -> Iterator[Entry]:
    """Fifty images, measured by five-fold cross-validation: splits 'train-1' and 'test-1' to 'train-5' and 'test-5'.

    The publication leaves the folds open; here fold k tests on images 10 (k - 1) + 1 to 10 k. 'train' is 'train-1'.
    """
    match = re.fullmatch(r"(train|test)(?:-([1-5]))?", split)
    if match is None and split != ALL:
        raise NotFoundError(f"this data set has no '{split}' split, only train-1, test-1 ... train-5, test-5")
    images = by_stem((path for path in images_in(root) if path.stem.isdecimal()), on_error)
    labels = by_stem(files(root, {".mat"}), on_error, suffix="_ann")
    if not images:
        raise NotFoundError(f"no images of UCF_CC_50: looked for {root / '1.jpg'} to 50.jpg")
    if match is not None:
        side, fold = match[1], int(match[2] or 1)
        images, labels = (
            {key: path for key, path in paths.items() if (_fold(key) == fold) == (side == "test")}
            for paths in (images, labels)
        )
    yield from read_pairs(images, labels, parse_ann_points, on_error)


def _fold(key: str) -> int:
    return (int(key) - 1) // FOLD_SIZE + 1 if key.isdecimal() else 0


def read_beijing_brt(root: Path, split: str, on_error: OnError) -> Iterator[Entry]:
    for folder in choose(split, {"train": root / "train", "test": root / "test"}):
        labels = by_stem(files(folder / "ground_truth", {".mat"}), on_error)
        yield from read_pairs(by_stem(images_in(folder / "frame"), on_error), labels, parse_loc, on_error)


def read_worldexpo(root: Path, split: str, on_error: OnError) -> Iterator[Entry]:
    """A scene is the first six characters of a frame's name. All labelled heads are given; the published protocol
    counts inside each scene's region of interest alone (`roi.mat` beside its labels), which is the samples' region."""
    for frames in choose(split, {"train": root / "train_frame", "test": root / "test_frame"}):
        truth = root / frames.name.replace("frame", "label")
        images = by_stem(_below(frames, images_in), on_error)
        labels = by_stem((p for p in _below(truth, lambda f: files(f, {".mat"})) if p.name != REGION), on_error)
        yield from read_pairs(images, labels, _parse_worldexpo, on_error)


def _parse_worldexpo(path: Path) -> LabelledHeads:
    heads, roi = parse_point_position(path), path.parent / REGION
    return replace(heads, region_xy=_read_region(roi)) if roi.is_file() else heads


@lru_cache(maxsize=8)  # of a scene's frames, one after the other
def _read_region(path: Path) -> Positions:
    """Corners (V, 2) of a region of interest: maskVerticesXCoordinates and ...YCoordinates, or a struct of x and y."""

    def corners(content: Any, names: Iterable[str]) -> Positions:
        axes = {name.removeprefix("maskVertices")[:1].lower(): name for name in names}
        return np.stack([np.asarray(content[axes[axis]], np.float64).ravel() for axis in "xy"], axis=1)

    content = {name: value for name, value in load_mat(path).items() if not name.startswith("__")}
    with guarded(path):
        if len(content) == 1:
            (struct,) = content.values()
            return corners(struct.ravel()[0], struct.dtype.names or ())
        return corners(content, content)


def _below(folder: Path, files_in: Callable[[Path], Iterable[Path]]) -> Iterator[Path]:
    return (path for place in (folder, *folders(folder)) for path in files_in(place))


def read_mall(root: Path, split: str, on_error: OnError) -> Iterator[Entry]:
    """2,000 frames of a shopping centre's camera; 1 to 800 are for training and 801 to 2000 for test, as published."""
    truth = choose(split, {"train": root / "mall_gt.mat", "test": root / "mall_gt.mat"})[0]
    with guarded(truth):
        frames = load_mat(truth)["frame"].ravel()
    first = TRAINING_FRAMES if split == "test" else 0
    stop = TRAINING_FRAMES if split == "train" else len(frames)
    entries = (
        (f"seq_{i:06d}.jpg", partial(parse_content, truth, frame, lambda f: points_only(f.ravel()[0]["loc"])))
        for i, frame in enumerate(frames[first:stop], first + 1)
    )
    yield from read_listed(entries, truth, [root / "frames"], on_error)


def read_jhu(root: Path, split: str, on_error: OnError) -> Iterator[Entry]:
    """x, y is a head's centre, w, h its size. An empty label file is an image without people."""
    for folder in choose(split, {name: root / name for name in ("train", "val", "test")}):
        labels = by_stem(files(folder / "gt", {".txt"}), on_error)
        yield from read_pairs(by_stem(images_in(folder / "images"), on_error), labels, _parse_jhu, on_error)


def _parse_jhu(path: Path) -> LabelledHeads:
    with guarded(path):
        heads = np.array([values[:4] for _, values in number_lines(path, 4)], np.float64).reshape(-1, 4)
        centre, half = heads[:, :2], heads[:, 2:] / 2
        return LabelledHeads(centre, np.hstack([centre - half, centre + half]))


def read_fdst(root: Path, split: str, on_error: OnError) -> Iterator[Entry]:
    """100 videos of 150 frames; {file: {"regions": [{"shape_attributes": {"x", "y", "width", "height"}}]}}."""
    for folder in choose(split, {"train": root / "train_data", "test": root / "test_data"}):
        for video in folders(folder):
            images, labels = by_stem(images_in(video), on_error), by_stem(files(video, {".json"}), on_error)
            yield from read_pairs(images, labels, _parse_fdst, on_error)


def _parse_fdst(path: Path) -> LabelledHeads:
    def heads(content: Any) -> LabelledHeads:
        (annotations,) = content.values()
        regions = annotations["regions"]
        shapes = [r["shape_attributes"] for r in (regions.values() if isinstance(regions, dict) else regions)]
        return from_boxes([(s["x"], s["y"], s["x"] + s["width"], s["y"] + s["height"]) for s in shapes])

    return parse_content(path, load_json(path), heads)


def read_nwpu(root: Path, split: str, on_error: OnError) -> Iterator[Entry]:
    """{"points": [[x, y], ...], "boxes": [[left, top, right, bottom], ...]}; a list has an image's number first on
    each line. The labels of the test split are not public; its images are reported as without labels."""
    places = [root / "images", *sorted(root.glob("images_part*"))]
    images = by_stem((path for folder in places for path in images_in(folder)), on_error)
    labels = by_stem(files(root / "jsons", {".json"}), on_error)
    for listing in choose(split, {name: root / f"{name}.txt" for name in ("train", "val", "test")}):
        keys = [line.split()[0] for line in read_text(listing).splitlines() if line.strip()]
        images_here, labels_here = ({key: paths[key] for key in keys if key in paths} for paths in (images, labels))
        yield from read_pairs(images_here, labels_here, _parse_nwpu, on_error)


def _parse_nwpu(path: Path) -> LabelledHeads:
    def heads(content: Any) -> LabelledHeads:
        points = points_only(content["points"]).points_xy
        boxes = np.asarray(content["boxes"], np.float64).reshape(-1, 4)
        if len(boxes) != len(points):
            raise ValueError(f"{len(points)} points but {len(boxes)} boxes")
        return LabelledHeads(points, boxes)

    return parse_content(path, load_json(path), heads)


def read_people_free(root: Path, split: str, on_error: OnError) -> Iterator[Entry]:
    for folder in divided(root, split):
        images = images_in(folder)
        if not images:
            raise NotFoundError(f"no images in {folder}")
        for image in images:
            yield Entry(image, None, LabelledHeads(np.zeros((0, 2))))
