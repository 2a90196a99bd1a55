"""FDST, Fudan-ShanghaiTech (Fang et al., ICME 2019): 100 videos of 150 frames.

    {train,test}_data/<video>/001.jpg
                             /001.json     VGG Image Annotator: {file: {"regions": [{"shape_attributes": {...}}]}}

A region is a rectangle (x, y, width, height in pixels) around a head.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gigacount.datasets.entries import (
    Heads,
    OnError,
    by_stem,
    choose,
    files,
    from_boxes,
    natural,
    pictures,
    read_pairs,
    strict,
)
from gigacount.datasets.files import load_json, parse_content
from gigacount.datasets.sample import Sample


def read_fdst(root: Path, split: str, on_error: OnError = strict) -> Iterator[Sample]:
    for folder in choose(split, {"train": root / "train_data", "test": root / "test_data"}):
        for video in sorted((path for path in folder.iterdir() if path.is_dir()), key=natural):
            images, labels = by_stem(pictures(video)), by_stem(files(video, {".json"}))
            yield from read_pairs(images, labels, _parse, on_error)


def _parse(path: Path) -> Heads:
    def heads(content: Any) -> Heads:
        (annotations,) = content.values()
        regions = annotations["regions"]
        shapes = [r["shape_attributes"] for r in (regions.values() if isinstance(regions, dict) else regions)]
        return from_boxes([(s["x"], s["y"], s["x"] + s["width"], s["y"] + s["height"]) for s in shapes])

    return parse_content(path, load_json(path), heads)
