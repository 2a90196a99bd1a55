"""What the tests of batches share: folders of pictures, runs with work that needs no pixels, and looks at summaries."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from batch_fakes import FakeWork

from gigacount.batch import Item, Row, Tally, run_batch, work_list
from gigacount.options import BatchOptions
from gigacount.output.tables import cell

JPEG = b"\xff\xd8\xff"
FAKE = Path(__file__).parent / "batch_fakes.py"


def pictures(folder: Path, contents: dict[str, str]) -> Path:
    for name, words in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(JPEG + b" " + words.encode())
    return folder


class Told:
    """An observer that remembers."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Any]] = []
        self.rows: dict[str, tuple[Row, bool]] = {}

    def began(self, tally: Tally) -> None:
        self.events.append(("began", tally.total))

    def started(self, item: Item) -> None:
        self.events.append(("started", item.name))

    def looked(self, item: Item, done: int, planned: int) -> None:
        self.events.append(("looked", (done, planned)))

    def finished(self, item: Item, row: Row, reused: bool) -> None:
        self.rows[item.name] = row, reused

    def said(self, message: str) -> None:
        self.events.append(("said", message))

    def ended(self, tally: Tally) -> None:
        self.events.append(("ended", tally.settled))


def run(folder: Path, work: FakeWork | None = None, **settings: Any) -> tuple[Tally, Told]:
    options = BatchOptions(**{"out": folder.parent / "out", **settings})
    told = Told()
    items = work_list([folder], options.out, recursive=True)
    return run_batch(items, work or FakeWork(), options, [told]), told


def summary(out: Path) -> list[dict[str, Any]]:
    """The summary without timing; CSV and JSON must agree."""
    rows: list[dict[str, Any]] = json.loads((out / "summary.json").read_text())["images"]
    with (out / "summary.csv").open(newline="") as file:
        texts = list(csv.DictReader(file))
    assert [{name: "" if value is None else str(cell(value)) for name, value in row.items()} for row in rows] == texts
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def leftovers(out: Path) -> list[str]:
    """Files that only a killed or running process should have: claims, and what is half written."""
    found = [str(path.relative_to(out)) for path in out.rglob("*") if path.name.startswith(".")]
    found += [path.name for path in (out / ".gigacount" / "claims").iterdir()]
    return sorted(name for name in found if name != ".gigacount")


def start(folder: Path, out: Path, **settings: Any) -> subprocess.Popen[bytes]:
    """A batch in a process of its own, which heeds Ctrl-C even where the tests run in the background."""
    from campaign.interruptions import heed

    command = [sys.executable, str(FAKE), str(folder), str(out), json.dumps(settings)]
    with (out.parent / "stderr").open("wb") as stderr:
        return subprocess.Popen(command, stderr=stderr, preexec_fn=heed)


def wait_for_more(path: Path) -> None:
    """Until something is appended to a file."""
    before = size(path)
    wait_for(lambda: size(path) > before)


def size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def wait_for(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.005)
