"""How an option is described: a field of a dataclass with its help, from which the command line is made."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from gigacount.errors import UsageError

LOOKING, READING, NETWORK = "What to look at", "Reading", "Network"
OUTPUT, MANY, EXPERTS = "Output", "Many images", "For experts"
"""Panels of the commands' help."""

T = TypeVar("T")
Parse = Callable[[str], Any] | None


@dataclass(frozen=True)
class Option:
    """What makes a field, or a parameter of a command, an option of the command line: see `option` and `required`.

    help: what it is; together with the field's default all that is said of it. name: `--name`, `-n`, or both, where it
    is not the field's own. A flag turns its field round: one with the default True is turned off by it. metavar: what
    stands for the value in the help. panel: the group in the help; by default the class attribute `PANEL`. parse: makes
    the value of a text, and raises UsageError with a message that begins with "must".
    """

    help: str
    name: str = ""
    metavar: str = ""
    panel: str = ""
    parse: Parse = None

    def names(self, field: str) -> list[str]:
        """How it is written on the command line, `--name` first, where it is declared as a field of that name."""
        names = self.name.split()
        return names if any(one.startswith("--") for one in names) else [f"--{field.replace('_', '-')}", *names]


def option(default: T, help: str, name: str = "", metavar: str = "", panel: str = "", parse: Parse = None) -> T:
    """The default of a field or parameter that is an option; the rest as in `Option`."""
    made: Any = field(default=default, metadata={"option": Option(help, name, metavar, panel, parse)})
    return cast(T, made)


def required(help: str, name: str = "", metavar: str = "", panel: str = "", parse: Parse = None) -> Any:
    """A field or parameter that is an option without a default."""
    return field(metadata={"option": Option(help, name, metavar, panel, parse)})


def require(condition: bool, message: str) -> None:
    """Raise UsageError with `message` unless the condition holds."""
    if not condition:
        raise UsageError(message)


def require_pairs(settings: Iterable[str]) -> None:
    """Raise UsageError for a setting that is not NAME=VALUE."""
    for pair in settings:
        require("=" in pair, f"a setting is given as NAME=VALUE, not '{pair}'")


def parse_whole(text: str) -> int:
    """`12` -> 12."""
    try:
        return int(text)
    except ValueError as error:
        raise UsageError(f"must be a whole number, not '{text}'") from error


def parse_number(text: str) -> float:
    """`0.5` -> 0.5."""
    try:
        return float(text)
    except ValueError as error:
        raise UsageError(f"must be a number, not '{text}'") from error


def parse_size(text: str) -> tuple[int, int]:
    """`2560x1440` -> (2560, 1440)."""
    match = re.fullmatch(r"\s*(\d{1,9})\s*[xX×]\s*(\d{1,9})\s*", text)
    if not match:
        raise UsageError(f"must look like 2560x1440, not '{text}'")
    return int(match[1]), int(match[2])


def parse_numbers(text: str) -> tuple[float, ...]:
    """`1,1/4,0.125` -> (1.0, 0.25, 0.125)."""
    numbers = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)(?:\s*/\s*(\d+(?:\.\d+)?))?\s*", part)
        if not match or (match[2] and float(match[2]) == 0):
            raise UsageError(f"must be numbers such as 1,1/4,1/8, not '{text}'")
        numbers.append(float(match[1]) / float(match[2] or 1))
    return tuple(numbers)


def parse_fraction(text: str) -> float:
    """`1/8` -> 0.125."""
    return parse_numbers(text)[0]


def parse_percent(text: str) -> float:
    """`5%` or `5` -> 5.0."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*%?\s*", text)
    if not match:
        raise UsageError(f"must be a percentage such as 5%, not '{text}'")
    return float(match[1])


def parse_bands(text: str) -> tuple[int, ...]:
    """`3,2,1` -> (3, 2, 1)."""
    match = re.fullmatch(r"\s*(\d{1,5})\s*(?:,\s*(\d{1,5})\s*,\s*(\d{1,5})\s*)?", text)
    if not match:
        raise UsageError(f"must be three band numbers such as 3,2,1, or one, not '{text}'")
    return tuple(int(number) for number in match.groups() if number is not None)


def parse_range(text: str) -> tuple[float, float]:
    """`0,4095` -> (0.0, 4095.0)."""
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(f"must be two numbers such as 0,4095, not '{text}'") from error
    return low, high


def parse_names(text: str) -> tuple[str, ...]:
    """`json,tif` -> ("json", "tif")."""
    return tuple(part.strip() for part in text.split(",") if part.strip())
