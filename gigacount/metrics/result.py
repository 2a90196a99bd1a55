"""What all results of measuring have in common."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Result:
    """A result without I/O: plain numbers, tuples and strings, never NaN; None where a value is undefined."""

    def as_dict(self) -> dict[str, Any]:
        """The result as JSON knows it: nested dicts, lists, numbers, strings and None."""
        return asdict(self)


def mean_of_known(values: Iterable[float | None]) -> float | None:
    """The mean of the values that are defined; None where none is."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
