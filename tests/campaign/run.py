"""The whole attack, as `make test-hostile` starts it:

    python tests/campaign/run.py [--interruptions 300] [--pictures 50000] [--others 20000] [--batches 200]
        [--seed 1] [--minutes 60]

Prints what was tried and what went wrong, as JSON; exit status 1 if anything did. With --minutes only mutated files, of
every kind in turns, for so long: `make fuzz`.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(TESTS.parent)]

from campaign import crowds, disks, files, healthy, interruptions  # noqa: E402


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--interruptions", type=int, default=300)
    options.add_argument("--pictures", type=int, default=50_000)
    options.add_argument("--others", type=int, default=20_000)
    options.add_argument("--commands", type=int, default=30)
    options.add_argument("--batches", type=int, default=200)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--minutes", type=float)
    asked = options.parse_args()
    attacks: dict[str, tuple[Callable[[Path, Any, int], dict[str, Any]], float]] = {
        "interruptions": (interruptions.attack, asked.interruptions),
        "crowds": (crowds.attack, asked.commands),
        "disks": (disks.attack, asked.commands),
        "healthy": (healthy.attack, asked.batches),
        "pictures": (files.pictures, asked.pictures),
        "others": (files.others, asked.others),
    }
    if asked.minutes is not None:
        attacks = {"files": (files.for_minutes, asked.minutes)}
    wrong = 0
    for name, (attack, count) in attacks.items():
        if count == 0:
            continue
        with tempfile.TemporaryDirectory(prefix=f"campaign-{name}-") as folder:
            report: dict[str, Any] = attack(Path(folder), count, asked.seed)
        wrong += len(report["problems"])
        print(json.dumps({name: report}, indent=1), flush=True)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
