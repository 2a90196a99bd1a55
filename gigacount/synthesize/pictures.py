"""Small pictures of the drawn world as a network sees it through a zoom, to train on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gigacount.errors import UsageError
from gigacount.geometry import Size, whole
from gigacount.image.vips import library
from gigacount.synthesize.drawn import draw_scene
from gigacount.synthesize.scene import Scene, SceneOptions

SIDES = (500, 1300)
MOST_PEOPLE = 1500
MOST_PIXELS = 3e7
"""Of the drawing that a picture is shrunk from."""


def draw_picture(seed: int) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """A picture (height, width, 3) and its head centres (N, 2), in its pixels; the same for the same seed.

    Every seed is another scene: ground, light, clothes, horizon, crowd. Drawn up to six times as large and shrunk, as
    a look at a large picture is; every fourth is compressed as JPEG. Heads are 3 to 120 px, people 0 to 1,500, and
    every eighth picture shows nobody.
    """
    rng = np.random.default_rng([seed, 3])
    size_wh = int(rng.integers(*SIDES)), int(rng.integers(SIDES[0], 1000))
    most = min(6.0, np.sqrt(MOST_PIXELS / (size_wh[0] * size_wh[1])))
    zoom = 1.0 if rng.random() < 0.25 else float(np.exp(rng.uniform(0, np.log(most))))
    scene = _scene(rng, size_wh, zoom)
    drawing = library().Image.new_from_array(scene.paint(whole(scene.size_wh)))
    scale = np.array(size_wh) / scene.size_wh
    picture = drawing.resize(scale[0], vscale=scale[1]) if zoom > 1 else drawing
    if rng.random() < 0.25:
        picture = library().Image.jpegload_buffer(picture.jpegsave_buffer(Q=int(rng.integers(40, 92))))
    points: NDArray[np.float64] = scene.truth.points_xy * (picture.width, picture.height) / scene.size_wh
    pixels: NDArray[np.uint8] = picture.numpy()
    return pixels, points


def _scene(rng: np.random.Generator, size_wh: Size, zoom: float) -> Scene:
    """The scene of a picture, `zoom` times as large; drawn anew where its people would be too large to fit in."""
    large_wh = round(size_wh[0] * zoom), round(size_wh[1] * zoom)
    while True:
        near = float(np.exp(rng.uniform(np.log(9), np.log(120))))
        far = max(3.0, near / float(np.exp(rng.uniform(np.log(1.3), np.log(12)))))
        horizon = float(rng.uniform(0.05, 0.4)) if rng.random() < 0.5 else -far / (near - far)
        room = size_wh[0] * size_wh[1] / (near * far)
        people = int(np.exp(rng.uniform(np.log(5), np.log(np.clip(room, 20, MOST_PEOPLE)))))
        options = SceneOptions(
            size_wh=large_wh,
            people=0 if rng.random() < 1 / 8 else people,
            seed=int(rng.integers(2**31)),
            head_px=(far * zoom, near * zoom),
            horizon=horizon,
        )
        try:
            return draw_scene(options)
        except UsageError:
            continue
