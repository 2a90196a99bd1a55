"""Labelled images: `read("shanghaitech-a:data/ShanghaiTech", "train")` gives its samples one by one.

One more data set is a module with a reader, and a line in `DATASETS`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from gigacount.datasets.coco import read_coco
from gigacount.datasets.corrections import read_corrections
from gigacount.datasets.csv_points import read_csv
from gigacount.datasets.cvat import read_cvat
from gigacount.datasets.entries import ALL, NOTICES, OnError, Reader, Sample, strict
from gigacount.datasets.geojson import read_geojson
from gigacount.datasets.labelme import read_labelme
from gigacount.datasets.panda import read_panda
from gigacount.datasets.published import (
    read_beijing_brt,
    read_fdst,
    read_jhu,
    read_mall,
    read_nwpu,
    read_part_a,
    read_part_b,
    read_people_free,
    read_ucf_cc_50,
    read_ucf_qnrf,
    read_worldexpo,
)
from gigacount.datasets.reading import samples
from gigacount.datasets.yolo import read_yolo
from gigacount.errors import DataError, EntryError, NotFoundError, UnknownNameError, UsageError
from gigacount.options import LabelOptions

__all__ = ["ALL", "DATASETS", "NOTICES", "Sample", "load", "parse_spec", "read", "stands_apart"]

DATASETS: dict[str, Reader] = {
    "panda": read_panda,
    "shanghaitech-a": read_part_a,
    "shanghaitech-b": read_part_b,
    "ucf-qnrf": read_ucf_qnrf,
    "ucf-cc-50": read_ucf_cc_50,
    "nwpu": read_nwpu,
    "jhu": read_jhu,
    "mall": read_mall,
    "worldexpo": read_worldexpo,
    "fdst": read_fdst,
    "beijing-brt": read_beijing_brt,
    "people-free": read_people_free,
    "csv": read_csv,
    "geojson": read_geojson,
    "coco": read_coco,
    "yolo": read_yolo,
    "labelme": read_labelme,
    "cvat": read_cvat,
    "corrections": read_corrections,
}


def parse_spec(spec: str) -> tuple[str, Path]:
    """Name and path of a data set given as NAME:PATH. Raises UsageError, UnknownNameError or NotFoundError."""
    name, colon, path = spec.partition(":")
    if not colon or not path:
        raise UsageError(f"'{spec}' does not say which data set it is; write NAME:PATH, such as csv:photos/heads.csv")
    if name not in DATASETS:
        raise UnknownNameError("data set", name, DATASETS)
    if not Path(path).exists():
        raise NotFoundError(f"{name}: there is no {path}; give the folder that the data set unpacks to")
    return name, Path(path)


def read(
    spec: str, split: str = "train", on_error: OnError = strict, options: LabelOptions | None = None
) -> Iterator[Sample]:
    """The samples of a data set given as NAME:PATH, in an order that never changes.

    split: train, val, test, or all; a folder that is not divided gives all its images for any. on_error: gets the
    EntryError of each image or label file that cannot be used, by default raises it; it gets notices (`NOTICES`) too.
    NotFoundError where the folder has no such split; EntryError where the split has no labelled image.
    """
    name, path = parse_spec(spec)
    return samples(DATASETS[name], spec, path, split, on_error, options or LabelOptions())


def stands_apart(spec: str, split: str) -> bool:
    """Whether a data set has a split of its own, none of whose images is for training too."""
    name, path = parse_spec(spec)

    def images(which: str) -> set[Path]:
        return {entry.image for entry in DATASETS[name](path, which, lambda error: None)}

    try:
        own = images(split)
        return bool(own) and own.isdisjoint(images("train"))
    except DataError:
        return False


def load(spec: str, split: str, notify: Callable[[str], None], options: LabelOptions | None = None) -> list[Sample]:
    """All samples of a data set; what `read` gives notice of is told in one line. Raises what `read` raises."""
    notices: list[EntryError] = []

    def on_error(error: EntryError) -> None:
        strict(error)
        notices.append(error)

    found = list(read(spec, split, on_error, options))
    if notices:
        times: Counter[str] = Counter()
        for notice in notices:
            times[notice.kind] += notice.times
        what = ", ".join(f"{many} x {kind}" for kind, many in times.most_common())
        notify(f"{spec}: {what}; `gigacount data check {spec} --split {split}` names them")
    return found
