"""RAZ-Net as a whole: look, find the crowds, zoom into them, look again; then fuse counting and localization.

Liu, Weng and Mu, "Recurrent Attentive Zooming for Joint Crowd Counting and Precise Localization", CVPR 2019.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from gigacount.errors import UnknownNameError, UsageError
from gigacount.geometry import Size, Window
from gigacount.labels import adaptive_sigmas, attention_map, cross_map, gaussian_density
from gigacount.networks.base import Floats, Network, Prediction, Targets, crop_cells, load_matching, pad_to_multiple
from gigacount.networks.peaks import find_peaks, points_to_cells
from gigacount.networks.raznet.branches import (
    STRIDE,
    MainNet,
    ZoomNet,
    attention_loss,
    counting_loss,
    localization_loss,
)
from gigacount.networks.raznet.decisions import (
    GRID,
    NO_THETA,
    fit_theta,
    fuse,
    propose_regions,
    replace_points,
    sub_counts,
)
from gigacount.networks.windows import Tiling, whole_or_tiled

Streams = Literal["fusion", "average", "density", "localization"]

ZOOM = 2
PEAK_THRESHOLD = 0.5  # of the pooled psi; the paper names none, this is the NWPU-Crowd reproduction's
BETA, NEIGHBOURS = 0.1, 4  # of the Gaussians around heads, which the paper writes exp(-d^2 / sigma^2)
# The reproduction's tiles, for images whose full-size features, 1 kB a pixel, would fill the memory.
TILING = Tiling((576, 768), (576, 768), batch=1, multiple=STRIDE, from_pixels=4 * 512 * 1024)
PART_HW = (576, 768)  # of a zoomed sub-image that is learnt from


class BothStreams(NamedTuple):
    """Of one image: people per cell (rows, cols) of each stream, and the points (N, 3)."""

    density: Tensor
    located: Tensor
    points: NDArray[np.float32]


class RazNet(Network):
    """Main-Net and RAZ-Net: 45,223,815 parameters.

    depth: as table 4 counts it: 1 is Main-Net alone, 2 the published system, whose crowded regions are zoomed by two
        and looked at again (tables 2 and 4 agree on it), and so on. From the second time on the paper copies the first
        RAZ-Net's parameters, so they are the same here. Raises UsageError below 1.
    streams: what is counted (table 2): "fusion" of both, their "average", the "density", or the "localization". Of the
        density alone the counting branch is all that is trained.
    deconvolutions: 0 to 2, of the counting branch, whose density has a stride of 8, 4 or 2 (4.3, "Effect of
        Resolution": 0 is best). Raises UsageError for more.
    theta_f (buffer): people per sub-image from which the density alone counts, of each of the 16, fitted on training
        data by `calibrate`; until then the mean of both streams is taken everywhere.
    zooms (buffer): whether RAZ-Net has begun to learn; before, Main-Net alone looks.
    stages: trained one after the other (3.2). A stage trains its branch and leaves alone what earlier ones learned:
        Main-Net's encoder learns with counting, RAZ-Net's, a copy of it, with localization. "joint", Main-Net end to
        end, is how a new network starts.
    """

    stride = STRIDE
    no_graph = "it looks again, enlarged, at what it found crowded"
    locates = True
    stages: tuple[str, ...] = ("counting", "localization", "regions", "zoomed localization", "zoomed regions")

    def __init__(self, depth: int = 2, streams: Streams = "fusion", deconvolutions: int = 0) -> None:
        super().__init__()
        if depth < 1:
            raise UsageError(f"RAZ-Net's depth is at least 1, which is Main-Net alone, not {depth}")
        if deconvolutions > 2:
            raise UsageError(f"RAZ-Net's counting branch has at most 2 deconvolutions, not {deconvolutions}")
        self.depth, self.streams = depth, streams
        self.density_stride = STRIDE >> deconvolutions
        if streams == "density":
            self.stages = RazNet.stages[:1]
        self.main = MainNet(deconvolutions)
        self.zoom = ZoomNet()
        self.theta_f: Tensor
        self.register_buffer("theta_f", torch.full((GRID**2,), NO_THETA))
        self.zooms: Tensor
        self.register_buffer("zooms", torch.tensor(False))
        self.zoom.requires_grad_(False)
        self.stage = "joint"

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Main-Net: (B, 3, H, W), multiples of 8 -> phi (B, H/8, W/8), logits (B, 2, H, W), attention (B, H, W)."""
        outputs: tuple[Tensor, Tensor, Tensor] = self.main(images)
        return outputs

    def load_backbone(self, state: Mapping[str, Tensor]) -> None:
        load_matching(self.main.encoder, state)

    # ---- inference

    def predict(self, images: Tensor, locate: bool = False) -> Prediction:
        """People per cell after two-stream fusion; points after zooming. Their number is C_loc, not the fused count."""
        looked = [self.look(image) for image in images]
        density = torch.stack([self.counted(one) for one in looked])
        return Prediction(density.to(images.device), [one.points for one in looked] if locate else None)

    def counted(self, looked: BothStreams) -> Tensor:
        """People per cell by the streams that count."""
        if self.streams == "density":
            return looked.density
        if self.streams == "localization":
            return looked.located
        theta = self.theta_f.cpu() if self.streams == "fusion" else torch.full((GRID**2,), NO_THETA)
        return fuse(looked.density, looked.located, theta)

    def look(self, image: Tensor) -> BothStreams:
        """Both streams on one image (3, H, W) before their fusion."""
        height, width = image.shape[-2:]
        people, psi, attention = whole_or_tiled(image[None], self._main_maps, TILING)[0]
        cells = F.avg_pool2d(pad_to_multiple(people[None], STRIDE), STRIDE)[0] * STRIDE**2
        points = self._zoom_in(image, peaks(psi), attention, self.depth - 1 if self.zooms else 0)
        return BothStreams(cells.cpu(), points_to_cells(points, (height, width), STRIDE), points)

    def _zoom_in(
        self, image: Tensor, points: NDArray[np.float32], attention: Tensor, depth: int
    ) -> NDArray[np.float32]:
        """`points` of (3, H, W), those in crowded regions replaced by what is seen there at twice the size."""
        if depth == 0:
            return points
        for region in reversed(propose_regions(attention.cpu().numpy())):  # where regions overlap the best comes last
            zoomed = magnify(image, region)
            psi, deeper = whole_or_tiled(zoomed[None], self._zoom_maps, TILING)[0]
            found = self._zoom_in(zoomed, peaks(psi), deeper, depth - 1)
            found[:, :2] = found[:, :2] / ZOOM + (region.left, region.top)
            points = replace_points(points, region, found)
        return points

    def _main_maps(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) -> people per pixel, psi and attention (N, 3, H, W)."""
        density, logits, attention = self.main(images)
        stride = self.density_stride
        people = F.interpolate(density[:, None] / stride**2, scale_factor=float(stride))[:, 0]
        return torch.stack([people, logits.softmax(1)[:, 1], attention.sigmoid()], dim=1)

    def _zoom_maps(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) -> psi and attention (N, 2, H, W)."""
        logits, attention = self.zoom(images)
        return torch.stack([logits.softmax(1)[:, 1], attention.sigmoid()], dim=1)

    # ---- training

    def begin_stage(self, stage: str) -> None:
        """Train this stage's parameters alone and let `loss` be its loss. Raises UnknownNameError."""
        learning: dict[str, list[nn.Module]] = {
            "joint": [self.main],
            "counting": [self.main.encoder, self.main.counting],
            "localization": [self.main.localization],
            "regions": [self.main.regions],
            "zoomed localization": [self.zoom.encoder, self.zoom.localization],
            "zoomed regions": [self.zoom.regions],
        }
        if stage not in learning:
            raise UnknownNameError("RAZ-Net stage", stage, learning)
        if stage == "zoomed localization":
            self.zoom.copy_from(self.main)
            self.zooms.fill_(True)
        self.whole_images = stage.startswith("zoomed")
        self.requires_grad_(False)
        for module in learning[stage]:
            module.requires_grad_(True)
        self.stage = stage

    def targets(self, points_xy: Floats, size_wh: Size, boxes_xyxy: Floats | None = None) -> Targets:
        """`density` per cell of the counting branch; `cross`, `attention` and `heads` per pixel (H, W)."""
        sigmas = adaptive_sigmas(points_xy, size_wh, BETA / 2**0.5, NEIGHBOURS)
        return {
            "density": gaussian_density(points_xy, size_wh, sigmas, self.density_stride),
            "heads": points_to_cells(points_xy, size_wh[::-1], 1).numpy(),
            **branch_targets(points_xy, size_wh),
        }

    def loss(self, images: Tensor, targets: dict[str, Tensor]) -> Tensor:
        """The loss of the present stage: eq. 1, eq. 3 or that of the attention; of Main-Net's three, if joint."""
        if self.stage.startswith("zoomed"):
            return self._zoomed_loss(images, targets["heads"])
        main = self.main
        height, width = images.shape[-2:]
        features = main.encoder(pad_to_multiple(images, STRIDE))
        density, counting = main.counting(features)
        density = crop_cells(density, images, self.density_stride)
        count_error = counting_loss(density, targets["density"], height * width, self.density_stride)
        if self.stage == "counting":
            return count_error
        logits, localization = main.localization(features)
        place_error = localization_loss(logits[..., :height, :width], targets["cross"])
        if self.stage == "localization":
            return place_error
        attention = main.attend(counting, localization)
        region_error = attention_loss(attention[..., :height, :width], targets["attention"])
        return region_error if self.stage == "regions" else count_error + place_error + region_error

    def _zoomed_loss(self, images: Tensor, heads: Tensor) -> Tensor:
        """Mean over parts of the sub-images that Main-Net proposes in (B, 3, H, W); 0 where there are none."""
        losses = []
        for image, seen in zip(images, heads, strict=True):
            with torch.no_grad():
                attention = whole_or_tiled(image[None], self._main_maps, TILING)[0, 2]
            for region in propose_regions(attention.cpu().numpy()):
                losses.append(self._sub_image_loss(*self._part(magnify(image, region), heads_in(seen, region))))
        if losses:
            return torch.stack(losses).mean()
        return 0 * torch.stack([p.sum() for p in self.parameters() if p.requires_grad]).sum()

    def _part(self, image: Tensor, points_xy: NDArray[np.float64]) -> tuple[Tensor, NDArray[np.float64]]:
        """At most `PART_HW` of a zoomed sub-image (3, h, w) and the heads in it; the middle where nothing is learnt."""
        window = []
        for side, most in zip(image.shape[-2:], PART_HW, strict=True):
            room = max(side - most, 0)
            start = int(torch.randint(room + 1, ())) if self.training else room // 2
            window.append(slice(start, start + min(side, most)))
        rows, cols = window
        near, far = (cols.start, rows.start), (cols.stop, rows.stop)
        inside = ((points_xy >= near) & (points_xy < far)).all(axis=1)
        return image[:, rows, cols], points_xy[inside] - near

    def _sub_image_loss(self, image: Tensor, points_xy: NDArray[np.float64]) -> Tensor:
        """Of one zoomed sub-image (3, h, w) with heads at (N, 2)."""
        height, width = image.shape[-2:]
        labels = branch_targets(points_xy, (width, height))
        cross, attention = (torch.from_numpy(labels[name])[None].to(image.device) for name in ("cross", "attention"))
        logits, guess = self.zoom(pad_to_multiple(image[None], STRIDE))
        if self.stage == "zoomed localization":
            return localization_loss(logits[..., :height, :width], cross)
        return attention_loss(guess[..., :height, :width], attention)

    def calibrate(self, images: Iterable[tuple[Tensor, NDArray[np.float64]]]) -> None:
        """Fit theta_f (3.1, two-stream fusion) on training images (3, H, W) with heads at (N, 2) pixels."""
        if self.streams == "density":
            return
        counts = []
        with torch.no_grad():
            for image, points_xy in images:
                looked = self.look(image)
                height, width = image.shape[-2:]
                truth = points_to_cells(points_xy.astype(np.float32), (height, width), STRIDE)
                counts.append([sub_counts(cells) for cells in (looked.density, looked.located, truth)])
        density, located, truth = (torch.stack(rows) for rows in zip(*counts, strict=True))
        self.theta_f.copy_(fit_theta(density, located, truth))


def peaks(psi: Tensor) -> NDArray[np.float32]:
    """Heads in a localization map (H, W): 3 x 3 mean pooling, then local maxima (3.1, localization branch)."""
    return find_peaks(F.avg_pool2d(psi[None, None], 3, stride=1, padding=1)[0, 0], PEAK_THRESHOLD)


def magnify(image: Tensor, region: Window) -> Tensor:
    """The sub-image of (3, H, W) at twice its size."""
    part = image[None, :, region.top : region.bottom, region.left : region.right]
    return F.interpolate(part, scale_factor=float(ZOOM), mode="bilinear", align_corners=False)[0]


def heads_in(heads: Tensor, region: Window) -> NDArray[np.float64]:
    """Heads of a map (H, W) that counts them per pixel, as points (N, 2) of the region's magnified sub-image."""
    part = heads[region.top : region.bottom, region.left : region.right].cpu().numpy()
    row, col = part.nonzero()
    return np.repeat((np.stack([col, row], axis=1) + 0.5) * ZOOM, part[row, col].astype(int), axis=0)


def branch_targets(points_xy: NDArray[np.float64], size_wh: Size) -> dict[str, NDArray[np.float32]]:
    return {"cross": cross_map(points_xy, size_wh), "attention": attention_map(points_xy, size_wh)}
