"""What is read back from results of earlier runs is checked here, by types and ranges, before anything trusts it.

JSON is written and read without NaN and infinities, which JSON does not have.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gigacount.errors import OutputError

MOST = 2**63  # whole numbers above it are no sizes, times or numbers of people

ODD = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""Characters that JSON allows, and terminals or encoders do not: controls, and bytes of names that are no UTF-8."""


def text(value: Any) -> bool:
    return isinstance(value, str)


def number(value: Any) -> bool:
    """Finite; True and False are no numbers."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < MOST and math.isfinite(value)


def size(value: Any) -> bool:
    """A finite number from 0."""
    return number(value) and value >= 0


def whole(value: Any) -> bool:
    """A whole number from 0."""
    return isinstance(value, int) and size(value)


def side(value: Any) -> bool:
    return whole(value) and value > 0


def optional(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """The value or None."""
    return lambda value: value is None or check(value)


IMAGE = {"path": text, "width": side, "height": side, "bytes": whole, "modified_ns": number}
WINDOW = {"level": whole, "left": number, "top": number, "width": size, "height": size, "count": number}
COUNT = {
    "count": number,
    "image": IMAGE,
    "formats": [text],
    "options": {},
    "networks": {str: {"name": text, "sha256": text}},
    "inferences": whole,
    "windows": [WINDOW],
    "seconds": {str: size},
}
"""The fields of count.json that every result has; there are others."""

INTERVAL = {"low": number, "high": number, "level": number, "basis": text, "doubts": [text]}

LOCATED = {"located": whole, "levels": [{"level": whole, "people": number, "located": whole}]}
"""Besides, where people were located."""


def fits(value: Any, schema: Any) -> bool:
    """Whether a value has the form of a schema.

    A schema is a check, a list of one schema for all elements, or a dictionary of fields that must be there; its key
    `str` stands for all fields.
    """
    if isinstance(schema, list):
        return isinstance(value, list) and all(fits(element, schema[0]) for element in value)
    if isinstance(schema, dict):
        if not isinstance(value, dict):
            return False
        if str in schema:
            return all(fits(element, schema[str]) for element in value.values())
        return all(name in value and fits(value[name], field) for name, field in schema.items())
    return bool(schema(value))


def read_json(path: Path, schema: Any) -> Any:
    """The content of a JSON file; None where there is none, or it is damaged, or does not fit."""
    try:
        content = json.loads(path.read_bytes(), parse_constant=_refuse)
    except (OSError, ValueError, RecursionError, MemoryError):
        return None
    return content if fits(content, schema) else None


def read_count(path: Path) -> dict[str, Any] | None:
    """The content of a count.json that can be trusted; None where there is none."""
    content: dict[str, Any] | None = read_json(path, COUNT)
    if content is None or ("located" in content and not fits(content, LOCATED)):
        return None
    return content


def to_json(value: Any, indent: int | None = None) -> str:
    """JSON in one line, or indented, that can be encoded and shown. Raises OutputError for NaN and infinities."""
    try:
        plain = json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        raise OutputError(f"a value that is no finite number cannot be written: {error}") from error
    return ODD.sub(lambda odd: f"\\u{ord(odd[0]):04x}", plain)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
