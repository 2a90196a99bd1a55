"""Mutated files by the thousand, made on the spot by `fuzz.py`, in processes of so many each."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from itertools import count as counting
from pathlib import Path
from typing import Any

from fuzz import KINDS

FUZZ = Path(__file__).parents[1] / "fuzz.py"
AT_A_TIME = 1000
A_TURN = 200


def pictures(folder: Path, count: int, seed: int) -> dict[str, Any]:
    return attack(folder, "pictures", count, seed)


def others(folder: Path, count: int, seed: int) -> dict[str, Any]:
    """As many at each of the other doors."""
    doors = tuple(door for door in KINDS if door != "pictures")
    each = -(-count // len(doors))
    return total([attack(folder / door, door, each, seed) for door in doors])


def for_minutes(folder: Path, minutes: float, seed: int) -> dict[str, Any]:
    """All doors in turns, with ever new files, until the time is over."""
    end, reports = time.monotonic() + 60 * minutes, []
    for turn in counting():
        for door in KINDS:
            if time.monotonic() > end:
                return total(reports)
            reports.append(attack(folder / f"{door}-{turn}", door, A_TURN, seed * 1000 + turn))
            shutil.rmtree(folder / f"{door}-{turn}")
    raise AssertionError


def attack(folder: Path, door: str, files: int, seed: int) -> dict[str, Any]:
    """So many files at one door. problems: what should not have happened, in words."""
    reports = []
    for part, first in enumerate(range(0, files, AT_A_TIME)):
        command = [sys.executable, str(FUZZ), door, str(seed * 1000 + part), str(min(AT_A_TIME, files - first))]
        environment = os.environ | {"PYTHONPATH": str(FUZZ.parents[1]), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [*command, str(folder / str(part))], env=environment, capture_output=True, text=True, errors="replace"
        )
        if done.returncode != 0:
            reports.append({"problems": [f"{door} {part} died with {done.returncode}: {done.stderr[:3000]}"]})
            continue
        report = json.loads(done.stdout)[door]
        outcomes = {f"{door}: {outcome}": times for outcome, times in report["outcomes"].items()}
        problems = [f"{door} {part} {problem}" for problem in report["problems"]]
        reports.append({**report, "outcomes": outcomes, "problems": problems})
    return total(reports)


def total(reports: list[dict[str, Any]]) -> dict[str, Any]:
    outcomes: Counter[str] = Counter()
    for report in reports:
        outcomes.update(report.get("outcomes", {}))
    return {
        "files": outcomes.total(),
        "outcomes": dict(sorted(outcomes.items())),
        "peak_bytes": max((report.get("peak_bytes", 0) for report in reports), default=0),
        "slowest_seconds": max((report.get("slowest_seconds", 0) for report in reports), default=0),
        "problems": [problem for report in reports for problem in report["problems"]],
    }
