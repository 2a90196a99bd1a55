"""Batches of sound pictures of kinds that libvips complains of: no failure, and not a word under --quiet."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from image_files import save, scene, shared_tiles

from campaign.interruptions import ENVIRONMENT

ARGUMENTS = "count in --out out --workers 4 --format json --max-size 256x192 --device cpu --quiet"
COMMAND = [sys.executable, "-m", "gigacount", *ARGUMENTS.split()]


def attack(folder: Path, count: int, seed: int) -> dict[str, Any]:
    """`count` batches of 16 pictures by four workers. problems: what should not have happened, in words."""
    make_pictures(folder / "in", seed)
    problems = []
    first = ""
    for number in range(count):
        shutil.rmtree(folder / "out", ignore_errors=True)
        done = subprocess.run(COMMAND, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=600)
        first = first or done.stdout
        if done.returncode != 0 or done.stderr or done.stdout != first:
            problems.append(f"{number}: ends with {done.returncode}, says {done.stderr!r}, answers {done.stdout!r}")
    return {"batches": count, "pictures": 16 * count, "problems": problems}


def make_pictures(folder: Path, seed: int) -> None:
    """Four sparse TIFFs, four with LZMA, four JPEGs with an odd scan header, four PNGs."""
    folder.mkdir()
    rng = np.random.default_rng(seed)
    for number in range(4):
        pixels = np.roll(scene(512, 384), 64 * number, axis=1)
        shared_tiles(
            folder / f"sparse-{number}.tif",
            (1024, 768),
            [pixels[:128, :128].copy()],
            lambda col, row: ((col + row) % 2).astype(np.intp),
        )
        tifffile.imwrite(folder / f"lzma-{number}.tif", pixels, tile=(128, 128), compression="lzma", metadata=None)
        save(rng.integers(0, 255, (300, 400, 3), dtype=np.uint8), folder / f"{number}.png", compression=1)
        data = bytearray(save(pixels, folder / f"{number}.jpg").read_bytes())
        scan = data.find(b"\xff\xda")
        end = scan + 2 + int.from_bytes(data[scan + 2 : scan + 4], "big")
        data[end - 3 : end] = bytes(3)  # as some cameras write it; no pixel is lost
        (folder / f"{number}.jpg").write_bytes(data)
