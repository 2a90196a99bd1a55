"""The files of a result; `WRITERS` names them for `--format`."""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from gigacount import __version__
from gigacount.atomic import replacing, require_free
from gigacount.density import DensityMap
from gigacount.image.georeference import Georeference
from gigacount.image.geotags import GEO_DOUBLES, GEO_KEYS, GEO_TEXT, TRANSFORMATION, geo_keys
from gigacount.key import COUNTING_RULES, is_same_image, plain_options
from gigacount.output.folder import COUNT_FILE, FILES, ResultFolder
from gigacount.output.head_files import find_writer, write_points
from gigacount.output.overlay import save_jpeg
from gigacount.output.report import write_report
from gigacount.output.stored import to_json
from gigacount.output.tables import REGIONS_FILE, regions_file, regions_json, write_regions
from gigacount.results import CountResult

Writer = Callable[[CountResult, Path], None]
SHORT, DOUBLE, ASCII = 3, 12, 2  # types of TIFF tags


def count_json(result: CountResult) -> dict[str, Any]:
    """Everything about a result but the map, the heads and the pixels, as plain values."""
    image = {"path": str(result.image.absolute()) if result.image else None}
    width, height = result.size_wh
    content = {
        "count": result.count,
        "interval": result.interval and asdict(result.interval) | {"doubts": list(result.interval.doubts)},
        **located_json(result),
        "image": image | {"width": width, "height": height} | result.identity,
        "key": result.key,
        "options": plain_options(result.options),
        "networks": result.networks,
        "rules": COUNTING_RULES,
        "device": result.device,
        "backend": result.backend,
        "precision": result.precision,
        "cell_px": result.density.cell_px,
        "inferences": result.inferences,
        "windows": [
            {
                "level": look.view.level,
                **asdict(look.view.window),
                "read_width": look.view.size_wh[0],
                "read_height": look.view.size_wh[1],
                "count": look.count,
                "missing": round(look.missing, 4),
            }
            for look in result.looked
        ],
        "notes": list(result.notes),
        "seconds": {stage: round(seconds, 3) for stage, seconds in result.seconds.items()},
        "versions": {
            "gigacount": __version__,
            "python": platform.python_version(),
            **{package: version(package) for package in ("torch", "pyvips", "numpy", "scipy")},
        },
    }
    if result.regions is not None:
        content["regions"] = regions_json(result.region_counts())
    return content


def located_json(result: CountResult) -> dict[str, Any]:
    """What was located beside what the density counts; nothing where people were only counted."""
    heads = result.heads
    if heads is None:
        return {}
    coarse = heads.too_coarse
    return {
        "located": len(heads.points),
        "too_coarse": {
            "share": result.coarse_share,
            "area": coarse.area,
            "people": coarse.people,
            "located": coarse.heads,
        },
        "levels": [
            {"level": level, "area": owned.area, "people": owned.people, "located": owned.heads}
            for level, owned in heads.levels.items()
        ],
    }


def write_density_tiff(density: DensityMap, path: Path, georeference: Georeference | None = None) -> None:
    """People per cell as float32; cell and image size as JSON in ImageDescription. Summing the pixels counts.

    With the georeference of the image, a GeoTIFF. Raises OSError where writing fails.
    """
    import tifffile  # half a second, which those who write no map need not wait for

    about = {
        "unit": "people per cell",
        "cell_px": density.cell_px,
        "image_width": density.size_wh[0],
        "image_height": density.size_wh[1],
        "count": density.count,
    }
    tifffile.imwrite(
        path,
        density.cells,
        bigtiff=True,
        tile=(256, 256),
        compression="zlib",
        description=json.dumps(about),
        metadata=None,
        extratags=geo_tags(georeference.scaled(density.cell_px)) if georeference else (),
    )


def geo_tags(place: Georeference) -> list[tuple[int, int, int, Any, bool]]:
    """The tags of a GeoTIFF that lies as `place` says, as tifffile takes them: tag, type, count, value, once."""
    (a, b, c, d, e, f), keys = place.affine, geo_keys(place)
    tags = [
        (TRANSFORMATION, DOUBLE, (a, b, 0, c, d, e, 0, f, 0, 0, 0, 0, 0, 0, 0, 1)),
        (GEO_KEYS, SHORT, keys.directory),
        (GEO_DOUBLES, DOUBLE, keys.doubles),
        (GEO_TEXT, ASCII, keys.text),
    ]
    return [(tag, kind, len(value), value, True) for tag, kind, value in tags if value]


WRITERS: dict[str, Writer] = {
    "tif": lambda result, path: write_density_tiff(result.density, path, result.georeference),
    "overlay": lambda result, path: save_jpeg(result.overlay(), path),
    **dict.fromkeys(("csv", "geojson", "gpkg", "coco", "nwpu"), write_points),
    "report": write_report,
}
"""Format name -> writer of its file (`FILES`). count.json is always written: it marks the result as finished."""


def write_result(result: CountResult, folder: ResultFolder, formats: Collection[str]) -> dict[str, Any]:
    """Write a result in the given formats, and regions.csv if asked for; return what stands in its count.json.

    Files in other formats stay where they belong to the same result, and go where they are out of date. Raises
    OutputError where writing fails, leaving what was there before.
    """
    content = count_json(result)
    earlier = _same_result(folder, result, content)
    others = [name for name in FILES if name not in formats] if earlier else []
    kept = [name for name in others if (folder.path / FILES[name]).is_file()]
    content = earlier | content | {"formats": [*formats, *kept]}
    with folder.replacing() as fresh:
        for name in kept:
            shutil.copyfile(folder.path / FILES[name], fresh / FILES[name])
        if result.regions is not None:
            write_regions(result.region_counts(), fresh / REGIONS_FILE)
        with ThreadPoolExecutor() as pool:
            writing = [pool.submit(WRITERS[name], result, fresh / FILES[name]) for name in formats if name != "json"]
        for written in writing:
            written.result()
        (fresh / COUNT_FILE).write_text(to_json(content, indent=2) + "\n", encoding="utf-8")
    return content


def _same_result(folder: ResultFolder, result: CountResult, content: dict[str, Any]) -> dict[str, Any]:
    """The count.json that stands in the folder, if it is of the same image, key and count; else nothing."""
    earlier = folder.finished()
    if earlier is None or result.image is None or any(earlier.get(name) != content[name] for name in ("key", "count")):
        return {}
    return earlier if is_same_image(result.image, earlier["image"]) else {}


@dataclass(frozen=True)
class LooseFiles:
    """The files of one image whose people were located: the heads, maybe a JPEG of them, maybe a table of regions."""

    heads: Path
    overlay: Path | None = None
    with_regions: bool = False
    overwrite: bool = False

    @property
    def regions(self) -> Path | None:
        return regions_file(self.heads) if self.with_regions else None

    def require_free(self) -> None:
        """Raise before the work what would fail after it: an unknown format, a file that stands, no permission."""
        find_writer(self.heads)
        for path in (self.heads, self.overlay, self.regions):
            if path is not None:
                require_free(path, self.overwrite)

    def write(self, result: CountResult) -> dict[str, Any]:
        """Write all files, and return the answer as plain values. Raises OutputError."""
        write_points(result, self.heads, self.overwrite)
        if self.regions is not None:
            with replacing(self.regions, self.overwrite) as fresh:
                write_regions(result.region_counts(), fresh)
        if self.overlay is not None:
            with replacing(self.overlay, self.overwrite) as fresh:
                save_jpeg(result.overlay(), fresh)
        return count_json(result) | {"out": str(self.heads.absolute())}
