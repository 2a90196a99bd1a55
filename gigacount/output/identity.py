"""What a result was made from: the file, the options, the weights. Equal identities give equal counts."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gigacount.errors import ImageError
from gigacount.networks import find_record
from gigacount.options import CountOptions
from gigacount.output.folder import ResultFolder


def image_identity(path: Path) -> dict[str, int]:
    """Size in bytes and time of change of a picture's file; raises ImageError where it is missing."""
    try:
        status = path.stat()
    except OSError as error:
        raise ImageError(f"{path}: {(error.strerror or str(error)).lower()}") from error
    return {"bytes": status.st_size, "modified_ns": status.st_mtime_ns}


def options_dict(options: CountOptions) -> dict[str, Any]:
    """Options as plain JSON values, without those that cannot change a count."""
    values = asdict(options)
    values["reading"] = {"allow_damaged": options.reading.allow_damaged}
    plain: dict[str, Any] = json.loads(json.dumps(values, default=str))
    return plain


def reusable(
    folder: ResultFolder, image: Path, options: CountOptions, formats: Collection[str]
) -> dict[str, Any] | None:
    """The finished result in `folder` where it stands for the same file, options and weights, and has all formats."""
    content = folder.finished()
    if content is None:
        return None
    names = {"network": options.network, "coarse_network": options.coarse_network}
    weights = {role: find_record(name).sha256 for role, name in names.items() if name is not None}
    stored_image, stored_networks = content.get("image"), content.get("networks")
    same = (
        isinstance(stored_image, dict)
        and image_identity(image).items() <= stored_image.items()
        and content.get("options") == options_dict(options)
        and isinstance(stored_networks, dict)
        and {role: used.get("sha256") for role, used in stored_networks.items()} == weights
        and set(formats) <= {"json", *content.get("formats", ())}
        and isinstance(content.get("count"), int | float)
    )
    return content if same else None
