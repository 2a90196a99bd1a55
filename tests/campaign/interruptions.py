"""Commands that are interrupted at random moments, by every signal; then the same command is run to its end."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from fuzz import network
from image_files import save, scene

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL)
HANG_SECONDS = 20
QUICK = ("--network", "network/tiny.toml", "--max-size", "128x96", "--levels", "1", "--device", "cpu", "--quiet")
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """A command in a process group of its own, as a shell starts it, with signals as a shell leaves them."""
    command = [sys.executable, "-m", "gigacount", *arguments, *QUICK]
    return subprocess.Popen(
        command,
        cwd=folder,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=heed,
    )


def heed() -> None:
    for number in SIGNALS[:3]:
        signal.signal(number, signal.SIG_DFL)


def heeds(pid: int) -> bool:
    """Whether a process has a handler for SIGTERM, which Python itself has none for."""
    masks = dict(line.split(":\t") for line in Path(f"/proc/{pid}/status").read_text().splitlines() if "Sig" in line)
    return bool(int(masks["SigCgt"], 16) >> (signal.SIGTERM - 1) & 1)


def wait_until_it_heeds(process: subprocess.Popen[str]) -> None:
    """Until the first lines of gigacount have run: before, Python answers signals in its own way."""
    while process.poll() is None and not heeds(process.pid):
        time.sleep(0.005)


def prepare(folder: Path, count: int) -> None:
    network(folder / "network")
    (folder / "in").mkdir()
    for number in range(count):
        save(scene(160 + number, 120), folder / "in" / f"{number:02}.jpg")


def rows(out: Path) -> list[tuple[str, float]]:
    images = json.loads((out / "summary.json").read_text())["images"]
    return [(row["path"], row["count"]) for row in images]


def hidden(out: Path) -> list[str]:
    """Half-written files and claims, which nobody may leave but who was killed."""
    found = [path for path in out.rglob("*") if path.name.startswith(".") and path.name != ".gigacount"]
    claims = out / ".gigacount" / "claims"
    return sorted(str(path) for path in (*found, *(claims.iterdir() if claims.is_dir() else ())))


def attack(folder: Path, count: int, seed: int) -> dict[str, Any]:
    """`count` interruptions of batches and of single pictures. problems: what should not have happened, in words."""
    chance, problems, ends = random.Random(seed), [], Counter[str]()
    prepare(folder, 12)
    whole = start(folder, "count", "in", "--out", "whole")
    before = time.monotonic()
    _, err = whole.communicate(timeout=300)
    seconds = time.monotonic() - before
    if whole.returncode != 0:
        return {"problems": [f"the uninterrupted batch ended with {whole.returncode}: {err}"]}
    killed = 0
    for number in range(count):
        single = chance.random() < 0.3
        arguments = ("count", "in/00.jpg", "--out", "one") if single else ("count", "in", "--out", "out")
        process = start(folder, *arguments, *(["--overwrite"] if chance.random() < 0.5 else []))
        wait_until_it_heeds(process)
        time.sleep(chance.uniform(0, 1.1 * seconds))
        how, everybody, again = chance.choice(SIGNALS), chance.random() < 0.5, chance.random() < 0.2
        for _ in range(1 + again):
            if process.poll() is None:
                (os.killpg if everybody else os.kill)(process.pid, how)
                time.sleep(0.05 * again)
        asked = time.monotonic()
        try:
            _, err = process.communicate(timeout=HANG_SECONDS)
        except subprocess.TimeoutExpired:
            problems.append(f"{number}: {' '.join(arguments)} hangs after {how.name}")
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            continue
        code, took = process.returncode, time.monotonic() - asked
        ends[f"{how.name} {'single' if single else 'batch'} exit {code}"] += 1
        killed += how == signal.SIGKILL
        if any(word in err for word in ("Traceback", "Exception ignored", "Warning")):
            problems.append(f"{number}: {how.name} after {took:.1f} s, exit {code}: {err}")
        # -how: when Python had put its handlers away at its end; shells show 128 + how for both.
        if code not in (0, 128 + how, -how, -signal.SIGKILL):
            problems.append(f"{number}: {how.name}, exit {code}: {err}")
        left = hidden(folder / ("one" if single else "out"))
        if left and how != signal.SIGKILL and not killed and not again:
            problems.append(f"{number}: {how.name} leaves {left}")
    for out, arguments in (("out", ("count", "in")), ("one", ("count", "in/00.jpg", "--overwrite"))):
        last = start(folder, *arguments, "--out", out)
        _, err = last.communicate(timeout=300)
        if last.returncode != 0 or (out == "out" and rows(folder / "out") != rows(folder / "whole")):
            problems.append(f"the last run to {out} ended with {last.returncode}, or its summary differs: {err}")
        if hidden(folder / out):
            problems.append(f"the last run leaves {hidden(folder / out)}")
    return {"interruptions": count, "killed": killed, "ends": dict(sorted(ends.items())), "problems": problems}
