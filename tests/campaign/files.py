"""Mutated files by the thousand, made on the spot by `fuzz.py`, in processes of so many each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

FUZZ = Path(__file__).parents[1] / "fuzz.py"
AT_A_TIME = 1000


def pictures(folder: Path, count: int, seed: int) -> dict[str, Any]:
    return attack(folder, ("pictures",), count, seed)


def others(folder: Path, count: int, seed: int) -> dict[str, Any]:
    """Weights, records, results, labels and regions."""
    return attack(folder, ("labels", "results", "weights"), count, seed)


def attack(folder: Path, kinds: tuple[str, ...], count: int, seed: int) -> dict[str, Any]:
    """`count` files in all. problems: what should not have happened, in words."""
    outcomes: Counter[str] = Counter()
    problems: list[str] = []
    peak = 0
    each = -(-count // len(kinds))
    for kind in kinds:
        for part, first in enumerate(range(0, each, AT_A_TIME)):
            place = folder / f"{kind}-{part}"
            command = [sys.executable, str(FUZZ), kind, str(seed * 1000 + part), str(min(AT_A_TIME, each - first))]
            environment = os.environ | {"PYTHONPATH": str(FUZZ.parents[1]), "OMP_NUM_THREADS": "1"}
            done = subprocess.run([*command, str(place)], env=environment, capture_output=True, text=True)
            if done.returncode != 0:
                problems.append(f"{kind} {part} died with {done.returncode}: {done.stderr[:3000]}")
                continue
            report = json.loads(done.stdout)[kind]
            outcomes += Counter(report["outcomes"])
            problems += [f"{kind} {part} {problem}" for problem in report["problems"]]
            peak = max(peak, report["peak_bytes"])
    return {
        "files": outcomes.total(),
        "outcomes": dict(outcomes.most_common()),
        "peak_mb": round(peak / 1e6),
        "problems": problems,
    }
