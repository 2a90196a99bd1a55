"""Labelled pictures: `read("shanghaitech-a:data/ShanghaiTech", "train")` gives its samples one by one.

One more data set is a module with a reader, and a line in `DATASETS`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from gigacount.datasets.beijing_brt import read_beijing_brt
from gigacount.datasets.coco import read_coco
from gigacount.datasets.csv_points import read_csv
from gigacount.datasets.cvat import read_cvat
from gigacount.datasets.entries import ALL, EMPTY, OnError, Reader, strict
from gigacount.datasets.fdst import read_fdst
from gigacount.datasets.geojson import read_geojson
from gigacount.datasets.jhu import read_jhu
from gigacount.datasets.labelme import read_labelme
from gigacount.datasets.mall import read_mall
from gigacount.datasets.nwpu import read_nwpu
from gigacount.datasets.panda import read_panda
from gigacount.datasets.people_free import read_people_free
from gigacount.datasets.sample import Sample
from gigacount.datasets.shanghaitech import read_part_a, read_part_b
from gigacount.datasets.ucf_cc_50 import read_ucf_cc_50
from gigacount.datasets.ucf_qnrf import read_ucf_qnrf
from gigacount.datasets.worldexpo import read_worldexpo
from gigacount.datasets.yolo import read_yolo
from gigacount.errors import EntryError, NotFoundError, UnknownNameError, UsageError

__all__ = ["ALL", "DATASETS", "Sample", "parse_spec", "read"]

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
}


def parse_spec(spec: str) -> tuple[str, Path]:
    """Name and path of a data set given as NAME:PATH.

    UsageError where there is no name, UnknownNameError for one that is not in `DATASETS`, NotFoundError for a path
    that does not exist.
    """
    name, colon, path = spec.partition(":")
    if not colon or not path:
        raise UsageError(f"'{spec}' does not say which data set it is; write NAME:PATH, such as csv:photos/heads.csv")
    if name not in DATASETS:
        raise UnknownNameError("data set", name, DATASETS)
    if not Path(path).exists():
        raise NotFoundError(f"{name}: there is no {path}; give the folder that the data set unpacks to")
    return name, Path(path)


def read(spec: str, split: str = "train", on_error: OnError = strict) -> Iterator[Sample]:
    """The samples of a data set given as NAME:PATH, in an order that never changes.

    split: train, val, test, or 'all' for every split that is there. A folder of one's own that is not divided gives
    all its pictures for any split.
    on_error: gets the EntryError of each picture or label file that cannot be used; by default raises it.
    NotFoundError where the folder has no such split; EntryError too where the split has no labelled picture.
    """
    name, path = parse_spec(spec)
    return _read(name, path, split, on_error)


def _read(name: str, path: Path, split: str, on_error: OnError) -> Iterator[Sample]:
    empty = True
    try:
        for sample in DATASETS[name](path, split, on_error):
            empty = False
            yield sample
    except EntryError as error:  # a label file that serves many pictures
        on_error(error)
    except NotFoundError as error:
        raise NotFoundError(f"{name}:{path}: {error}") from error
    else:
        if empty:
            on_error(EntryError(EMPTY, f"{name}:{path}: no labelled pictures in its '{split}' split"))
