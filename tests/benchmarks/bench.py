"""`make bench`: wall time and peak memory of `gigacount count` on one full-size scene in three formats.

Absolute times are noise on shared machines, so every row also has its ratio to one sequential decode of the same file
measured in the same run. Writes a table to standard output and, with --json FILE, the figures.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pyvips

from gigacount.synthesize import SceneOptions, draw_scene, write_scene

STRATEGIES = {"gigazoom": [], "downsample": [], "sliding at 1/4": ["--scales", "1/4"]}


def measured(arguments: list[str]) -> tuple[float, float, str]:
    """Seconds, peak resident megabytes and standard output of a `gigacount` run."""
    read, write = os.pipe()
    start = time.perf_counter()
    pid = os.fork()
    if pid == 0:
        os.dup2(write, 1)
        os.execv(sys.executable, [sys.executable, "-m", "gigacount", *arguments])
    os.close(write)
    _, status, usage = os.wait4(pid, 0)
    seconds = time.perf_counter() - start
    with os.fdopen(read) as answer:
        text = answer.read().strip()
    if os.waitstatus_to_exitcode(status):
        raise SystemExit(f"gigacount {' '.join(arguments)} failed")
    return seconds, usage.ru_maxrss / 1000, text


def decode_seconds(path: Path) -> float:
    """One sequential decode of the whole file, the pixels thrown away."""
    start = time.perf_counter()
    pyvips.Image.new_from_file(str(path), access="sequential").avg()
    return time.perf_counter() - start


def scenes(folder: Path) -> dict[str, Path]:
    """The drawn scene as tiled pyramidal TIFF, stripped TIFF and JPEG; made once."""
    tiled, stripped, jpeg = folder / "scene.tif", folder / "scene-strips.tif", folder / "scene.jpg"
    if not tiled.exists():
        write_scene(draw_scene(SceneOptions(people=4000, seed=2023)), tiled)
    if not stripped.exists():
        pyvips.Image.new_from_file(str(tiled), access="sequential").tiffsave(
            str(stripped), compression="none", bigtiff=True
        )
    if not jpeg.exists():
        pyvips.Image.new_from_file(str(tiled), access="sequential").jpegsave(str(jpeg), Q=90)
    return {"tiled TIFF": tiled, "stripped TIFF": stripped, "JPEG": jpeg}


def run(folder: Path) -> list[dict[str, Any]]:
    rows = []
    for name, path in scenes(folder).items():
        decode = decode_seconds(path)
        for strategy, more in STRATEGIES.items():
            with tempfile.TemporaryDirectory(dir=folder) as out:
                arguments = ["count", str(path), "--out", out, "--strategy", strategy.split()[0], "--json", *more]
                seconds, megabytes, text = measured(arguments)
            answer = json.loads(text)
            rows.append(
                {
                    "file": name,
                    "strategy": strategy,
                    "count": round(answer["count"], 1),
                    "looks": answer["inferences"],
                    "seconds": round(seconds, 1),
                    "decode_seconds": round(decode, 1),
                    "over_decode_and_network": round(seconds / (decode + answer["seconds"]["network"]), 2),
                    "peak_mb": round(megabytes),
                }
            )
            print("\t".join(str(value) for value in rows[-1].values()), flush=True)
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    table = run(arguments.folder)
    if arguments.json:
        arguments.json.write_text(json.dumps(table, indent=2))
