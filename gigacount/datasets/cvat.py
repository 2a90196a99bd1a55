"""CVAT for images 1.1: one XML file for many images.

    <annotations><image name="a.jpg" width="900" height="600" subset="train">
      <points label="head" points="10.5,20.0;30.1,40.2"/> <box label="head" xtl="1" ytl="2" xbr="3" ybr="4"/>
    </image></annotations>

Shapes labelled head count, or else those labelled person. Points are heads; other shapes are heads in the middle of
their extent. Where images have a subset, it is their split.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gigacount.datasets.entries import ALL, SPLITS, Entry, LabelledHeads, OnError, read_listed
from gigacount.datasets.files import bad, guarded, load_xml
from gigacount.datasets.forms import image_folders, read_files
from gigacount.datasets.shapes import DrawnHeads, HeadShape, around, ellipse, key_points, people_classes, rectangle
from gigacount.errors import NotFoundError

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element


def read_cvat(root: Path, split: str, on_error: OnError) -> Iterator[Entry]:
    yield from read_files(root, split, ".xml", partial(_read_file, split=split, on_error=on_error), on_error)


def _read_file(path: Path, split: str, on_error: OnError) -> Iterator[Entry]:
    document = load_xml(path)
    if document.find("track") is not None:
        raise bad(path, "CVAT for video; export it from CVAT as 'CVAT for images 1.1'")
    images = document.findall("image")
    declared = {label.findtext("name", "") for label in document.iter("label") if not label.findtext("parent")}
    used = {shape.get("label", "") for image in images for shape in image}
    people = people_classes((declared - {""}) | used, path, on_error)
    entries = ((_name(image), partial(_heads, path, image, people)) for image in _of_split(images, split, path))
    yield from read_listed(entries, path, image_folders(path), on_error)


def _name(image: Element) -> str:
    """A project of several subsets has its images in a folder for each."""
    subset, name = image.get("subset", ""), image.get("name", "")
    return f"{subset}/{name}" if subset else name


def _of_split(images: list[Element], split: str, path: Path) -> list[Element]:
    subsets = {image.get("subset", "").lower() for image in images} - {"", "default"}
    if not subsets or split == ALL:
        return images
    chosen = [image for image in images if image.get("subset", "").lower() in SPLITS.get(split, ())]
    if not chosen:
        raise NotFoundError(f"{path}: no '{split}' split, only the subsets {', '.join(sorted(subsets))}")
    return chosen


def _heads(path: Path, image: Element, people: frozenset[str]) -> LabelledHeads:
    with guarded(path):
        size = int(image.attrib["width"]), int(image.attrib["height"])
        return DrawnHeads([(shape.get("label", ""), shape) for shape in image], _shape, size).heads(people)


def _shape(shape: Element) -> HeadShape:
    def numbers(*names: str) -> list[float]:
        return [float(shape.attrib[name]) for name in names]

    if shape.tag == "points":
        return HeadShape(_vertices(shape).tolist())
    if shape.tag == "box":
        return rectangle(numbers("xtl", "ytl", "xbr", "ybr"), float(shape.get("rotation", 0)))
    if shape.tag == "ellipse":
        return ellipse(numbers("cx", "cy"), numbers("rx", "ry"), float(shape.get("rotation", 0)))
    if shape.tag == "mask":
        left, top, width, height = numbers("left", "top", "width", "height")
        return around([(left, top), (left + width, top + height)])
    if shape.tag == "cuboid":
        return around([numbers(f"x{corner}", f"y{corner}") for corner in CORNERS])
    if shape.tag in ("polygon", "polyline"):
        return around(_vertices(shape))
    if shape.tag == "skeleton":
        joints = [(*_vertices(joint)[0], joint.get("outside") != "1") for joint in shape.iter("points")]
        return key_points(joints, None)
    return HeadShape(no_head=f"{shape.tag} without a position")


CORNERS = ("tl1", "tr1", "bl1", "br1", "tl2", "tr2", "bl2", "br2")


def _vertices(shape: Element) -> NDArray[np.float64]:
    return np.array([pair.split(",") for pair in shape.attrib["points"].split(";")], np.float64)
