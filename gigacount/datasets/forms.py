"""Where a folder of one's own keeps images and labels."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from gigacount.datasets.entries import (
    SPLITS,
    Entry,
    OnError,
    by_stem,
    choose,
    divided,
    files,
    folders,
    images_in,
    read_pairs,
    report_unlisted,
)
from gigacount.datasets.shapes import DrawnFiles, DrawnHeads
from gigacount.errors import NotFoundError

SPLIT_NAMES = tuple(name for names in SPLITS.values() for name in names)
CLASS_FILES = ("classes.txt", "obj.names")
LABEL_FOLDERS = ("annotations", "labels", "image_annos")


def paired_folders(root: Path, split: str) -> list[tuple[Path, Path]]:
    """Folders of images and of their label files, for each part of a split.

    Found in this order: images/train and labels/train; train/images and train/labels; images and labels; the images
    in `root` (or root/train) with labels in its labels folder, or with their labels beside them.
    """
    images, labels = root / "images", root / "labels"
    if any(folder.name.lower() in SPLIT_NAMES for folder in folders(images)):
        return [(folder, labels / folder.name) for folder in divided(images, split)]
    return [(_sub(folder, "images"), _sub(folder, "labels", "images")) for folder in divided(root, split)]


def read_drawings(
    parts: list[tuple[Path, Path]],
    suffix: str,
    parse: Callable[[Path], DrawnHeads],
    where: Path,
    on_error: OnError,
    declared: Collection[str] | None = None,
) -> Iterator[Entry]:
    """Entries of a form with a label file of shapes beside each image; `declared` as in `DrawnFiles`."""
    found = {labels: [path for path in files(labels, {suffix}) if path.name not in CLASS_FILES] for _, labels in parts}
    drawings = DrawnFiles([path for paths in found.values() for path in paths], parse, where, on_error, declared)
    for images, labels in parts:
        named = by_stem(images_in(images), on_error), by_stem(found[labels], on_error)
        yield from read_pairs(*named, drawings.heads, on_error)


def read_files(
    root: Path, split: str, suffix: str, read: Callable[[Path], Iterator[Entry]], on_error: OnError
) -> Iterator[Entry]:
    entries = (entry for path in label_files(root, split, suffix) for entry in read(path))
    yield from report_unlisted(entries, split, on_error)


def _sub(folder: Path, *names: str) -> Path:
    return next((folder / name for name in names if (folder / name).is_dir()), folder)


def label_files(root: Path, split: str, suffix: str) -> list[Path]:
    """The label files of a split in a form that has one file for many images.

    `root` itself if it is a file; the file with the word train (or val, test) in its name in `root` or its annotations
    folder; the only file there, which then is every split, or the files there that are called as the images beside
    them, as scenes have them; or the only file in root/train.
    """
    if root.is_file():
        return [root]
    folder = _sub(root, "annotations")
    found = files(folder, {suffix})
    named = {
        name: _only(those, folder, suffix)
        for name, spellings in SPLITS.items()
        if (those := [path for path in found if words(path) & set(spellings)])
    }
    if named:
        return choose(split, {name: named.get(name, folder / f"{name}{suffix}") for name in SPLITS})
    if found:
        named_after = {path.stem for path in found} <= {image.stem for image in images_in(folder)}
        return found if named_after else [_only(found, folder, suffix)]
    return [_only(files(part, {suffix}), part, suffix) for part in divided(root, split)]


def _only(found: list[Path], folder: Path, suffix: str) -> Path:
    if not found:
        raise NotFoundError(f"no label file: looked for *{suffix} in {folder}")
    if len(found) > 1:
        several = ", ".join(path.name for path in found[:5])
        raise NotFoundError(f"several label files in {folder} ({several}); give the path of one of them")
    return found[0]


def words(path: Path) -> set[str]:
    return set(re.findall("[a-z]+", path.stem.lower()))


def set_folder(path: Path) -> Path:
    """The folder that holds a data set given by its folder or its label file."""
    if path.is_dir():
        return path
    return path.parent.parent if path.parent.name.lower() in LABEL_FOLDERS else path.parent


def image_folders(labels: Path) -> list[Path]:
    """Where the images that a label file names may be: around it, above it, and in folders named for images."""
    around = [labels.parent, labels.parent.parent]
    splits = [name for name in SPLIT_NAMES if name in words(labels)]
    inside = ["images", *splits, *(f"images/{name}" for name in splits), *(f"{name}2017" for name in splits)]
    return [*around, *(folder / name for name in inside for folder in around)]
