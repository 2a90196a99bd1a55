"""What the batch and its workers say to each other, whether these are processes here or actors on a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from gigacount.batch.records import Row
from gigacount.batch.work import Task
from gigacount.errors import GigacountError, NoSpaceError, UsageError


@dataclass(frozen=True)
class Ready:
    """The networks are loaded; pictures may come."""


@dataclass(frozen=True)
class Broken:
    """No picture can be worked on, for a reason that holds for all of them; kind: the class of the error."""

    message: str
    kind: type[GigacountError]

    @classmethod
    def by(cls, error: GigacountError) -> Broken:
        kinds = UsageError, NoSpaceError, GigacountError  # made of a message alone, which not all their children are
        return cls(str(error), next(kind for kind in kinds if isinstance(error, kind)))


@dataclass(frozen=True)
class Started:
    """Work on a picture has begun."""

    key: str


@dataclass(frozen=True)
class Looked:
    """So many of the planned windows of a picture are done."""

    key: str
    done: int
    planned: int


@dataclass(frozen=True)
class Said:
    """A line for the user."""

    message: str


@dataclass(frozen=True)
class Finished:
    """What became of a picture."""

    key: str
    row: Row


Report = Ready | Broken | Started | Looked | Said | Finished


class Worker(Protocol):
    """One worker, seen from the batch. node: where it runs, empty until known."""

    node: str

    def give(self, task: Task) -> None:
        """Hand it a picture; a dead worker swallows it and is found `lost`."""

    def reports(self) -> list[Report]:
        """What it has said since the last call, without waiting."""

    def lost(self) -> str | None:
        """How it died; None while it lives."""

    def ask_to_stop(self) -> None:
        """Ask it to drop its work at the next window and end."""

    def kill(self) -> None:
        """End it now."""


class Engine(Protocol):
    """Starts workers. capacity: pictures that one takes at a time. retry_elsewhere: failed pictures get a second
    try on another node, since what failed may be the node."""

    capacity: int
    retry_elsewhere: bool

    def most(self) -> int:
        """How many workers there can be at this moment."""

    def start_worker(self) -> Worker:
        """Start a worker; does not wait until it is ready."""

    def wait(self, workers: Sequence[Worker], seconds: float) -> None:
        """Wait until one of the workers has something to say."""

    def close(self) -> None:
        """Give back what the engine holds."""
