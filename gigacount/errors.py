"""Everything that gigacount raises on purpose.

GigacountError          one line for the user: what is wrong, where, what to do
├── UsageError          what cannot be done as it was asked: options that make no sense, no image there; exit status 2
│   └── UnknownNameError     a name that is not in its table; lists the choices
├── ImageError          an image that cannot be read: missing, not an image, damaged
├── WeightsError        network weights that are missing, altered or of another network
├── DataError           labels, data sets, regions or result files that cannot be used
│   ├── NotFoundError        a data set, or a split of it, that is not where it was looked for
│   └── EntryError           one image or label file of a data set; `data check` counts them by kind
└── OutputError         results that cannot be written: no permission, no folder
    ├── NoSpaceError         a full disk: no other result can be written, either
    └── ExistsError          something stands there that only --overwrite replaces; exit status 2
"""

from __future__ import annotations

from collections.abc import Iterable


class GigacountError(Exception):
    """Base class, caught once in the command line and shown as one line."""

    exit_code = 1


class UsageError(GigacountError):
    """The request itself makes no sense."""

    exit_code = 2


class UnknownNameError(UsageError):
    """A name that a table does not hold: `UnknownNameError("network", "csrmet", NETWORKS)`."""

    def __init__(self, kind: str, name: str, choices: Iterable[str]) -> None:
        super().__init__(f"there is no {kind} '{name}'; choose one of: {', '.join(choices)}")


class ImageError(GigacountError):
    """An image that cannot be read."""


class WeightsError(GigacountError):
    """Network weights that are missing, altered or of another network."""


class DataError(GigacountError):
    """Labels, data sets, regions or result files that cannot be used."""


class NotFoundError(DataError):
    """A data set, or a split of it, that is not where it was looked for."""


class EntryError(DataError):
    """One image or label file of a data set: `EntryError("image without labels", "a.jpg: no a.txt")`.

    times: how often it occurs there.
    """

    def __init__(self, kind: str, message: str, times: int = 1) -> None:
        super().__init__(message)
        self.kind, self.times = kind, times


class OutputError(GigacountError):
    """Results that cannot be written."""


class NoSpaceError(OutputError):
    """The disk that gets the results is full, or the user's share of it."""


class ExistsError(OutputError):
    """What stands there already, or was made with other options, is not replaced without being told to."""

    exit_code = 2
