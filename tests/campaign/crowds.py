"""Two and three commands on one output, at the same time: each succeeds or says in a line who was first."""

from __future__ import annotations

import random
import shutil
import time
from collections import Counter
from pathlib import Path
from typing import Any

from campaign.interruptions import hidden, prepare, rows, start
from gigacount.output.stored import read_count

KINDS = {
    "a batch": ("count", "in", "--out", "out"),
    "a picture": ("count", "in/00.jpg", "--out", "out"),
    "heads": ("localize", "in/00.jpg", "--out", "out/heads.csv"),
}


def attack(folder: Path, count: int, seed: int) -> dict[str, Any]:
    """`count` rounds. problems: what should not have happened, in words."""
    chance, problems, ends = random.Random(seed), [], Counter[str]()
    prepare(folder, 4)
    for number in range(count):
        kind = chance.choice(sorted(KINDS))
        overwrite = ["--overwrite"] * (chance.random() < 0.5)
        if chance.random() < 0.5:
            shutil.rmtree(folder / "out", ignore_errors=True)
        commands = []
        for _ in range(chance.choice((2, 3))):
            commands.append(start(folder, *KINDS[kind], *overwrite))
            time.sleep(chance.uniform(0, 0.5))
        for command in commands:
            _, err = command.communicate(timeout=300)
            ends[f"{kind}, exit {command.returncode}"] += 1
            if command.returncode not in (0, 2) or "Traceback" in err:
                problems.append(f"{number}: {kind} ends with {command.returncode}: {err}")
        damaged = [str(path) for path in folder.glob("out/**/count.json") if read_count(path) is None]
        if damaged or hidden(folder / "out"):
            problems.append(f"{number}: {kind} leaves {damaged or hidden(folder / 'out')}")
        if kind == "a batch" and len(rows(folder / "out")) != 4:
            problems.append(f"{number}: the summary has {rows(folder / 'out')}")
    return {"rounds": count, "commands": ends.total(), "ends": dict(sorted(ends.items())), "problems": problems}
