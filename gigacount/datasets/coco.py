"""COCO JSON: one file for many images.

    {"images": [{"id", "file_name", "width", "height"}],
     "annotations": [{"image_id", "category_id", "bbox": [left, top, width, height], "iscrowd"}],
     "categories": [{"id", "name", "supercategory"}]}

Annotations of heads count, or those of persons where no category is called head; crowd regions (iscrowd) do not. A head
is at its box's centre, or at its key point where there is exactly one; without either, in the middle of its
segmentation. A category that only others name as their supercategory is the name of a project (Roboflow), not a class.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from gigacount.datasets.entries import NO_ENTRY, REPEATED_ID, Entry, LabelledHeads, OnError, read_listed, shown, strict
from gigacount.datasets.files import bad, guarded, load_json
from gigacount.datasets.forms import image_folders, read_files
from gigacount.datasets.shapes import DrawnHeads, HeadShape, around, key_points, people_classes, run_lengths
from gigacount.errors import EntryError

UNKNOWN = "category that the file does not have"


def read_coco(root: Path, split: str, on_error: OnError) -> Iterator[Entry]:
    yield from read_files(root, split, ".json", partial(_read_file, on_error=on_error), on_error)


def _read_file(path: Path, on_error: OnError) -> Iterator[Entry]:
    images, annotations, people = load_coco(path, on_error)
    with guarded(path):
        named = [(str(image["file_name"]), key, image) for key, image in images]
    entries = ((name, partial(heads, path, image, annotations[key], people)) for name, key, image in named)
    yield from read_listed(entries, path, image_folders(path), on_error)


def load_coco(
    path: Path, on_error: OnError = strict
) -> tuple[list[tuple[str, Any]], dict[str, list[tuple[str, Any]]], frozenset[str]]:
    """Images by id; classes and annotations by the id, as text, of their image; and the classes that are people.

    Raises EntryError for an id that two images or categories have, and where no annotation belongs to any image.
    """
    with guarded(path):
        content = load_json(path)
        images = [(_id(image["id"]), image) for image in content["images"]]
        categories = [(_id(category["id"]), category) for category in content["categories"]]
        for kind, things in (("images", images), ("categories", categories)):
            repeated = [key for key, times in Counter(key for key, _ in things).items() if times > 1]
            if repeated:
                problem = f"{len(repeated)} ids of {kind} occur more than once, such as {shown(repeated[0])}"
                raise bad(path, f"{problem}; number the {kind} anew where files are put together")
        names = {key: str(category["name"]) for key, category in categories}
        parents = {str(category["name"]): str(category.get("supercategory") or "") for _, category in categories}
        by_image: dict[str, list[tuple[str, Any]]] = defaultdict(list)
        for annotation in content["annotations"]:
            label = names.get(_id(annotation["category_id"]), UNKNOWN)
            by_image[_id(annotation["image_id"])].append((label, annotation))
    known = {key for key, _ in images}
    lost = {key: those for key, those in by_image.items() if key not in known}
    if lost and len(lost) == len(by_image):
        raise bad(
            path, f"no annotation belongs to any of its images; the first is of image id {shown(next(iter(lost)))}"
        )
    for key, those in lost.items():
        message = f"{path}: {len(those)} annotations of image id {shown(key)}, which no image has"
        on_error(EntryError(NO_ENTRY, message, times=len(those)))
    ids = Counter(_id(a["id"]) for those in by_image.values() for _, a in those if a.get("id") is not None)
    if repeated := [key for key, times in ids.items() if times > 1]:
        message = f"{path}: {len(repeated)} ids of annotations occur more than once, such as {shown(repeated[0])}"
        on_error(EntryError(REPEATED_ID, message, times=len(repeated)))
    used = {label for those in by_image.values() for label, _ in those}
    roots = {parent for name, parent in parents.items() if parent != name} - used
    return images, by_image, people_classes(set(parents) - roots, path, on_error, parents)


def _id(value: Any) -> str:
    """An id as text: 7, 7.0 and "7" are the same."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()


def heads(path: Path, image: Any, annotations: list[tuple[str, Any]], people: frozenset[str]) -> LabelledHeads:
    with guarded(path):
        size = (int(image["width"]), int(image["height"])) if image.get("width") and image.get("height") else None
        return DrawnHeads(annotations, partial(annotation_shape, image=image), size).heads(people)


def annotation_shape(annotation: Any, image: Any) -> HeadShape:
    if annotation.get("iscrowd"):
        return HeadShape(no_head="crowd region (iscrowd)")
    box, drawn = annotation.get("bbox"), annotation.get("segmentation")
    found = None
    if box:
        left, top, width, height = np.asarray(box, np.float64).tolist()
        found = around([(left, top), (left + width, top + height)])
    elif isinstance(drawn, dict):
        found = run_lengths(drawn["counts"], int(drawn["size"][0]))
    elif drawn:
        found = around(np.concatenate([np.asarray(part, np.float64) for part in drawn]))
    if annotation.get("keypoints"):
        return key_points(annotation["keypoints"], found)
    if found is None:
        name = shown(image.get("file_name"))
        raise ValueError(f"annotation {shown(annotation.get('id'))} of '{name}' has no box, segmentation or key point")
    return found
