"""The files of a count, one function each; `WRITERS` names them for `--format`."""

from __future__ import annotations

import platform
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

from gigacount import __version__
from gigacount.output.folder import COUNT_FILE, ResultFolder
from gigacount.output.identity import options_dict
from gigacount.output.overlay import write_overlay
from gigacount.output.regions import REGIONS_FILE, regions_json, write_regions
from gigacount.output.stored import to_json
from gigacount.output.tiff import write_density_tiff
from gigacount.results import CountResult

Writer = Callable[[CountResult, Path], None]


def count_json(result: CountResult, formats: Collection[str] = ()) -> dict[str, Any]:
    """Everything about a count but the map itself, as plain values."""
    return {
        "count": result.count,
        "image": {
            "path": str(result.image.absolute()),
            "width": result.size_wh[0],
            "height": result.size_wh[1],
            **result.identity,
        },
        "formats": list(formats),
        "options": options_dict(result.options),
        "networks": result.networks,
        "device": result.device,
        "precision": result.precision,
        "cell_px": result.density.cell_px,
        "inferences": result.inferences,
        "windows": [
            {
                "level": view.level,
                "left": view.window.left,
                "top": view.window.top,
                "width": view.window.width,
                "height": view.window.height,
                "read_width": view.size_wh[0],
                "read_height": view.size_wh[1],
                "count": count,
            }
            for view, count in result.looked
        ],
        "seconds": {stage: round(seconds, 3) for stage, seconds in result.seconds.items()},
        "versions": {
            "gigacount": __version__,
            "python": platform.python_version(),
            **{package: version(package) for package in ("torch", "pyvips", "numpy", "scipy")},
        },
    }


def write_density(result: CountResult, folder: Path) -> None:
    write_density_tiff(result.density, folder / "density.tif", result.georeference)


def write_picture(result: CountResult, folder: Path) -> None:
    windows = [view for view, _ in result.looked]
    write_overlay(result.preview, result.density, windows, folder / "overlay.jpg")


WRITERS: dict[str, Writer] = {
    "tif": write_density,
    "overlay": write_picture,
}
"""Format name -> writer into the result folder. count.json is always written: it marks the result as finished."""


def write_count(result: CountResult, folder: ResultFolder, formats: Collection[str]) -> dict[str, Any]:
    """Write a count in the given formats, and regions.csv if asked for; return what stands in its count.json.

    Raises OutputError where that fails, leaving what was there before.
    """
    content = count_json(result, formats)
    regions = result.regions.measure(result.density) if result.regions else []
    if regions:
        content["regions"] = regions_json(regions)
    with folder.replacing() as fresh:
        if regions:
            write_regions(regions, fresh / REGIONS_FILE)
        with ThreadPoolExecutor() as pool:
            writing = [pool.submit(WRITERS[name], result, fresh) for name in formats if name != "json"]
        for written in writing:
            written.result()
        write_count_json(content, fresh)
    return content


def write_count_json(content: dict[str, Any], folder: Path) -> None:
    """The last file of a result folder, which marks it as finished."""
    (folder / COUNT_FILE).write_text(to_json(content, indent=2) + "\n", encoding="utf-8")
