"""The scenes of `make bench`: one drawn scene of PANDA's size, as three files, and larger ones made of copies of it."""

from __future__ import annotations

from pathlib import Path

import pyvips

from gigacount.synthesize import SceneOptions, draw_scene, write_scene

COMPRESSION = {"compression": "jpeg", "Q": 90, "tile": True, "tile_width": 512, "tile_height": 512, "pyramid": True}


def scene(folder: Path) -> Path:
    """26,908 x 15,024 px, tiled pyramidal TIFF."""
    path = folder / "scene.tif"
    if not path.exists():
        write_scene(draw_scene(SceneOptions(people=4000, seed=2023)), path)
    return path


def as_jpeg(folder: Path) -> Path:
    path = folder / "scene.jpg"
    if not path.exists():
        sequential(scene(folder)).jpegsave(str(path), Q=90)
    return path


def as_strips(folder: Path) -> Path:
    path = folder / "scene-strips.tif"
    if not path.exists():
        sequential(scene(folder)).tiffsave(str(path), compression="none", bigtiff=True)
    return path


def repeated(folder: Path, times: int) -> Path:
    """The scene `times` x `times`, as tiled pyramidal TIFF."""
    if times == 1:
        return scene(folder)
    path = folder / f"scene-{times}x{times}.tif"
    if not path.exists():
        pyvips.Image.new_from_file(str(scene(folder))).replicate(times, times).tiffsave(
            str(path), bigtiff=True, **COMPRESSION
        )
    return path


def part(folder: Path, share: float) -> Path:
    """The middle of the scene, `share` of each side, as tiled pyramidal TIFF."""
    path = folder / f"scene-{share:g}.tif"
    if not path.exists():
        whole = pyvips.Image.new_from_file(str(scene(folder)))
        width, height = round(whole.width * share), round(whole.height * share)
        left, top = (whole.width - width) // 2, (whole.height - height) // 2
        whole.crop(left, top, width, height).tiffsave(str(path), **COMPRESSION)
    return path


def sequential(path: Path) -> pyvips.Image:
    return pyvips.Image.new_from_file(str(path), access="sequential")
