"""A tiny copy of every data set that gigacount reads: three pictures of 64 x 48 pixels, laid out as published.

The pictures have three heads, one and none; the first and the last are for training and the second is for test
(or validation where a set has that too). `TINY[name](folder)` writes the copy and returns the path to give.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyvips
from scipy.io import savemat

SIZE_WH = (64, 48)
BOXES = {  # left, top, right, bottom; the head is at the centre
    "many": [[8, 10, 16, 18], [30, 20, 34, 26], [0, 40, 6, 48]],
    "one": [[50, 4, 60, 16]],
    "none": [],
}
POINTS = {name: [[(a + c) / 2, (b + d) / 2] for a, b, c, d in boxes] for name, boxes in BOXES.items()}
ORDER = ("many", "one", "none")
TRAIN, TEST = ("many", "none"), ("one",)


def picture(path: Path, seed: int) -> Path:
    """Noise, so that no two pictures look alike."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cells = np.random.default_rng(seed).integers(0, 256, (SIZE_WH[1], SIZE_WH[0], 3), np.uint8)
    pyvips.Image.new_from_array(cells).write_to_file(str(path))
    return path


def mat(path: Path, **variables: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, variables)


def dump(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def array(name: str) -> np.ndarray:
    return np.array(POINTS[name], float).reshape(-1, 2)


def shanghaitech(part: str, truth: str, root: Path) -> Path:
    for i, name in enumerate(ORDER, 1):
        folder = root / part / ("test_data" if name in TEST else "train_data")
        picture(folder / "images" / f"IMG_{i}.jpg", i)
        image_info = np.empty((1, 1), object)
        image_info[0, 0] = {"location": array(name), "number": float(len(POINTS[name]))}
        mat(folder / truth / f"GT_IMG_{i}.mat", image_info=image_info)
    return root


def ucf_qnrf(root: Path) -> Path:
    for i, name in enumerate(ORDER, 1):
        folder = root / ("Test" if name in TEST else "Train")
        picture(folder / f"img_{i:04d}.jpg", i)
        mat(folder / f"img_{i:04d}_ann.mat", annPoints=array(name))
    return root


def ucf_cc_50(root: Path) -> Path:
    for number, name in ((11, "many"), (2, "one"), (42, "none")):  # 2 is in the first fold
        picture(root / f"{number}.jpg", number)
        mat(root / f"{number}_ann.mat", annPoints=array(name))
    return root


def nwpu(root: Path) -> Path:
    for i, name in enumerate(ORDER, 1):
        picture(root / f"images_part{i % 2 + 1}" / f"{i:04d}.jpg", i)
        content = {
            "img_id": f"{i:04d}.jpg",
            "human_num": len(BOXES[name]),
            "points": POINTS[name],
            "boxes": BOXES[name],
        }
        dump(root / "jsons" / f"{i:04d}.json", content)
    dump(root / "train.txt", "0001 1 0\n0003 0 1\n")
    dump(root / "val.txt", "0002 1 2\n")
    dump(root / "test.txt", "0004 3 2\n")
    picture(root / "images_part1" / "0004.jpg", 4)
    return root


def jhu(root: Path) -> Path:
    for i, name in enumerate(ORDER, 1):
        folder = root / ("test" if name in TEST else "train")
        picture(folder / "images" / f"{i:04d}.jpg", i)
        lines = [
            f"{x:g} {y:g} {c - a} {d - b} 1 0" for (x, y), (a, b, c, d) in zip(POINTS[name], BOXES[name], strict=True)
        ]
        dump(folder / "gt" / f"{i:04d}.txt", "\n".join(lines))
    return root


def mall(root: Path) -> Path:
    frames = np.empty((1, 801), object)
    for i in range(801):
        name = {0: "many", 799: "none", 800: "one"}.get(i, "none")
        location = np.empty((1, 1), object)
        location[0, 0] = array(name)
        frames[0, i] = np.array([[(location[0, 0],)]], dtype=[("loc", object)])
        if i in (0, 799, 800):
            picture(root / "frames" / f"seq_{i + 1:06d}.jpg", i)
    mat(root / "mall_gt.mat", frame=frames)
    return root


def worldexpo(root: Path) -> Path:
    for i, name in enumerate(ORDER, 1):
        frame = f"10420{i}_1-04-S20100821071000000E20100821120000000_0{i}"
        side = "test" if name in TEST else "train"
        images = root / f"{side}_frame" / (frame[:6] if side == "test" else "")
        picture(images / f"{frame}.jpg", i)
        mat(
            root / f"{side}_label" / frame[:6] / f"{frame}.mat", point_position=array(name), point_num=len(POINTS[name])
        )
        x, y = np.array([[0.0], [64], [64], [0]]), np.array([[0.0], [0], [24], [24]])  # the upper half
        scene = root / f"{side}_label" / frame[:6]
        mat(scene / "roi.mat", maskVerticesXCoordinates=x, maskVerticesYCoordinates=y)
    return root


def fdst(root: Path) -> Path:
    for i, name in enumerate(ORDER, 1):
        folder = root / ("test_data" if name in TEST else "train_data") / str(i)
        picture(folder / "001.jpg", i)
        shapes = [{"name": "rect", "x": a, "y": b, "width": c - a, "height": d - b} for a, b, c, d in BOXES[name]]
        regions = [{"shape_attributes": shape, "region_attributes": {}} for shape in shapes]
        dump(folder / "001.json", {"001.jpg4711": {"filename": "001.jpg", "size": 4711, "regions": regions}})
    return root


def beijing_brt(root: Path) -> Path:
    for i, name in enumerate(ORDER, 1):
        folder = root / ("test" if name in TEST else "train")
        picture(folder / "frame" / f"1-2016062009122{i}.jpg", i)
        mat(folder / "ground_truth" / f"1-2016062009122{i}.mat", loc=array(name))
    return root


def people_free(root: Path) -> Path:
    for i in range(3):
        picture(root / f"{i}.png", i)
    return root


def panda(kind: str, root: Path) -> Path:
    """kind: person (PANDA-Image), box or point (PANDA-Crowd); the splits are listed, as three pictures are not 45."""
    width, height = SIZE_WH
    content = {}
    for i, name in enumerate(ORDER, 1):
        rects = [
            {"tl": {"x": a / width, "y": b / height}, "br": {"x": c / width, "y": d / height}}
            for a, b, c, d in BOXES[name]
        ]
        points = [{"x": x / width, "y": y / height} for x, y in POINTS[name]]
        ignored = {"category": "ignore", "rect": {"tl": {"x": 0, "y": 0}, "br": {"x": 1, "y": 1}}}
        objects = {
            "person": [{"category": "person", "rects": {"head": rect, "full body": rect}} for rect in rects]
            + [ignored],
            "box": [{"category": "person head", "rect": rect} for rect in rects],
            "point": [{"category": "person head", "rect": point} for point in points],
        }[kind]
        key = f"Marathon/marathon_{i:02d}.jpg"
        content[key] = {"image size": {"height": height, "width": width}, "image id": i, "objects list": objects}
        picture(root / ("image_train" if kind == "person" else "") / key, i)
    annotations = root / "image_annos" if kind == "person" else root
    names = {"person": "person_bbox_train.json", "box": "head_bbox_annotations.json", "point": "head_points.json"}
    dump(annotations / names[kind], content)
    dump(annotations / "train.txt", "Marathon/marathon_01.jpg\nMarathon/marathon_03.jpg\n")
    dump(annotations / "test.txt", "Marathon/marathon_02.jpg\n")
    return root


def csv(root: Path) -> Path:
    for split, names in (("train", TRAIN), ("test", TEST)):
        lines = ["image,x,y,left,top,right,bottom"]
        for name in names:
            picture(root / "images" / f"{name}.jpg", ORDER.index(name))
            rows = [",".join(f"{n:g}" for n in p + b) for p, b in zip(POINTS[name], BOXES[name], strict=True)]
            lines += [f"{name}.jpg,{row}" for row in rows or [",,,,,"]]
        dump(root / f"{split}.csv", "\n".join(lines) + "\n")
    return root


def geojson(root: Path) -> Path:
    for i, name in enumerate(ORDER, 1):
        folder = root / ("test" if name in TEST else "train")
        picture(folder / f"{name}.png", i)
        single, several = POINTS[name][:1], POINTS[name][1:]
        geometries = [{"type": "Point", "coordinates": point} for point in single]
        geometries += [{"type": "MultiPoint", "coordinates": several}] if several else []
        features = [{"type": "Feature", "properties": {}, "geometry": geometry} for geometry in geometries]
        dump(folder / f"{name}.geojson", {"type": "FeatureCollection", "features": features})
    return root


def coco(root: Path) -> Path:
    for split, names in (("train", TRAIN), ("test", TEST)):
        images, annotations = [], []
        for i, name in enumerate(names, 1):
            picture(root / f"{split}2017" / f"{name}.jpg", ORDER.index(name))
            images.append({"id": i, "file_name": f"{name}.jpg", "width": 64, "height": 48})
            annotations += [
                {"image_id": i, "category_id": 7, "bbox": [a, b, c - a, d - b], "iscrowd": 0}
                for a, b, c, d in BOXES[name]
            ]
            annotations.append({"image_id": i, "category_id": 7, "bbox": [0, 0, 64, 48], "iscrowd": 1})
            annotations.append({"image_id": i, "category_id": 1, "bbox": [0, 0, 9, 9]})
        categories = [{"id": 1, "name": "dog"}, {"id": 7, "name": "Head"}, {"id": 8, "name": "person"}]
        content = {"images": images, "annotations": annotations, "categories": categories}
        dump(root / "annotations" / f"instances_{split}2017.json", content)
    return root


def yolo(root: Path) -> Path:
    width, height = SIZE_WH
    for i, name in enumerate(ORDER, 1):
        split = "test" if name in TEST else "train"
        picture(root / "images" / split / f"{name}.jpg", i)
        lines = [
            f"1 {x / width!r} {y / height!r} {(c - a) / width!r} {(d - b) / height!r}"
            for (x, y), (a, b, c, d) in zip(POINTS[name], BOXES[name], strict=True)
        ]
        dump(root / "labels" / split / f"{name}.txt", "\n".join(["0 0.5 0.5 0.25 0.25", *lines]))
    dump(root / "classes.txt", "car\nperson\n")
    return root


def labelme(root: Path) -> Path:
    for i, name in enumerate(ORDER, 1):
        folder = root / ("test" if name in TEST else "train")
        picture(folder / f"{name}.jpg", i)
        shapes = [
            {"label": "head", "shape_type": "rectangle", "points": [[c, d], [a, b]]} for a, b, c, d in BOXES[name]
        ]
        shapes.append({"label": "tree", "shape_type": "point", "points": [[1, 1]]})
        content = {"imagePath": f"{name}.jpg", "imageWidth": 64, "imageHeight": 48, "imageData": None, "shapes": shapes}
        dump(folder / f"{name}.json", content)
    return root


def cvat(root: Path) -> Path:
    images = ""
    for i, name in enumerate(ORDER, 1):
        picture(root / "images" / f"{name}.jpg", i)
        shapes = "".join(f'<box label="head" xtl="{a}" ytl="{b}" xbr="{c}" ybr="{d}"/>' for a, b, c, d in BOXES[name])
        subset = "Test" if name in TEST else "Train"
        images += f'<image id="{i}" name="{name}.jpg" subset="{subset}" width="64" height="48">{shapes}</image>\n'
    dump(root / "annotations.xml", f"<?xml version='1.0'?>\n<annotations>\n{images}</annotations>\n")
    return root


def corrections(root: Path) -> Path:
    for i, name in enumerate(ORDER, 1):
        folder = root / ("test" if name in TEST else "train")
        picture(folder / f"{name}.tif.corrections" / f"{name}.jpg", i)
        area = {"correction": "checked", "window": [10, 20, 64, 48], "heads": [list(xy) for xy in POINTS[name]]}
        area["image"] = f"{name}.tif.corrections/{name}.jpg"
        others = {"type": "Feature", "properties": {"correction": "added"}, "geometry": None}
        content = {"type": "FeatureCollection", "features": [others, {"type": "Feature", "properties": area}]}
        dump(folder / f"{name}.tif.corrections.geojson", content)
    return root


TINY: dict[str, Callable[[Path], Path]] = {
    "panda": lambda root: panda("box", root),
    "shanghaitech-a": lambda root: shanghaitech("part_A_final", "ground_truth", root),
    "shanghaitech-b": lambda root: shanghaitech("part_B", "ground-truth", root),
    "ucf-qnrf": ucf_qnrf,
    "ucf-cc-50": ucf_cc_50,
    "nwpu": nwpu,
    "jhu": jhu,
    "mall": mall,
    "worldexpo": worldexpo,
    "fdst": fdst,
    "beijing-brt": beijing_brt,
    "people-free": people_free,
    "csv": csv,
    "geojson": geojson,
    "coco": coco,
    "yolo": yolo,
    "labelme": labelme,
    "cvat": cvat,
    "corrections": corrections,
}


def label_files(root: Path) -> list[Path]:
    """The files of a copy that hold positions."""
    suffixes = {".mat", ".json", ".txt", ".csv", ".geojson", ".xml", ".yaml"}
    listings = {"train.txt", "test.txt", "val.txt", "classes.txt", "roi.mat"}
    return sorted(p for p in root.rglob("*") if p.suffix in suffixes and p.name not in listings)
