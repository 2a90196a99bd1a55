"""Scenes composed of labelled photographs, laid on a people-free ground so that heads grow from horizon to front."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from gigacount.datasets.sample import Sample
from gigacount.errors import DataError
from gigacount.geometry import Size, Window
from gigacount.image import GigaImage
from gigacount.synthesize.drawn import draw_scene
from gigacount.synthesize.patches import Composition, Patch
from gigacount.synthesize.scene import Perspective, Scene, SceneOptions, Truth, make_perspective, overlap

SCALES = (0.3, 6.0)
"""Photographs are never reduced or enlarged further, whatever the perspective asks for."""

FADE = 0.12
"""Width of the blended edge around a photograph, as a share of its shorter side."""

USUAL_HEAD_PX = 25.0
"""Head height assumed where too few heads are labelled to estimate it."""

TRIES = 80
ROUNDS = 8
"""Times that the same photographs are gone through; every second time they are mirrored."""


@dataclass
class Table:
    """The canvas while photographs are laid on it."""

    options: SceneOptions
    perspective: Perspective
    rng: np.random.Generator
    patches: list[Patch] = field(default_factory=list)

    def lay(self, image: Path, head_px: float, mirrored: bool) -> Patch | None:
        """Place a picture whose heads are `head_px` high beside its neighbours; None where it fits nowhere.

        Of several places at random that are free, the one nearest to a photograph already there is taken: so they
        form clusters.
        """
        with GigaImage.open(image) as opened:
            photo_wh = opened.size_wh
        free = []
        for _ in range(TRIES):
            patch = self._anywhere(image, photo_wh, head_px, mirrored)
            if patch is not None and not any(_collide(patch, other) for other in self.patches):
                free.append(patch)
        if not free:
            return None
        best = min(free, key=self._loneliness) if self.rng.random() < 0.7 else free[0]
        self.patches.append(best)
        return best

    def _anywhere(self, image: Path, photo_wh: Size, head_px: float, mirrored: bool) -> Patch | None:
        """The picture somewhere on the ground, as large as perspective has it there; None where it sticks out."""
        width, height = self.options.size_wh
        far, near = self.options.heads_px
        wanted = np.exp(self.rng.uniform(np.log(far), np.log(near)))
        scale = float(np.clip(wanted / head_px, *SCALES))
        core_wh = round(photo_wh[0] * scale), round(photo_wh[1] * scale)
        fade = max(2, round(FADE * min(core_wh)))
        middle = float(self.perspective.foot_y(wanted))
        left, top = round(self.rng.uniform(0, width) - core_wh[0] / 2), round(middle - core_wh[1] / 2)
        core = Window(left, top, *core_wh)
        inside = left > 0 and core.right < width and top > max(self.perspective.horizon, 0) and core.bottom < height
        return Patch(image, photo_wh, core, mirrored, fade) if inside and min(core_wh) > 2 * fade else None

    def _loneliness(self, patch: Patch) -> float:
        """Distance to the nearest patch, in sides of this one."""
        gaps = [max(_gap(patch.core, other.core)) / min(patch.core.size_wh) for other in self.patches]
        return min(gaps, default=0.0)


def compose_scene(options: SceneOptions, samples: Sequence[Sample], backgrounds: Sequence[Path] = ()) -> Scene:
    """About `options.people` people in photographs placed in clusters, none over another.

    Each photograph is shown whole, at the size that puts its heads in perspective, with its people as labelled. They
    are taken in random order until the heads are enough; from the start again and mirrored where there are too few; or
    until nothing more fits. `backgrounds`: people-free pictures for the gaps. Heads have boxes where all samples have
    them. Raises DataError where no head is labelled in the samples, ImageError for a picture that cannot be read.
    """
    if options.people and not any(len(sample.points_xy) for sample in samples):
        raise DataError("no head is labelled in these photographs; give some with people to compose a scene")
    rng = np.random.default_rng([options.seed, 2])
    table = Table(options, make_perspective(options, np.random.default_rng([options.seed, 0])), rng)
    points, boxes = [np.zeros((0, 2))], [np.zeros((0, 4))]
    missing = options.people
    for sample, mirrored in _supply(samples, rng):
        if missing <= 0.01 * options.people:
            break
        if not 0 < len(sample.points_xy) < 1.1 * missing + 20:
            continue
        patch = table.lay(sample.image, estimate_head_px(sample), mirrored)
        if patch is None:
            continue
        inside = ((sample.points_xy >= 0) & (sample.points_xy < patch.photo_wh)).all(1)
        points.append(patch.place(sample.points_xy[inside]))
        missing -= len(points[-1])
        if sample.boxes_xyxy is not None:
            corners = patch.place(sample.boxes_xyxy[inside].reshape(-1, 2)).reshape(-1, 4)
            boxes.append(corners[:, [2, 1, 0, 3]] if mirrored else corners)
    for image in backgrounds:
        table.lay(image, USUAL_HEAD_PX, mirrored=False)
    boxed = all(sample.boxes_xyxy is not None for sample in samples)
    truth = Truth(options.size_wh, np.concatenate(points), np.concatenate(boxes) if boxed else None)
    return Scene(truth, Composition(draw_scene(replace(options, people=0)).painter, tuple(table.patches)))


def estimate_head_px(sample: Sample) -> float:
    """The usual height of a head in a photograph: of its boxes, or else from how far apart heads are.

    Heads in a crowd stand about 2.5 of their heights apart: the mean distance to the nearest three, times 0.4; sparse
    photographs would make that far too large, hence at most 40 pixels. This only chooses a plausible size.
    """
    if sample.boxes_xyxy is not None and len(sample.boxes_xyxy):
        return float(np.median(sample.boxes_xyxy[:, 3] - sample.boxes_xyxy[:, 1]).clip(2.0))
    if len(sample.points_xy) < 5:
        return USUAL_HEAD_PX
    distances = np.asarray(cKDTree(sample.points_xy).query(sample.points_xy, k=4)[0])
    return float(np.clip(0.4 * np.median(distances[:, 1:].mean(1)), 6.0, 40.0))


def _supply(samples: Sequence[Sample], rng: np.random.Generator) -> Iterator[tuple[Sample, bool]]:
    """Samples in random order, ROUNDS times over, each mirrored from one time to the next."""
    mirrored = rng.random(len(samples)) < 0.5
    for _ in range(ROUNDS):
        for i in rng.permutation(len(samples)).tolist():
            yield samples[i], bool(mirrored[i])
        mirrored = ~mirrored


def _collide(a: Patch, b: Patch) -> bool:
    """Whether the blended edge of one reaches into the other."""
    return overlap(a.around, b.core) or overlap(a.core, b.around)


def _gap(a: Window, b: Window) -> tuple[int, int]:
    """How far apart two windows are on each axis, 0 where they meet."""
    return max(a.left - b.right, b.left - a.right, 0), max(a.top - b.bottom, b.top - a.bottom, 0)
