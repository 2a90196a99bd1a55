"""What a picture's levels come from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from threading import Event, Lock

from gigacount.geometry import Size, Window

from .levels import Level
from .picture import Picture
from .scratch import Scratch

Notify = Callable[[str], None]

REDUCED_PIXELS = 50_000_000
"""The most pixels of a picture, or of its reduced copy, that are held in memory (150 MB)."""


class Source(ABC):
    """The levels of one picture. decodes: how often its file was decoded from top to bottom. notes: what was found."""

    def __init__(self, picture: Picture, notify: Notify) -> None:
        self.picture = picture
        self.notify = notify
        self.reduction = reduction(picture.size_wh)
        self.scratch: Scratch | None = None
        self.decodes = 0
        self.notes: tuple[str, ...] = ()
        self.stopping = Event()
        self.lock = Lock()

    @abstractmethod
    def level(self, window: Window, ratio: float) -> Level:
        """The coarsest level for a look at a window (as stored) that shrinks by `ratio`. Raises VipsError, ImageError.

        Depends on its arguments alone, never on earlier looks: the same look gives the same pixels.
        """

    @abstractmethod
    def missing(self, window: Window) -> float:
        """The share of a window (as stored) for which grey stands in, as far as it was looked at, 0..1."""

    def prepare(self, looks: int) -> None:  # noqa: B027  nothing to prepare where tiles are at hand
        """Get ready for so many looks."""

    def close(self) -> None:
        """Stop decoding and give memory and disk back."""
        self.stopping.set()


def reduction(size_wh: Size) -> int:
    """The smallest power of two by which a picture shrinks to what may be held in memory; 1 for small pictures.

    A power of two, because windows lie on multiples of 8 pixels and then on whole pixels of the copy, too, and because
    JPEG can be decoded at a half, quarter or eighth.
    """
    factor = 1
    while -(-size_wh[0] // factor) * -(-size_wh[1] // factor) > REDUCED_PIXELS:
        factor *= 2
    return factor
