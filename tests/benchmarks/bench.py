"""`make bench`: ratios that hold on any machine, times that do not, as a table and JSON.

    python tests/benchmarks/bench.py FOLDER [--only SECTION ...] [--json FILE] [--kept FILE]

Absolute times are noise on shared machines; what is compared runs in the same minutes. Figures that are more than a
tenth worse than in --kept, an earlier run's JSON, are named at the end, and the exit status is then 1.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the gigacount command does, before torch is imported

from figures import Figure, changes
from sections import SECTIONS


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--kept", type=Path)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    figures: list[Figure] = []
    for section in arguments.only:
        for figure in SECTIONS[section](arguments.folder):
            figures.append(figure)
            print(figure.line(), flush=True)
    if arguments.json:
        values = {figure.name: round(figure.value, 4) for figure in figures}
        arguments.json.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    worse = list(changes(figures, arguments.kept)) if arguments.kept else []
    for line in worse:
        print(line, file=sys.stderr)
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
