"""What the general forms share: where a folder of one's own keeps pictures and labels, and which classes are people."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from gigacount.datasets.entries import SPLITS, choose, divided, files
from gigacount.datasets.files import bad
from gigacount.errors import EntryError, NotFoundError

HEAD_NAMES = frozenset({"head", "heads", "person head", "human head"})
PERSON_NAMES = frozenset({"person", "persons", "people", "human", "pedestrian", "pedestrians"})


def people_classes(names: Iterable[str]) -> frozenset[str]:
    """The class names that count: those of heads if there are any, else those of persons."""
    present = frozenset(names)
    heads = frozenset(name for name in present if name.strip().lower() in HEAD_NAMES)
    return heads or frozenset(name for name in present if name.strip().lower() in PERSON_NAMES)


def sole_people_classes(names: Iterable[str], where: Path) -> frozenset[str]:
    """As `people_classes`, but a single class counts whatever its name; EntryError if several are all unknown."""
    present = frozenset(names)
    people = people_classes(present)
    if people or len(present) <= 1:
        return people or present
    raise no_people(present, where)


def no_people(classes: Iterable[str], where: Path) -> EntryError:
    """The error of labels that name no class known to be people."""
    named = ", ".join(f"'{name}'" for name in sorted(classes))
    return bad(where, f"no class known to be people among {named}; rename the one that counts to 'head' or 'person'")


def paired_folders(root: Path, split: str) -> list[tuple[Path, Path]]:
    """Folders of pictures and of their label files, for each part of a split.

    Found in this order: images/train and labels/train; train/images and train/labels; images and labels; the pictures
    in `root` (or root/train) with labels in its labels folder, or with their labels beside them.
    """
    images, labels = root / "images", root / "labels"
    if any((images / name).is_dir() for names in SPLITS.values() for name in names):
        return [(folder, labels / folder.name) for folder in divided(images, split)]
    return [(_sub(folder, "images"), _sub(folder, "labels", "images")) for folder in divided(root, split)]


def _sub(folder: Path, *names: str) -> Path:
    return next((folder / name for name in names if (folder / name).is_dir()), folder)


def label_files(root: Path, split: str, suffix: str) -> list[Path]:
    """The label files of a split in a form that has one file for many pictures.

    `root` itself if it is a file; the file with the word train (or val, test) in its name in `root` or its annotations
    folder; the only file there, which then is every split; or the only file in root/train.
    """
    if root.is_file():
        return [root]
    folder = _sub(root, "annotations")
    found = files(folder, {suffix})
    named = {name: _only(those, folder, suffix) for name in SPLITS if (those := [p for p in found if name in words(p)])}
    if named:
        return choose(split, {name: named.get(name, folder / f"{name}{suffix}") for name in SPLITS})
    if found:
        return [_only(found, folder, suffix)]
    return [_only(files(part, {suffix}), part, suffix) for part in divided(root, split)]


def _only(found: list[Path], folder: Path, suffix: str) -> Path:
    if not found:
        raise NotFoundError(f"no label file: looked for *{suffix} in {folder}")
    if len(found) > 1:
        several = ", ".join(path.name for path in found[:5])
        raise NotFoundError(f"several label files in {folder} ({several}); give the path of one of them")
    return found[0]


def words(path: Path) -> set[str]:
    """The words in a file's name: instances, train of instances_train2017.json."""
    return set(re.findall("[a-z]+", path.stem.lower()))


def picture_folders(labels: Path) -> list[Path]:
    """Where the pictures that a label file names may be: around it, above it, and in folders named for pictures."""
    around = [labels.parent, labels.parent.parent]
    splits = [name for names in SPLITS.values() for name in names if name in words(labels)]
    inside = ["images", *splits, *(f"images/{name}" for name in splits), *(f"{name}2017" for name in splits)]
    return [*around, *(folder / name for name in inside for folder in around)]
