"""Claims: which process works on which image, when several share one output folder.

A claim is a file that only one process can make. It is a hard link to the claimer's own file, which says who it is
and whose time of change is its heartbeat: so a claim has its content from the first instant, and one touch keeps all
claims of a process alive. A claim whose process is dead is taken over. If two processes work on one image after all,
because one of them seemed dead, that costs time but no result: results are whole whoever writes them last.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import socket
import time
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gigacount.atomic import discard_all_leftovers, explained, is_alive, process_space, write_whole
from gigacount.errors import OutputError
from gigacount.output.stored import read_json, text, whole

BEAT_SECONDS = 15.0
STALE_SECONDS = 180.0
"""A claim with an older heartbeat belongs to a dead process. Network file systems may show times a minute late."""

OWNER = {"host": text, "space": text, "pid": whole}

NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EXDEV, errno.EACCES)


class Claims:
    """This process's claims in a folder. Closing gives them all back."""

    def __init__(self, folder: Path, stale_seconds: float = STALE_SECONDS) -> None:
        self.folder, self.stale_seconds = folder, stale_seconds
        owner = {"host": socket.gethostname(), "space": process_space(), "pid": os.getpid(), "id": secrets.token_hex(8)}
        self._content = json.dumps(owner | {"since": datetime.now(UTC).isoformat(timespec="seconds")})
        self._own = folder / f"owner.{owner['id']}"
        self._held: set[str] = set()
        self._beaten = time.monotonic()
        with explained(folder):
            folder.mkdir(parents=True, exist_ok=True)
        write_whole(self._own, self._content.encode())  # so an owner file without content belongs to nobody

    def take(self, key: str) -> bool:
        """Claim `key`; False where another live process has it. Raises OutputError where no file can be made."""
        with explained(self.folder):
            if self._make(self._path(key)) or self._take_over(key):
                self._held.add(key)
                return True
        return False

    def release(self, key: str) -> None:
        """Give a claim back."""
        if key in self._held:
            self._held.discard(key)
            if self._is_own(self._path(key)):
                self._path(key).unlink(missing_ok=True)

    def left(self, keys: Iterable[str]) -> list[str]:
        """Those of `keys` that are claimed by dead processes."""
        with suppress(OSError):
            there = {entry.name for entry in os.scandir(self.folder)}
            return [key for key in keys if f"{key}.claim" in there and self._is_left(self._path(key))]
        return []

    def beat(self) -> None:
        """Show that this process lives; to be called every few seconds, does something every 15."""
        if time.monotonic() - self._beaten >= BEAT_SECONDS:
            self._beaten = time.monotonic()
            for path in (self._own, *map(self._path, self._held)):
                with suppress(OSError):
                    os.utime(path)

    def close(self) -> None:
        for key in list(self._held):
            self.release(key)
        self._own.unlink(missing_ok=True)
        for owner in self.folder.glob("owner.*"):
            if not (content := read_owner(owner)) or is_surely_dead(content):
                owner.unlink(missing_ok=True)
        discard_all_leftovers(self.folder)

    def holder(self, key: str) -> str:
        """Who has claimed `key`, in words: `process 123 on HOST, since 2026-11-27T20:15:03+00:00`; empty if nobody."""
        owner = read_owner(self._path(key))
        since = f", since {owner['since']}" if owner.get("since") else ""
        return f"process {owner['pid']} on {owner['host']}{since}" if owner else ""

    def _make(self, path: Path) -> bool:
        """Make a claim file; False where it exists."""
        try:
            os.link(self._own, path)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            return self._make_without_links(path)
        return True

    def _make_without_links(self, path: Path) -> bool:
        """As `_make`, on file systems without hard links; killed here, a process leaves a claim without its name."""
        try:
            with path.open("x") as file:
                file.write(self._content)
        except FileExistsError:
            return False
        return True

    def _take_over(self, key: str) -> bool:
        """Replace the claim of a dead process by ours. A second claim, for the takeover, lets one process do so."""
        path, turn = self._path(key), self.folder / f"{key}.turn"
        if not self._is_left(path):
            return False
        if not self._make(turn):
            if self._is_left(turn):
                turn.unlink(missing_ok=True)
            return False
        fresh = self.folder / f"{self._own.name}.{key}"
        try:
            if not self._is_left(path):  # another process was here between our look and our turn
                return False
            self._make(fresh)
            fresh.replace(path)
        finally:
            fresh.unlink(missing_ok=True)
            turn.unlink(missing_ok=True)
        return True

    def _is_left(self, path: Path) -> bool:
        """Whether the process that made a claim is dead: surely so on this machine, else by its heartbeat."""
        if is_surely_dead(read_owner(path)):
            return True
        try:
            touched = path.stat().st_mtime
            os.utime(self._own)  # the file system's clock, which may differ from this machine's
            # A heartbeat from the future was left when some clock was ahead.
            return abs(self._own.stat().st_mtime - touched) > self.stale_seconds
        except FileNotFoundError:
            return False  # released meanwhile; the next attempt finds it free
        except OSError as error:
            raise OutputError(f"{path}: cannot read this claim: {error.strerror}") from error

    def _is_own(self, path: Path) -> bool:
        try:
            return path.read_text() == self._content
        except OSError:
            return False

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.claim"


def read_owner(path: Path) -> dict[str, Any]:
    """Who made a claim; empty where that cannot be read."""
    owner: dict[str, Any] | None = read_json(path, OWNER)
    return owner or {}


def is_surely_dead(owner: dict[str, Any]) -> bool:
    """Whether a process was on this machine and is no more; of other machines' processes that cannot be known."""
    here = socket.gethostname(), process_space()
    return bool(owner) and (owner["host"], owner["space"]) == here and not is_alive(owner["pid"])
