"""Mall (Chen et al., BMVC 2012): 2,000 frames of a shopping centre's camera.

    frames/seq_000001.jpg
    mall_gt.mat             `frame{1, i}.loc`, N x 2 pixels x, y

Frames 1 to 800 are for training and 801 to 2000 for test, as published.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from gigacount.datasets.entries import Heads, OnError, choose, points_only, read_listed, strict
from gigacount.datasets.files import bad, load_mat, parse_content
from gigacount.datasets.sample import Sample

TRAINING_FRAMES = 800


def read_mall(root: Path, split: str, on_error: OnError = strict) -> Iterator[Sample]:
    truth = choose(split, {"train": root / "mall_gt.mat", "test": root / "mall_gt.mat"})[0]
    content = load_mat(truth)
    if "frame" not in content:
        raise bad(truth, "there is no 'frame' in it")
    frames = content["frame"].ravel()
    first = TRAINING_FRAMES if split == "test" else 0
    stop = TRAINING_FRAMES if split == "train" else len(frames)

    entries = (
        (f"seq_{i:06d}.jpg", partial(parse_content, truth, frame, _parse))
        for i, frame in enumerate(frames[first:stop], first + 1)
    )
    yield from read_listed(entries, truth, [root / "frames"], on_error)


def _parse(frame: Any) -> Heads:
    return points_only(frame.ravel()[0]["loc"])
