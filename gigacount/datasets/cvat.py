"""CVAT for images 1.1: one XML file for many pictures.

    <annotations><image name="a.jpg" width="900" height="600" subset="train">
      <points label="head" points="10.5,20.0;30.1,40.2"/> <box label="head" xtl="1" ytl="2" xbr="3" ybr="4"/>
    </image></annotations>

Shapes labelled head count, or else those labelled person. Points are heads; boxes and polygons are head boxes. Where
pictures have a subset, it is their split.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np

from gigacount.datasets.entries import ALL, SPLITS, Heads, OnError, mixed, read_listed, report_unlisted, strict
from gigacount.datasets.files import bad, parse_content
from gigacount.datasets.forms import label_files, picture_folders, sole_people_classes
from gigacount.datasets.sample import Sample
from gigacount.errors import NotFoundError

SHAPES = ("points", "box", "polygon")


def read_cvat(root: Path, split: str, on_error: OnError = strict) -> Iterator[Sample]:
    found = label_files(root, split, ".xml")
    samples = (sample for path in found for sample in _read_file(path, split, on_error))
    yield from report_unlisted(samples, split, on_error)


def _read_file(path: Path, split: str, on_error: OnError) -> Iterator[Sample]:
    try:
        document = ET.parse(path).getroot()
    except ET.ParseError as error:
        raise bad(path, f"not XML ({error})", error.position[0]) from error
    except OSError as error:
        raise bad(path, f"cannot be read ({error.strerror})") from error
    if document.find("track") is not None:
        raise bad(path, "CVAT for video; export it from CVAT as 'CVAT for images 1.1'")
    images = document.findall("image")
    labels = {shape.get("label", "") for image in images for shape in image if shape.tag in SHAPES}
    parse = partial(_heads, people=sole_people_classes(labels, path))
    entries = (
        (image.get("name", ""), partial(parse_content, path, image, parse)) for image in _of_split(images, split, path)
    )
    yield from read_listed(entries, path, picture_folders(path), on_error)


def _of_split(images: list[ET.Element], split: str, path: Path) -> list[ET.Element]:
    subsets = {image.get("subset", "").lower() for image in images} - {"", "default"}
    if not subsets or split == ALL:
        return images
    chosen = [image for image in images if image.get("subset", "").lower() in SPLITS.get(split, ())]
    if not chosen:
        raise NotFoundError(f"{path}: no '{split}' split, only the subsets {', '.join(sorted(subsets))}")
    return chosen


def _heads(image: ET.Element, people: frozenset[str]) -> Heads:
    points: list[list[float]] = []
    boxes: list[list[float]] = []
    for shape in image:
        if shape.tag not in SHAPES or shape.get("label", "") not in people:
            continue
        if shape.tag == "box":
            boxes.append([float(shape.attrib[side]) for side in ("xtl", "ytl", "xbr", "ybr")])
            continue
        corners = np.array([pair.split(",") for pair in shape.attrib["points"].split(";")], np.float64)
        if shape.tag == "points":
            points += corners.tolist()
        else:
            boxes.append([*corners.min(axis=0), *corners.max(axis=0)])
    return mixed(points, boxes, (int(image.attrib["width"]), int(image.attrib["height"])))
