"""An audit under way: what a person found in which patch, in a file that only grows.

A line begins an audit and says all that its plan follows from; the lines after it are counts, one a patch, with the
heads where they were clicked. A patch that is counted again gets another line, and the last one holds. So a third
person can repeat the audit from the image, the result and this file.
"""

from __future__ import annotations

import getpass
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from gigacount.atomic import explained
from gigacount.errors import DataError, UsageError
from gigacount.geometry import Window
from gigacount.output.opened import StoredResult
from gigacount.output.stored import fits, number, optional, size, text, to_json, whole
from gigacount.regions import Regions
from gigacount.regions.region import Region
from gigacount.view.audit import HEADS, Estimate, Floats, Plan, estimate, make_plan, predicted_in

ENDING = "audit.jsonl"

PLAN = {"seed": whole, "heads": lambda value: size(value) and value >= 1, "density": text, "exclude": optional(text)}
COUNTED = {"patch": whole, "people": size, "heads": optional(lambda value: positions(value) is not None)}

LEAST_PATCHES = 5  # counted patches that a region must have a part in before it gets an interval


@dataclass(frozen=True)
class Counted:
    """What a person found in a patch: people, and where they were clicked; None for heads that were only counted."""

    people: float
    heads: list[list[float]] | None


class Audit:
    """An audit of a result. excluded: the zones that were left out of the count, in which nobody is counted here.

    seed, heads: of a new audit, by default 0 and HEADS. anew: begin another audit after those in the file.
    Raises DataError where the file is of another result, or the result left out zones that are not given.
    """

    def __init__(
        self,
        result: StoredResult,
        excluded: Regions | None = None,
        exclude_sha256: str | None = None,
        seed: int | None = None,
        heads: float | None = None,
        anew: bool = False,
    ) -> None:
        self.result, self.excluded = result, excluded
        self.path = result.beside(ENDING)
        zones = result.content["options"].get("exclude")
        if zones is not None and exclude_sha256 != zones.get("sha256"):
            raise UsageError(
                f"{result.folder} was counted without some zones; give the same file: --exclude {zones['file']}"
            )
        density = hashlib.sha256(result.density.cells.tobytes()).hexdigest()[:16]
        made_of = {"density": density, "exclude": exclude_sha256}
        begun = None if anew else self._begun()
        self._fresh, self._anew = begun is None, anew
        if begun is None:
            begun = {"seed": seed or 0, "heads": heads or HEADS, **made_of}
        elif any(begun.get(name) != value for name, value in made_of.items()):
            raise DataError(f"{self.path}: an audit of another count of this image; begin another one with --anew")
        elif (seed is not None and seed != begun["seed"]) or (heads is not None and heads != begun["heads"]):
            raise UsageError(
                f"{self.path}: begun with seed {begun['seed']} and {begun['heads']:g} heads; --anew begins another"
            )
        self.begun = begun
        self.plan: Plan = make_plan(result.density, begun["seed"], begun["heads"])
        self.counted: dict[int, Counted] = {}
        self.refresh()

    def window(self, patch: int) -> Window:
        """Where a patch is; they are numbered from 1 in the order in which they are to be counted."""
        return self.plan.windows[int(self.plan.order[patch - 1])]

    @property
    def patches(self) -> int:
        return len(self.plan.order)

    @property
    def next(self) -> int | None:
        """The first patch that is not counted yet; None when all are."""
        return next((patch for patch in range(1, self.patches + 1) if patch not in self.counted), None)

    def refresh(self) -> None:
        """Read what was counted, by others too."""
        self.counted = {}
        if self._fresh:
            return
        for line in read_lines(self.path):
            if "plan" in line:
                self.counted = {}
            elif fits(line, COUNTED) and 1 <= line["patch"] <= self.patches:
                self.counted[line["patch"]] = Counted(line["people"], line["heads"])

    def add(
        self, patch: int, people: float | None, heads: Sequence[Sequence[float]] | None, by: str | None = None
    ) -> None:
        """Keep what was found in a patch: heads where they were clicked, or people alone. Raises DataError."""
        if not 1 <= patch <= self.patches:
            raise DataError(f"there is no patch {patch}; there are {self.patches}")
        window = self.window(patch)
        if heads is not None:
            xy = positions(heads)
            if xy is None:
                raise DataError(f"patch {patch}: heads must be a list of positions x, y")
            inside = (xy >= (window.left, window.top)).all(axis=1) & (xy < (window.right, window.bottom)).all(axis=1)
            if self.excluded is not None:
                inside &= ~self.excluded.contain(xy.astype(np.float32))
            heads = [[round(x, 2), round(y, 2)] for x, y in xy[inside].tolist()]
            people = len(heads)
        if not size(people):
            raise DataError(f"patch {patch}: people must be a number from 0, not {people}")
        standing = self._begun()
        self._fresh = self._fresh and (self._anew or standing is None)
        if not self._fresh and standing != self.begun:
            raise DataError(f"{self.path}: another audit was begun meanwhile; open the result again")
        lines: list[dict[str, Any]] = []
        if self._fresh:
            lines.append({"plan": self.begun, "image": self.result.image.name, "key": self.result.content.get("key")})
        lines.append({"patch": patch, "window": list(astuple(window)), "people": people, "heads": heads})
        append(self.path, [line | {"by": by or user(), "when": now()} for line in lines])
        self._fresh = self._anew = False
        self.refresh()

    def estimate(self) -> Estimate:
        """The total by the patches counted so far, up to the first that is not."""
        return estimate(self.plan, [self.counted[patch].people for patch in range(1, self.done + 1)])

    @property
    def done(self) -> int:
        """Patches counted without a gap, from the first."""
        return (self.next or self.patches + 1) - 1

    def estimate_in(self, region: Region) -> Estimate:
        """The people of a region, by the counted patches that have a part in it.

        Heads that were only counted are shared out by what the machine says.
        """
        predicted = predicted_in(self.plan, self.result.density, region)
        found, touched = [], 0
        for patch in range(1, self.done + 1):
            number = self.plan.order[patch - 1]
            share = (
                min(predicted[number] / self.plan.predicted[number], 1.0) if self.plan.predicted[number] > 0 else 0.0
            )
            counted = self.counted[patch]
            if counted.heads is None:
                found.append(counted.people * share)
            else:
                xy = np.array(counted.heads, np.float32).reshape(-1, 2)
                found.append(float(Regions((region,)).contain(xy).sum()))
            touched += share > 0 or found[-1] > 0
        made = estimate(self.plan, found, predicted)
        if self.done == self.patches:
            return replace(made, patches=touched or self.patches)
        if touched >= LEAST_PATCHES:
            return replace(made, patches=touched)
        return replace(made, patches=touched, low=None, high=None)

    def _begun(self) -> dict[str, Any] | None:
        """What the last audit in the file was begun with."""
        found = [line["plan"] for line in read_lines(self.path) if fits(line, {"plan": PLAN})]
        return found[-1] if found else None


def positions(heads: Any) -> Floats | None:
    """Positions (N, 2); None for anything else."""
    fine = isinstance(heads, list | tuple) and all(
        isinstance(head, list | tuple) and len(head) == 2 and all(map(number, head)) for head in heads
    )
    return np.array(heads, np.float64).reshape(-1, 2) if fine else None


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a file of JSON lines; a line that a full disk or a crash cut off is passed over."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    lines = []
    for line in content.split(b"\n"):
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            lines.append(value)
    return lines


def append(path: Path, lines: Sequence[dict[str, Any]]) -> None:
    """Add lines to the end of a file, in one piece, on the disk when this returns. Raises OutputError.

    What a full disk leaves of a piece is taken back; if a crash left something, the next line begins after it.
    """
    piece = "".join(f"{to_json(line)}\n" for line in lines).encode()
    with explained(path):
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            end = os.fstat(file).st_size
            if end and os.pread(file, 1, end - 1) != b"\n":
                piece = b"\n" + piece
            written = os.write(file, piece)
            if written < len(piece):
                os.write(file, piece[written:])  # says why
            os.fsync(file)
        except OSError:
            os.ftruncate(file, end)
            raise
        finally:
            os.close(file)


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def user() -> str:
    """Who works here, by the system."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"
