"""Memory for what is decoded as a whole: how much a format takes, how much there is, and who has it meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Condition

from gigacount.errors import ImageError

from .info import ImageInfo

SHARE = 0.8  # of the memory that is free, the most that one process's images take while they are decoded

WHOLE_BYTES = {"WebP": 21.0, "HEIF": 17.0, "GIF": 10.0, "JPEG XL": 11.0, "camera raw": 20.0, "BMP": 14.0, "HEIC": 17.0}
WHOLE_BYTES |= {"JPEG 2000": 20.0, "12-bit JPEG": 9.0, "lossless JPEG": 10.0}
"""Bytes that decoding takes for each pixel of 8-bit RGB, with the copies that are kept; measured on 8 megapixels."""

PROGRESSIVE_BYTES = {"JPEG": 8.0, "PNG": 6.0}
"""The same for JPEG in several scans (its coefficients) and interlaced PNG."""

GROUPS, MEMBERSHIP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")

_changed = Condition()
_taken: list[int] = []


def needed_bytes(info: ImageInfo) -> int:
    """Memory that decoding takes beyond the usual, 0 for what is decoded row by row or tile by tile."""
    width, height = info.size_wh
    per_pixel = WHOLE_BYTES.get(info.format, 0.0)
    if info.progressive:
        per_pixel = PROGRESSIVE_BYTES.get(info.format, per_pixel)
    wide = max(1.0, info.bits / 8) * max(1.0, info.bands / 3)
    return int(width * height * per_pixel * wide)


def free_bytes() -> int:
    """Memory that this process may still take: of the computer, its control groups, and its own limit."""
    return max(0, min(_of_computer(), _of_groups(), _of_limit()))


@contextmanager
def reserved(info: ImageInfo, name: str) -> Iterator[None]:
    """Have memory for decoding an image, after others that have theirs; `name` is for messages.

    Raises ImageError when there would be too little even if nobody else had any.
    """
    needed = needed_bytes(info)
    if needed == 0:
        yield
        return
    with _changed:
        # What others have taken they need not have used yet, so it is not free although it may look so.
        while sum(_taken) + needed > SHARE * free_bytes():
            if not _taken:
                kind = f"progressive {info.format}" if info.progressive else info.format
                raise ImageError(
                    f"{name}: a {kind} is decoded as a whole, which takes {needed / 1e9:.1f} GB of memory, more than is"
                    f" free here ({free_bytes() / 1e9:.1f} GB); save it as tiled TIFF or plain JPEG"
                )
            _changed.wait(1.0)
        _taken.append(needed)
    try:
        yield
    finally:
        with _changed:
            _taken.remove(needed)
            _changed.notify_all()


def is_short() -> bool:
    """Whether so little memory is left that a decoder's failure is no sign of damage."""
    return free_bytes() < 2**27


def _of_computer() -> int:
    try:
        text = Path("/proc/meminfo").read_text()
        return int(text.split("MemAvailable:")[1].split()[0]) * 1024
    except (OSError, LookupError, ValueError):
        return 2**62


def _of_groups() -> int:
    """What the control groups of this process still allow (containers, Slurm): version 2, then version 1."""
    free = 2**62
    try:
        groups = [line.split(":", 2) for line in MEMBERSHIP.read_text().splitlines()]
    except OSError:
        return free
    for _, controllers, place in (group for group in groups if len(group) == 3):
        old = "memory" in controllers.split(",")
        if controllers and not old:
            continue
        root = GROUPS / "memory" if old else GROUPS
        names = ("memory.limit_in_bytes", "memory.usage_in_bytes") if old else ("memory.max", "memory.current")
        inner = root / place.strip("/")
        for folder in (inner, *inner.parents):
            if not folder.is_relative_to(root):
                break
            limit, used = (_number(folder / name) for name in names)
            if limit is not None:
                free = min(free, limit - (used or 0) + _cache_of(folder))
    return free


def _cache_of(folder: Path) -> int:
    """Bytes of files that a group holds in memory and gives back when asked."""
    try:
        words = (folder / "memory.stat").read_text().split()
        return int(words[words.index("inactive_file") + 1])
    except (OSError, ValueError, LookupError):
        return 0


def _of_limit() -> int:
    try:
        import resource
    except ImportError:  # not on Windows
        return 2**62
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return 2**62
    try:
        return limit - int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except (OSError, ValueError):
        return limit


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None  # "max", or no such group
