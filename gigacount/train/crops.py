"""Crops: a random place at a random scale, mirrored, its colours changed; each step's crops follow from its number."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn import functional as F

from gigacount.datasets import Sample
from gigacount.geometry import Size, Window, fit
from gigacount.networks.base import Network, Targets, stack_targets
from gigacount.train.recipes import Augmentation, Recipe
from gigacount.train.sources import TrainingPicture, TrainingSet

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class CropHeads:
    """points_xy: (N, 2) pixels. boxes_xyxy: (N, 4) pixels; rows of NaN for heads whose box is not known."""

    points_xy: Floats
    boxes_xyxy: Floats

    @classmethod
    def of(cls, sample: Sample) -> CropHeads:
        points, boxes = sample.points_xy, sample.boxes_xyxy
        return cls(points, np.full((len(points), 4), np.nan) if boxes is None else boxes)

    @classmethod
    def joined(cls, parts: Sequence[CropHeads]) -> CropHeads:
        return cls(
            np.concatenate([part.points_xy for part in parts]), np.concatenate([part.boxes_xyxy for part in parts])
        )

    def moved(self, shift_xy: ArrayLike, scale_xy: ArrayLike = (1.0, 1.0)) -> CropHeads:
        """Shifted, then scaled."""
        shift, scale = np.asarray(shift_xy, np.float64), np.asarray(scale_xy, np.float64)
        return CropHeads((self.points_xy + shift) * scale, (self.boxes_xyxy + np.tile(shift, 2)) * np.tile(scale, 2))

    def mirrored(self, width: int) -> CropHeads:
        """Left and right exchanged in a crop so wide."""
        points = np.stack([np.nextafter(width, 0) - self.points_xy[:, 0], self.points_xy[:, 1]], axis=1)
        left, top, right, bottom = self.boxes_xyxy.T
        return CropHeads(points, np.stack([width - right, top, width - left, bottom], axis=1))

    def turned(self, matrix: Floats) -> CropHeads:
        """About the origin by (2, 2) `matrix`, which points are multiplied by. A head is about round: its box keeps
        its sides."""
        centre = (self.boxes_xyxy[:, :2] + self.boxes_xyxy[:, 2:]) / 2
        half = (self.boxes_xyxy[:, 2:] - self.boxes_xyxy[:, :2]) / 2
        centre = centre @ matrix
        return CropHeads(self.points_xy @ matrix, np.hstack([centre - half, centre + half]))

    def inside(self, size_wh: Size) -> CropHeads:
        """The heads in a crop of `size_wh`; the box of one is not known where it does not reach into the crop."""
        here = ((self.points_xy >= 0) & (self.points_xy < size_wh)).all(axis=1)
        boxes = self.boxes_xyxy[here]
        reaching = ((boxes[:, 2:] > 0) & (boxes[:, :2] < size_wh)).all(axis=1, keepdims=True)
        return CropHeads(self.points_xy[here], np.where(reaching, boxes, np.nan))

    def clipped(self, size_wh: Size) -> CropHeads:
        """With all positions inside, whatever rounding did."""
        return CropHeads(np.clip(self.points_xy, 0, np.nextafter(size_wh, 0)), self.boxes_xyxy)


MAX_WH = (2560, 1440)  # of a whole image, unless a recipe says otherwise
GREY = 127  # stands where a crop reaches past an image: near the mean, as a network pads
CLOSE_UPS = 0.5  # share of people-free crops that are enlarged the recipe's `close_up` times at the least
NOISE = (2 / 255, 12 / 255)  # standard deviation
ABOVE_SCALES = (0.12, 1.5)  # of turned crops of images from above
ABOVE_HEADS = 0.65  # share of those that are cut around a head
ABOVE_REACH = 0.4  # how far from its middle that head may be, in sides of the crop

Batch = tuple[Tensor, dict[str, Tensor]]
"""Normalised images (B, 3, H, W) and the network's stacked targets."""

Crop = tuple[Tensor, CropHeads]
"""uint8 RGB (3, H, W) and the heads inside, in its pixels."""


@dataclass(frozen=True)
class Colours:
    """What a crop's colours become. gains: (3,) factors. noise: seed and standard deviation of what is added."""

    grey: bool = False
    gamma: float = 1.0
    gains: Floats | None = None
    soft: bool = False
    noise: tuple[int, float] | None = None

    @classmethod
    def draw(cls, augmentation: Augmentation, rng: np.random.Generator) -> Colours:
        """With the recipe's probabilities."""
        grey, gamma, gains = rng.random() < augmentation.grey, 1.0, None
        if augmentation.gamma is not None and rng.random() < augmentation.gamma_probability:
            gamma = rng.uniform(*augmentation.gamma)
        if augmentation.tint and rng.random() < augmentation.gamma_probability:
            gains = np.exp(rng.uniform(-augmentation.tint, augmentation.tint, 3))
        soft = bool(augmentation.soft) and rng.random() < augmentation.soft
        noisy = bool(augmentation.noise) and rng.random() < augmentation.noise
        return cls(grey, gamma, gains, soft, (int(rng.integers(2**62)), rng.uniform(*NOISE)) if noisy else None)

    def change(self, pixels: Tensor) -> None:
        """RGB 0..1 (3, H, W), in place, wherever it is."""
        if self.grey:
            pixels.copy_(pixels.mean(0, keepdim=True).expand_as(pixels))
        if self.gamma != 1:
            pixels.pow_(self.gamma)
        if self.gains is not None:
            pixels.mul_(torch.tensor(self.gains, dtype=pixels.dtype, device=pixels.device)[:, None, None]).clamp_(0, 1)
        if self.soft:
            halved = F.avg_pool2d(pixels[None], 2)
            pixels.copy_(F.interpolate(halved, pixels.shape[1:], mode="bilinear", align_corners=False)[0])
        if self.noise is not None:
            seed, sigma = self.noise
            random = torch.Generator(pixels.device).manual_seed(seed)
            noise = torch.randn(pixels.shape, generator=random, device=pixels.device)
            pixels.add_(noise, alpha=sigma).clamp_(0, 1)


@dataclass(frozen=True)
class Crops:
    """The crops of one step, as a process cuts them: uint8 RGB (B, H, W, 3), and what their colours become.

    targets: the network's, stacked.
    """

    pixels: NDArray[np.uint8]
    colours: Sequence[Colours]
    targets: Targets


class CropMaker:
    """Makes the batch of any step, by that step's own random numbers: a resumed run sees what an unbroken one sees.

    A process that is spawned with it gets no more of the network than its targets need.
    """

    def __init__(self, sources: Sequence[TrainingSet], network: Network, recipe: Recipe, seed: int) -> None:
        self.sources, self.network, self.recipe, self.seed = sources, network, recipe, seed
        weights = np.array([source.weight for source in sources])
        self._shares = weights / weights.sum()
        self._positions: dict[str, NDArray[np.int64]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "network": copy.deepcopy(self.network).to("meta")}

    def crops(self, step: int, rank: int = 0) -> Crops:
        """The crops of one step in one process: they follow from the seed, the step and the process's rank alone."""
        rng = np.random.default_rng((self.seed, step, rank))
        pixels, colours, targets = [], [], []
        for _ in range(self.recipe.batch):
            crop, heads = self._mosaic(rng)
            pixels.append(crop.permute(1, 2, 0).numpy())
            colours.append(Colours.draw(self.recipe.augmentation, rng))
            targets.append(self.network.targets(heads.points_xy, (crop.shape[2], crop.shape[1]), heads.boxes_xyxy))
        return Crops(np.stack(pixels), colours, stack_targets(targets))

    def batch(self, crops: Crops, device: torch.device) -> Batch:
        """Crops as a network takes them; their colours are changed where it is."""
        images = unit(torch.from_numpy(crops.pixels), device)
        for image, colours in zip(images, crops.colours, strict=True):
            colours.change(image)
        targets = {name: uploaded(torch.from_numpy(target), device) for name, target in crops.targets.items()}
        return normalised(images, self.recipe), targets

    def _mosaic(self, rng: np.random.Generator) -> Crop:
        """A crop, or several smaller ones of different images side by side."""
        chances = np.array(self.recipe.augmentation.mosaic)
        tiles = int(rng.choice(len(chances), p=chances / chances.sum())) + 1
        if self.recipe.crop_wh is None or tiles == 1:
            return self._crop(self.recipe, rng)
        width, height = self.recipe.crop_wh
        lefts, tops = ([side * n // tiles for n in range(tiles + 1)] for side in (width, height))
        pixels, parts = torch.empty(height, width, 3, dtype=torch.uint8).permute(2, 0, 1), []
        for left, right in pairwise(lefts):
            for top, bottom in pairwise(tops):
                tile = replace(self.recipe, crop_wh=(right - left, bottom - top))
                pixels[:, top:bottom, left:right], heads = self._crop(tile, rng)
                parts.append(heads.moved((left, top)))
        return pixels, CropHeads.joined(parts).clipped(self.recipe.crop_wh)  # moving may round a head onto the edge

    def _crop(self, recipe: Recipe, rng: np.random.Generator) -> Crop:
        """A crop of an image of one of the sources, any image of a source as likely."""
        source = self.sources[rng.choice(len(self.sources), p=self._shares)]
        picture = source.train[self._draw_picture(source, recipe, rng)]
        augmentation = recipe.augmentation
        if recipe.crop_wh is not None and source.from_above and rng.random() < augmentation.above:
            pixels, heads = turned(picture, recipe.crop_wh, str(rng.choice(augmentation.kernels)), rng)
        else:
            window, size = choose(picture, recipe, rng)
            pixels = cut(picture, window, size, str(rng.choice(augmentation.kernels)))
            scale = size[0] / window.width, size[1] / window.height
            heads = CropHeads.of(picture.sample).moved((-window.left, -window.top), scale)
        if empty(picture) and rng.random() < augmentation.people_free.turn:
            quarters = int(rng.integers(1, 4)) if pixels.shape[1] == pixels.shape[2] else 2
            pixels = torch.rot90(pixels, quarters, (1, 2))
        size = pixels.shape[2], pixels.shape[1]
        heads = heads.inside(size)
        if rng.random() < augmentation.flip:
            pixels, heads = pixels.flip(2), heads.mirrored(size[0])
        return pixels, heads.clipped(size)

    def _draw_picture(self, source: TrainingSet, recipe: Recipe, rng: np.random.Generator) -> int:
        """Any image of a source as likely, or, where crops lie everywhere, as it has positions for one."""
        if recipe.crop_wh is None or not recipe.augmentation.everywhere:
            return int(rng.integers(len(source.train)))
        if source.title not in self._positions:
            rooms = (np.subtract(picture.size_wh, recipe.crop_wh) + 1 for picture in source.train)
            self._positions[source.title] = np.cumsum([max(room[0], 1) * max(room[1], 1) for room in rooms])
        positions = self._positions[source.title]
        return int(np.searchsorted(positions, rng.integers(positions[-1]), side="right"))


def empty(picture: TrainingPicture) -> bool:
    return len(picture.sample.points_xy) == 0


def choose(picture: TrainingPicture, recipe: Recipe, rng: np.random.Generator) -> tuple[Window, Size]:
    """A window of the image, which may reach past it, and the size that it is brought to."""
    augmentation, size_wh = recipe.augmentation, picture.size_wh
    if recipe.crop_wh is not None and augmentation.grid and rng.random() < augmentation.grid:
        return grid_cell(size_wh, recipe.crop_wh, rng), recipe.crop_wh
    scale = draw_scale(picture, augmentation, rng) * shrunk_wh(picture, recipe)[0] / size_wh[0]
    if recipe.crop_wh is not None and augmentation.fill:
        scale = max(scale, *(crop / side for crop, side in zip(recipe.crop_wh, size_wh, strict=True)))
    size = recipe.crop_wh or (max(round(size_wh[0] * scale), 1), max(round(size_wh[1] * scale), 1))
    stretch = math.exp(rng.uniform(-1, 1) * augmentation.stretch / 2) if augmentation.stretch and scale != 1 else 1.0
    need = max(round(size[0] / scale / stretch), 1), max(round(size[1] / scale * stretch), 1)
    points = picture.sample.points_xy
    if augmentation.crowd and len(points) and rng.random() < augmentation.crowd:
        head = points[rng.integers(len(points))]
        left, top = (around(*of_axis, rng) for of_axis in zip(head, size_wh, need, strict=True))
    else:
        choose_place = place_anywhere if augmentation.everywhere else place
        left, top = (choose_place(side, n, rng) for side, n in zip(size_wh, need, strict=True))
    return Window(left, top, *need), size


def shrunk_wh(picture: TrainingPicture, recipe: Recipe) -> Size:
    """The image's size before crops are cut: shrunk as the recipe says, or where a whole one is too large."""
    limit = recipe.fit_wh or (None if picture.small or recipe.crop_wh is not None else MAX_WH)
    return picture.size_wh if limit is None else fit(picture.size_wh, limit)


def grid_cell(size_wh: Size, crop_wh: Size, rng: np.random.Generator) -> Window:
    """One of the cells that an image falls into when it is resized to the nearest whole number of crops."""
    cols = max(1, round(size_wh[0] / crop_wh[0]))
    rows = max(1, round(size_wh[1] * cols * crop_wh[0] / size_wh[0] / crop_wh[1]))
    col, row = int(rng.integers(cols)), int(rng.integers(rows))
    left, right = (size_wh[0] * edge // cols for edge in (col, col + 1))
    top, bottom = (size_wh[1] * edge // rows for edge in (row, row + 1))
    return Window(left, top, right - left, bottom - top)


def draw_scale(picture: TrainingPicture, augmentation: Augmentation, rng: np.random.Generator) -> float:
    if augmentation.scales:
        return float(rng.choice(augmentation.scales))
    low, high = augmentation.scale
    if augmentation.zoom_wh is not None:
        low, high = fit(picture.size_wh, augmentation.zoom_wh)[0] / picture.size_wh[0], 1.0
    elif empty(picture):
        close_up = augmentation.people_free.close_up
        high *= close_up
        if close_up > 1 and rng.random() < CLOSE_UPS:
            low = close_up
    elif rng.random() < augmentation.native:
        return 1.0
    return math.exp(rng.uniform(math.log(low), math.log(high)))


def place(side: int, need: int, rng: np.random.Generator) -> int:
    """A random start for `need` pixels along `side`; before the image where it is too small.

    Starts are drawn half a crop past both ends and moved inside: else the borders were seen far less than the middle.
    """
    if side < need:
        return -int(rng.integers(0, need - side + 1))
    return min(max(int(rng.integers(-need // 2, side - need // 2 + 1)), 0), side - need)


def place_anywhere(side: int, need: int, rng: np.random.Generator) -> int:
    """A random start for `need` pixels along `side`, one as likely as the other."""
    return int(rng.integers(side - need + 1)) if side > need else place(side, need, rng)


def around(head: float, side: int, need: int, rng: np.random.Generator) -> int:
    """A random start for `need` pixels along `side` that hold the head; before the image where it is too small."""
    if side < need:
        return place(side, need, rng)
    return min(max(int(head) - int(rng.integers(need)), 0), side - need)


def cut(picture: TrainingPicture, window: Window, size_wh: Size, kernel: str = "bilinear") -> Tensor:
    """The window, which may reach past the image, as uint8 RGB (3, H, W) of `size_wh`, resampled by `kernel`."""
    width, height = picture.size_wh
    left, top = max(window.left, 0), max(window.top, 0)
    right, bottom = min(window.right, width), min(window.bottom, height)
    inside = Window(left, top, right - left, bottom - top)
    scale_x, scale_y = size_wh[0] / window.width, size_wh[1] / window.height
    if picture.small:
        scale_x = scale_y = 1.0
    reduced = max(round(inside.width * scale_x), 1), max(round(inside.height * scale_y), 1)
    seen = picture.read(inside, reduced)
    full = max(round(window.width * scale_x), 1), max(round(window.height * scale_y), 1)
    canvas = np.full((full[1], full[0], 3), GREY, np.uint8)
    x, y = round((left - window.left) * scale_x), round((top - window.top) * scale_y)
    patch = canvas[y : y + seen.shape[0], x : x + seen.shape[1]]
    patch[:] = seen[: patch.shape[0], : patch.shape[1]]
    pixels = torch.from_numpy(canvas).permute(2, 0, 1)
    if full != size_wh:
        shape = size_wh[1], size_wh[0]
        pixels = F.interpolate(pixels[None], shape, mode=kernel, antialias=True, align_corners=False)[0]
    return pixels


def turned(picture: TrainingPicture, size_wh: Size, kernel: str, rng: np.random.Generator) -> Crop:
    """A crop of an image from straight above, turned by any angle, mostly around its people."""
    picture_wh, points = np.array(picture.size_wh), picture.sample.points_xy
    low, high = max(ABOVE_SCALES[0], 0.7 * max(size_wh) / picture_wh.max()), ABOVE_SCALES[1]
    scale = math.exp(rng.uniform(math.log(min(low, high)), math.log(high)))
    centre = rng.uniform(0, picture_wh)
    if len(points) and rng.random() < ABOVE_HEADS:
        reach = ABOVE_REACH * max(size_wh) / scale
        centre = points[rng.integers(len(points))] + rng.uniform(-reach, reach, 2)
        centre = centre.clip(0, picture_wh - 1)
    side = math.ceil(math.hypot(*size_wh))  # a square that holds the crop at any angle
    need = max(round(side / scale), 1)
    left, top = (int(c) - need // 2 for c in centre)
    square = cut(picture, Window(left, top, need, need), (side, side), kernel)
    angle = rng.uniform(0, 2 * math.pi)
    cos, sin = math.cos(angle), math.sin(angle)
    # Where in the square, whose sides are from -1 to 1, each pixel of the crop comes from.
    fx, fy = size_wh[0] / side, size_wh[1] / side
    matrix = torch.tensor([[[cos * fx, -sin * fy, 0.0], [sin * fx, cos * fy, 0.0]]])
    grid = F.affine_grid(matrix, [1, 3, size_wh[1], size_wh[0]], align_corners=False)
    pixels = F.grid_sample(square[None].float(), grid, kernel, "border", align_corners=False)[0]
    centred = CropHeads.of(picture.sample).moved((-left, -top), (side / need,) * 2).moved((-side / 2,) * 2)
    heads = centred.turned(np.array([[cos, -sin], [sin, cos]])).moved(np.divide(size_wh, 2))
    return pixels.round().clamp(0, 255).byte(), heads


def uploaded(tensor: Tensor, device: torch.device) -> Tensor:
    """`tensor` on the device; on its way to a GPU while the host goes on, which takes page-locked memory."""
    return (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)


def unit(pixels: Tensor, device: torch.device) -> Tensor:
    """uint8 (B, H, W, 3) as 0..1 (B, 3, H, W) on the device, channels last in memory."""
    return uploaded(pixels.contiguous(), device).permute(0, 3, 1, 2).float().div_(255)


def normalised(images: Tensor, recipe: Recipe) -> Tensor:
    """RGB 0..1 (B, 3, H, W) by the recipe's mean and deviation, in place."""
    mean, std = (torch.tensor(values, device=images.device).view(1, 3, 1, 1) for values in (recipe.mean, recipe.std))
    return images.sub_(mean).div_(std)
