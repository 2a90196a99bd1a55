"""What a result was made from: the file, the options, the weights. Equal identities give equal counts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gigacount.errors import DataError, ImageError
from gigacount.networks import find_record
from gigacount.options import CountOptions, LocalizeOptions
from gigacount.output.folder import ResultFolder


def image_identity(path: Path) -> dict[str, int]:
    """Size in bytes and time of change of a picture's file; raises ImageError where it is missing."""
    try:
        status = path.stat()
    except OSError as error:
        raise ImageError(f"{path}: {(error.strerror or str(error)).lower()}") from error
    return {"bytes": status.st_size, "modified_ns": status.st_mtime_ns}


def options_dict(options: CountOptions | LocalizeOptions) -> dict[str, Any]:
    """Options as plain JSON values, without those that cannot change a result; of locating, those of both."""
    if isinstance(options, LocalizeOptions):
        return options_dict(options.counting) | {"min_score": options.min_score}
    values = asdict(options)
    for place in ("max_pixels", "trust_loaders", "scratch_folder"):
        del values["reading"][place]
    if options.regions is not None:
        values["regions"]["sha256"] = regions_hash(options.regions.file)
    plain: dict[str, Any] = json.loads(json.dumps(values, default=str))
    return plain


def regions_hash(path: Path) -> str:
    """The hash of a file of regions, by which a changed one is told; raises DataError where it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot read the regions: {(error.strerror or str(error)).lower()}") from error


class Recipe:
    """By what results are asked for: options, weights and formats, looked up once for many pictures."""

    def __init__(self, options: CountOptions | LocalizeOptions, formats: Collection[str]) -> None:
        counting = options.counting if isinstance(options, LocalizeOptions) else options
        names = {"network": counting.network, "coarse_network": counting.coarse_network}
        self.weights = {role: find_record(name).sha256 for role, name in names.items() if name is not None}
        self.options = options_dict(options)
        self.formats = frozenset(formats)

    def finished(self, folder: ResultFolder, image: Path) -> dict[str, Any] | None:
        """The content of the result in `folder` where it stands for the same file, and was made by this recipe.

        Raises ImageError where the picture is missing.
        """
        identity, content = image_identity(image), folder.finished()
        if content is None:
            return None
        stored, networks, formats = content.get("image"), content.get("networks"), content.get("formats")
        same = (
            isinstance(stored, dict)
            and identity.items() <= stored.items()
            and content.get("options") == self.options
            and isinstance(networks, dict)
            and {role: used.get("sha256") for role, used in networks.items() if isinstance(used, dict)} == self.weights
            and isinstance(formats, list)
            and self.formats <= {"json", *map(str, formats)}
            and isinstance(content.get("count"), int | float)
        )
        return content if same else None


def reusable(
    folder: ResultFolder, image: Path, options: CountOptions | LocalizeOptions, formats: Collection[str]
) -> dict[str, Any] | None:
    """The finished result in `folder` where it stands for the same file, options and weights, and has all formats."""
    return Recipe(options, formats).finished(folder, image)
