"""Values of options: sizes, lists, choices."""

from __future__ import annotations

import re
from collections.abc import Collection

from gigacount.errors import UnknownNameError, UsageError


def parse_size(text: str, option: str) -> tuple[int, int]:
    """`2560x1440` -> (2560, 1440)."""
    match = re.fullmatch(r"\s*(\d{1,9})\s*[xX×]\s*(\d{1,9})\s*", text)
    if not match:
        raise UsageError(f"{option} must look like 2560x1440, not '{text}'")
    return int(match[1]), int(match[2])


def size_text(size_wh: tuple[int, int]) -> str:
    return f"{size_wh[0]}x{size_wh[1]}"


def parse_numbers(text: str, option: str) -> tuple[float, ...]:
    """`1,1/4,0.125` -> (1.0, 0.25, 0.125)."""
    numbers = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)(?:\s*/\s*(\d+(?:\.\d+)?))?\s*", part)
        if not match or (match[2] and float(match[2]) == 0):
            raise UsageError(f"{option} must be numbers such as 1,1/4,1/8, not '{text}'")
        numbers.append(float(match[1]) / float(match[2] or 1))
    return tuple(numbers)


def parse_percent(text: str, option: str) -> float:
    """`5%` or `5` -> 5.0."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*%?\s*", text)
    if not match:
        raise UsageError(f"{option} must be a percentage such as 5%, not '{text}'")
    return float(match[1])


def parse_bands(text: str, option: str) -> tuple[int, ...]:
    """`3,2,1` -> (3, 2, 1)."""
    match = re.fullmatch(r"\s*(\d{1,5})\s*(?:,\s*(\d{1,5})\s*,\s*(\d{1,5})\s*)?", text)
    if not match:
        raise UsageError(f"{option} must be three band numbers such as 3,2,1, or one, not '{text}'")
    return tuple(int(number) for number in match.groups() if number is not None)


def parse_range(text: str, option: str) -> tuple[float, float]:
    """`0,4095` -> (0.0, 4095.0)."""
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(f"{option} must be two numbers such as 0,4095, not '{text}'") from error
    return low, high


def parse_choices(text: str, kind: str, choices: Collection[str]) -> tuple[str, ...]:
    """`json,tif` -> ("json", "tif"); every one must be among `choices`."""
    names = tuple(part.strip() for part in text.split(",") if part.strip())
    for name in names:
        if name not in choices:
            raise UnknownNameError(kind, name, choices)
    return names
