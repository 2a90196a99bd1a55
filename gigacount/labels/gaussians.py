"""Density maps: people per cell, so that a map sums to the number of heads."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gigacount.geometry import Size
from gigacount.labels.maps import checked_boxes, checked_points, nearest_heads, pixels_of

Floats = NDArray[np.float64]
Spans = NDArray[np.int64]

MIN_SIGMA = 1e-3  # px; stands for 0, an impulse, where heads share one position
CHUNK = 256  # heads whose kernels are computed at once


def gaussian_density(
    points_xy: ArrayLike, size_wh: Size, sigma: float | ArrayLike, stride: int = 1, radius: int | None = None
) -> NDArray[np.float32]:
    """One Gaussian per head, (rows, cols) float32 people per cell of `stride` pixels.

    sigma: pixels, one for all heads or (N,) one for each (`adaptive_sigmas`); 0 is an impulse. radius: the kernel
    reaches this many pixels either side of the head's pixel, by default 4 sigma; 15 x 15 in the literature is sigma 4,
    radius 7.

    Kernels are cut at the image's border and renormalised to 1, so the map sums to N. Coarser cells are sums of
    pixels, never interpolated (CSRNet's public code loses heads in both ways).
    """
    points = checked_points(points_xy, size_wh)
    sigmas = np.broadcast_to(np.asarray(sigma, np.float64), len(points))
    reach = np.broadcast_to(np.rint(4 * sigmas) if radius is None else radius, len(points)).astype(np.int64)
    pixel = pixels_of(points, size_wh)
    return _paint(points, sigmas, (pixel - reach[:, None], pixel + reach[:, None] + 1), size_wh, stride)


def box_density(boxes_xyxy: ArrayLike, size_wh: Size, sigma: float = 4, stride: int = 1) -> NDArray[np.float32]:
    """One Gaussian per head box, cut to the box and renormalised to 1: (rows, cols) float32 people per cell.

    PANDA's truth in GigaZoom, IV-A. What sticks out of the image is cut off; a thin box gets at least one pixel.
    """
    boxes = checked_boxes(boxes_xyxy, size_wh)
    limit = np.asarray(size_wh)
    near, far = np.clip(boxes[:, :2], 0, limit), np.clip(boxes[:, 2:], 0, limit)
    centre = (near + far) / 2
    pixel = pixels_of(centre, size_wh)
    start = np.minimum(np.ceil(near - 0.5).astype(np.int64), pixel)  # pixels whose centre is in the box
    stop = np.maximum(np.ceil(far - 0.5).astype(np.int64), pixel + 1)
    return _paint(centre, np.full(len(boxes), float(sigma)), (start, stop), size_wh, stride)


def adaptive_sigmas(points_xy: ArrayLike, size_wh: Size, beta: float = 0.3, neighbours: int = 3) -> NDArray[np.float64]:
    """Geometry-adaptive sigma of each head, (N,) pixels: `beta` times the mean distance to its nearest other heads.

    CSRNet's public code (Zhang et al. 2016): beta 0.3, 3 neighbours; a single head gets a quarter of the image's mean
    side. RAZ-Net (3.1) writes exp(-d^2/sigma^2) with beta 0.1 and 4 neighbours: here beta 0.1 / sqrt(2).
    """
    points = checked_points(points_xy, size_wh)
    if len(points) < 2:
        return np.full(len(points), sum(size_wh) / 2 / 4)
    distances, _ = nearest_heads(points, points, min(neighbours + 1, len(points)))
    sigmas: Floats = beta * distances[:, 1:].mean(axis=1)  # column 0 is the head itself
    return sigmas


def _paint(
    centres_xy: Floats, sigmas: Floats, spans: tuple[Spans, Spans], size_wh: Size, stride: int
) -> NDArray[np.float32]:
    """Add one separable kernel per head; spans: first and past-the-last pixel (N, 2), cut to the image here."""
    density = np.zeros((-(-size_wh[1] // stride), -(-size_wh[0] // stride)), np.float32)
    start, stop = np.maximum(spans[0], 0), np.minimum(spans[1], np.asarray(size_wh))
    order = np.argsort((stop - start).max(axis=1))  # heads of similar reach together: their kernels are one array
    for heads in range(0, len(order), CHUNK):
        chosen = order[heads : heads + CHUNK]
        first, end = start[chosen] // stride, -(-stop[chosen] // stride)
        x, y = (
            _kernels(centres_xy[chosen, axis], sigmas[chosen], (start[chosen, axis], stop[chosen, axis]), stride)
            for axis in (0, 1)
        )
        for i, ((left, top), (right, bottom)) in enumerate(zip(first.tolist(), end.tolist(), strict=True)):
            density[top:bottom, left:right] += y[i, : bottom - top, None] * x[i, : right - left]
    return density


def _kernels(centres: Floats, sigmas: Floats, span: tuple[Spans, Spans], stride: int) -> NDArray[np.float32]:
    """1-D kernels that sum to 1, (N, cells) float32, summed into cells from the one that holds the span's start."""
    start, stop = span
    origin = start // stride * stride
    cells = -(-int((stop - origin).max()) // stride)
    pixel = origin[:, None] + np.arange(cells * stride)  # (N, cells * stride)
    exponent = -(((pixel + 0.5 - centres[:, None]) / np.maximum(sigmas, MIN_SIGMA)[:, None]) ** 2) / 2
    exponent[(pixel < start[:, None]) | (pixel >= stop[:, None])] = -np.inf
    # Relative to the nearest pixel, or a narrow kernel between two centres would vanish.
    weight = np.exp(exponent - exponent.max(axis=1, keepdims=True))
    weight /= weight.sum(axis=1, keepdims=True)
    pooled: Floats = weight.reshape(len(centres), cells, stride).sum(axis=2)
    return pooled.astype(np.float32)
