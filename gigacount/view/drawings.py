"""What a person draws on an image: regions, zones that do not count, and corrections of heads, each in a GeoJSON file.

A file is changed by what is added to it and what is taken away, read and written whole under a lock: several viewers
of one result do not undo each other's work. Coordinates are full-resolution pixels, which the member `crs` says.
"""

from __future__ import annotations

import json
import math
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import astuple
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gigacount.atomic import explained, replacing, write_whole
from gigacount.errors import DataError
from gigacount.geometry import Size, Window
from gigacount.image import GigaImage
from gigacount.output.stored import number, to_json
from gigacount.regions.polygons import read_shape, rings_in
from gigacount.view.trail import now, user

REGIONS, ZONES, CORRECTIONS = "regions", "exclude", "corrections"

ADDED, REMOVED, MOVED, CHECKED = "added", "removed", "moved", "checked"

MOST_FEATURES = 100_000
ID = re.compile("[0-9a-f]{16}")
"""The id of a drawing. The page chooses it, so that a drawing can be undone and redone."""

LONGEST_AREA_PX = 4096  # the longest side of an area that is cut out for training

_writing = Lock()


class DrawingFile:
    """The features of one file of an image of `size_wh`, for one of REGIONS, ZONES, CORRECTIONS."""

    def __init__(self, path: Path, kind: str, size_wh: Size, image_name: str) -> None:
        self.path, self.kind, self.size_wh, self.image_name = path, kind, size_wh, image_name

    def features(self) -> list[dict[str, Any]]:
        """What stands in the file. Raises DataError where it is not ours to change: as strict as with what is sent."""
        try:
            features = list(json.loads(self.path.read_text(encoding="utf-8"))["features"])
            for feature in features:
                self._checked(feature)
                if not ID.fullmatch(feature["id"]):  # images are named by it
                    raise ValueError("an unknown id")
        except FileNotFoundError:
            return []
        except OSError as error:
            raise DataError(f"{self.path}: cannot be read: {error.strerror}") from error
        except (DataError, ValueError, LookupError, TypeError, RecursionError) as error:
            raise DataError(f"{self.path}: damaged; move it away, so that nothing in it is lost") from error
        return features

    def change(self, add: Sequence[Any], remove: Sequence[Any]) -> list[dict[str, Any]]:
        """Add features, remove those of some ids, and return all. Each says by whom and when it was drawn, and its id.

        Raises DataError for what is no drawing of this kind, OutputError where it cannot be written: then nothing is.
        """
        fresh = [self._checked(feature) for feature in add]
        with locked(self.path):
            gone = [*remove, *(feature["id"] for feature in fresh)]
            features = [feature for feature in self.features() if feature.get("id") not in gone] + fresh
            if len(features) > MOST_FEATURES:
                raise DataError(f"{self.path}: more than {MOST_FEATURES:,} drawings")
            self._write(features)
        return features

    def _write(self, features: Sequence[dict[str, Any]]) -> None:
        about = {"file": self.image_name, "width": self.size_wh[0], "height": self.size_wh[1]}
        head = to_json({"type": "FeatureCollection", "crs": "pixels", "image": about})
        lines = ",\n".join(map(to_json, features))
        write_whole(self.path, f'{head[:-1]}, "features": [\n{lines}\n]}}\n'.encode())

    def _checked(self, feature: Any) -> dict[str, Any]:
        """A feature with what we know of it, and nothing else. Raises DataError."""
        properties = feature.get("properties") if isinstance(feature, dict) else None
        geometry = feature.get("geometry") if isinstance(feature, dict) else None
        if not isinstance(properties, dict) or not isinstance(geometry, dict):
            raise DataError("a drawing must be a GeoJSON feature with properties")
        kept: dict[str, Any] = {"by": user(), "when": now()}
        if self.kind != CORRECTIONS:
            if not rings_in(read_shape(self.path, 1, feature).polygon, self.size_wh):
                raise DataError("a region must lie in the image")
            kept["name"] = str(properties.get("name", ""))[:200]
        elif properties.get("correction") in (ADDED, REMOVED, MOVED):
            kept["correction"] = properties["correction"]
            places = [geometry.get("coordinates"), *([properties.get("from")] if kept["correction"] == MOVED else [])]
            if geometry.get("type") != "Point" or not all(self._holds(place) for place in places):
                raise DataError("a correction must be a point in the image")
            if kept["correction"] == MOVED:
                kept["from"] = properties["from"]
        elif properties.get("correction") == CHECKED:
            kept |= {"correction": CHECKED, "window": list(astuple(self._window(geometry)))}
        else:
            raise DataError("a correction must be added, removed, moved or checked")
        plain = {"type": geometry["type"], "coordinates": geometry["coordinates"]}
        name = feature.get("id")
        name = name if isinstance(name, str) and ID.fullmatch(name) else secrets.token_hex(8)
        return {"type": "Feature", "id": name, "geometry": plain, "properties": kept}

    def _holds(self, place: Any) -> bool:
        """Whether this is a position in the image."""
        return (
            isinstance(place, list)
            and len(place) == 2
            and all(number(value) and 0 <= value < side for value, side in zip(place, self.size_wh, strict=True))
        )

    def _window(self, geometry: dict[str, Any]) -> Window:
        """The rectangle that a polygon is, in whole pixels, as far as it lies in the image."""
        try:
            ring = np.array(geometry["coordinates"][0], np.float64)
            (left, top), (right, bottom) = ring.min(axis=0), ring.max(axis=0)
            (left, right), (top, bottom) = (
                np.clip((math.floor(low), math.ceil(high)), 0, side)
                for low, high, side in zip((left, top), (right, bottom), self.size_wh, strict=True)
            )
        except (LookupError, TypeError, ValueError, OverflowError) as error:
            raise DataError("a checked area must be a rectangle in the image") from error
        window = Window(int(left), int(top), int(right - left), int(bottom - top))
        if not 32 <= min(window.size_wh) <= max(window.size_wh) <= LONGEST_AREA_PX:
            sides = f"32 to {LONGEST_AREA_PX:,} pixels"
            raise DataError(f"a checked area must have sides of {sides}, not {window.width} x {window.height}")
        return window


class Corrections(DrawingFile):
    """A person's corrections of the machine's heads (N, 3), which stay as they are.

    A head that is moved is still one. An area that was checked is cut out, beside the file, as an image with its
    heads: that is what `gigacount train --data corrections:FOLDER` learns from.
    """

    def __init__(self, path: Path, image: GigaImage, machine: NDArray[np.float32], image_name: str) -> None:
        super().__init__(path, CORRECTIONS, image.size_wh, image_name)
        self.image, self.machine = image, machine

    @property
    def areas(self) -> Path:
        """The folder of the images that were cut out."""
        return self.path.with_suffix("")  # square.tif.corrections, which counting a folder leaves out

    def heads(self, features: Sequence[dict[str, Any]]) -> NDArray[np.float64]:
        """All heads (N, 2) after correction."""
        gone = {place_key(one) for one in places_of(features, REMOVED)}
        gone |= {place_key(feature["properties"]["from"]) for feature in features if is_a(feature, MOVED)}
        kept = self.machine[:, :2].astype(np.float64)
        if gone:
            kept = kept[[place_key(xy) not in gone for xy in kept.tolist()]]
        fresh = [*places_of(features, ADDED), *places_of(features, MOVED)]
        fresh = [xy for xy in fresh if place_key(xy) not in gone]
        return np.concatenate([kept, np.array(fresh, np.float64).reshape(-1, 2)])

    def _write(self, features: Sequence[dict[str, Any]]) -> None:
        heads = self.heads(features) if any(is_a(feature, CHECKED) for feature in features) else None
        for feature in features:
            if heads is not None and is_a(feature, CHECKED):
                window = self._window(feature["geometry"])
                inside = ((heads >= (window.left, window.top)) & (heads < (window.right, window.bottom))).all(axis=1)
                own = heads[inside] - (window.left, window.top)
                feature["properties"] |= {"heads": own.round(2).tolist(), "image": self._cut(feature["id"], window)}
        super()._write(features)

    def _cut(self, name: str, window: Window) -> str:
        """The image of an area, made where it is not there; its path from the file's folder."""
        path = self.areas / f"{name}.png"
        if not path.is_file():
            with replacing(path, overwrite=True) as fresh, explained(path):
                Image.fromarray(self.image.read(window, window.size_wh)).save(fresh, "PNG")
        return f"{self.areas.name}/{path.name}"


def is_a(feature: dict[str, Any], correction: str) -> bool:
    return bool(feature["properties"].get("correction") == correction)


def places_of(features: Sequence[dict[str, Any]], correction: str) -> list[list[float]]:
    """Where the corrections of a kind are."""
    return [feature["geometry"]["coordinates"] for feature in features if is_a(feature, correction)]


def place_key(xy: Sequence[float]) -> tuple[int, int]:
    """By which a head is known again: hundredths of a pixel, as files have them."""
    return round(xy[0] * 100), round(xy[1] * 100)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Nobody else changes the files of this folder meanwhile: no thread, and no process where the system has locks."""
    with _writing, explained(path):
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            with suppress(ImportError):
                import fcntl

                fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)
