"""Batches on a disk that is full, or soon will be: they end at once, say so in a line, and go on when there is room."""

from __future__ import annotations

import os
import random
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

from campaign.interruptions import hidden, prepare, rows, start
from gigacount.output.stored import read_count

HANG_SECONDS = 60


def attack(folder: Path, count: int, seed: int) -> dict[str, Any]:
    """`count` full disks. problems: what should not have happened, in words."""
    chance, problems, ends = random.Random(seed), [], Counter[str]()
    prepare(folder, 12)
    disk = folder / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], capture_output=True).returncode:
        return {"disks": 0, "skipped": "no permission to mount a small disk", "problems": []}
    try:
        for number in range(count):
            problem = fill(folder, disk, chance, ends)
            if problem:
                problems.append(f"{number}: {problem}")
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    return {"disks": count, "ends": dict(sorted(ends.items())), "problems": problems}


def fill(folder: Path, disk: Path, chance: random.Random, ends: Counter[str]) -> str:
    """One full disk; what went wrong with it, if anything."""
    leave = chance.choice((0, 4_096, 20_000, 100_000, 200_000))
    status = os.statvfs(disk)
    (disk / "filler").write_bytes(bytes(max(status.f_bavail * status.f_frsize - leave, 0)))
    began = time.monotonic()
    process = start(folder, "count", "in", "--out", "disk/out", "--overwrite")
    _, err = process.communicate(timeout=300)
    ends[f"exit {process.returncode}"] += 1
    (disk / "filler").unlink()
    if time.monotonic() - began > HANG_SECONDS or "Traceback" in err or process.returncode not in (0, 1):
        return f"{leave} bytes left, exit {process.returncode}: {err}"
    if process.returncode == 1 and ("no space left" not in err or len(err.splitlines()) != 1):
        return f"{leave} bytes left, and said was: {err}"
    if any(read_count(path) is None for path in disk.glob("out/*/count.json")):
        return f"{leave} bytes left, and a result is damaged"
    last = start(folder, "count", "in", "--out", "disk/out")
    _, err = last.communicate(timeout=300)
    whole = last.returncode == 0 and len(rows(disk / "out")) == 12 and not hidden(disk / "out")
    return "" if whole else f"{leave} bytes left, and afterwards exit {last.returncode}: {err} {hidden(disk / 'out')}"
