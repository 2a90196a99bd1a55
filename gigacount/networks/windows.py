"""Windows inside one input: networks trained on small crops see a larger image through them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from gigacount.networks.base import pad_to_multiple


@dataclass(frozen=True)
class Tiling:
    """How a network sees images that are larger than it takes: windows and the step between them in pixels (height,
    width), how many run at once, of what sides are multiples, and from how many pixels on."""

    window_hw: tuple[int, int]
    step_hw: tuple[int, int]
    batch: int = 4
    multiple: int = 1
    from_pixels: int = 0


def starts(length: int, window: int, step: int) -> list[int]:
    """First pixels of the windows along one side: one every `step`, the last flush with the end."""
    last = max(length - window, 0)
    return [*range(0, last, step), last]


def mean_over_windows(images: Tensor, run: Callable[[Tensor], Tensor], tiling: Tiling) -> Tensor:
    """`run` (n, C, h, w) -> (n, K, h, w) on every window of (B, C, H, W): (B, K, H, W), the mean where windows overlap.

    Windows larger than the image are cut to it.
    """
    size = tuple(min(side, window) for side, window in zip(images.shape[-2:], tiling.window_hw, strict=True))
    tops, lefts = (starts(*sides) for sides in zip(images.shape[-2:], tiling.window_hw, tiling.step_hw, strict=True))
    places = [
        (image, slice(top, top + size[0]), slice(left, left + size[1]))
        for image in range(len(images))
        for top in tops
        for left in lefts
    ]
    total: Tensor | None = None
    covers = torch.zeros_like(images[:, :1], dtype=torch.float32)
    for first in range(0, len(places), tiling.batch):
        chunk = places[first : first + tiling.batch]
        results = run(torch.stack([images[image, :, rows, cols] for image, rows, cols in chunk]))
        if total is None:
            total = results.new_zeros((len(images), results.shape[1], *images.shape[-2:]))
        for (image, rows, cols), result in zip(chunk, results, strict=True):
            total[image, :, rows, cols] += result
            covers[image, :, rows, cols] += 1
    assert total is not None
    return total / covers


def whole_or_tiled(images: Tensor, run: Callable[[Tensor], Tensor], tiling: Tiling) -> Tensor:
    """`run` (n, C, h, w) -> (n, K, h, w) on images (B, C, H, W) of any size: (B, K, H, W), at once where they fit."""
    height, width = images.shape[-2:]
    padded = pad_to_multiple(images, tiling.multiple)
    tiled = padded.shape[-2] * padded.shape[-1] >= tiling.from_pixels
    maps = mean_over_windows(padded, run, tiling) if tiled else run(padded)
    return maps[..., :height, :width]
