"""Thousands of mutated files: one line each at the most, no traceback, no hang, no bomb, nothing outside --out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from batch_tools import pictures, run, summary
from fuzz import KINDS

from gigacount.batch import work_list

PROGRAM = Path(__file__).with_name("fuzz.py")
MOST_BYTES = 1536 * 2**20
"""For torch, libvips and pictures that declare up to 10 megapixels."""

OWN_FOLDERS = {"in", "out", "scratch", "models", "network"}


def fuzz(kinds: str, seed: int, count: int, folder: Path) -> dict[str, dict[str, Any]]:
    for name in ("fuzz", "cwd", "tmp"):
        (folder / name).mkdir()
    environment = os.environ | {"TMPDIR": str(folder / "tmp"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(PROGRAM), kinds, str(seed), str(count), str(folder / "fuzz")]
    done = subprocess.run(command, cwd=folder / "cwd", env=environment, capture_output=True, text=True)
    # What ended it stands first, before a list of all modules.
    said = f"{done.stderr[:5000]} ... {done.stderr[5000:][-3000:]}"
    assert done.returncode == 0, f"ended with {done.returncode} by a file in {folder / 'fuzz'}: {said}"
    reports: dict[str, dict[str, Any]] = json.loads(done.stdout)
    for kind, report in reports.items():
        check_outcomes(kind, report, count)
        assert {path.name for path in (folder / "fuzz" / kind).iterdir()} <= OWN_FOLDERS
        assert list((folder / "fuzz" / kind / "scratch").iterdir()) == []
    assert list((folder / "cwd").iterdir()) == []
    assert {path.name.partition("_")[0] for path in (folder / "tmp").iterdir()} <= {"torchinductor"}  # torch's own
    assert {path.name for path in folder.iterdir()} == {"fuzz", "cwd", "tmp"}
    return reports


def check_outcomes(kind: str, report: dict[str, Any], count: int) -> None:
    """Nothing went wrong; and a fuzz in which everything is refused, or nothing, would test nothing."""
    outcomes = report["outcomes"]
    assert report["problems"] == [], "\n".join(report["problems"][:3])
    assert sum(outcomes.values()) == count
    assert report["peak_bytes"] < MOST_BYTES
    refused = sum(number for name, number in outcomes.items() if name.endswith("refused"))
    # Results that are damaged are made anew; most odd tags leave a picture where it was; few settings fit a network.
    usual = {"results": (0.0, 0.25), "georeferences": (0.0, 0.5), "settings": (0.03, 1.0)}
    least, most = usual.get(kind, (0.03, 0.98))
    assert least * count <= refused <= most * count, outcomes


def test_a_sample_of_mutated_files(tmp_path: Path) -> None:
    assert list(fuzz(",".join(KINDS), 1, 25, tmp_path)) == list(KINDS)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("kind", "seed", "count"),
    [("pictures", 2, 1600), ("pictures", 3, 1600), *((kind, 2, 500) for kind in KINDS if kind != "pictures")],
)
def test_thousands_of_mutated_files(kind: str, seed: int, count: int, tmp_path: Path) -> None:
    report = fuzz(kind, seed, count, tmp_path)[kind]
    print(kind, seed, report["outcomes"], f"{report['peak_bytes'] / 1e6:.0f} MB")


def tree(folder: Path) -> dict[str, bytes | str | None]:
    """Everything below a folder, links as such, with contents."""
    return {
        str(path): str(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def test_a_list_of_names_that_want_to_escape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them are worked on, or fail; nothing is written but in `out`, nor is anything there replaced by a link."""
    work = tmp_path / "work"
    pictures(tmp_path, {"work/a.jpg": "one", "outside/b.jpg": "two", "work/deep/c.jpg": "three"})
    pictures(tmp_path, {"work/list.gigacount/d.jpg": "four", "work/.gigacount/records/e.jpg": "five"})
    (work / "link.jpg").symlink_to(tmp_path / "outside" / "b.jpg")
    (work / "up").symlink_to(tmp_path / "outside")
    (work / "loop.jpg").symlink_to("loop.jpg")
    entries = [
        "a.jpg", "./a.jpg", "../outside/b.jpg", "deep/../../outside/b.jpg", "up/b.jpg", "link.jpg", "loop.jpg",
        f"{tmp_path}/outside/b.jpg", "//etc/passwd", "/etc/../etc/passwd", "/proc/self/environ", "~/x.jpg",
        ".gigacount/records/e.jpg", "$(touch owned).jpg", "a.jpg\t", "--out", "nul\\..\\x.jpg", "a.jpg/..", "a" * 300,
        "../" * 40 + "tmp/x.jpg", "up/../a.jpg", "summary.csv/a.jpg",
    ]  # fmt: skip
    (work / "list.txt").write_text("\n".join(entries) + "\n")
    monkeypatch.chdir(work)
    before = tree(tmp_path)
    items = work_list([Path("list.txt")], Path("results/out"))
    out = (work / "results" / "out").resolve()
    for item in items:
        assert Path(os.path.normpath(work / item.folder)).is_relative_to(out)
    (work / "results" / "out").mkdir(parents=True)
    (work / "results" / "out" / "deep").symlink_to(tmp_path / "outside")  # waits there for the result of deep/c.jpg
    with (work / "list.txt").open("a") as file:
        file.write("deep/c.jpg\n")
    before[str(work / "list.txt")] = (work / "list.txt").read_bytes()
    tally, told = run(Path("list.txt"), out=Path("results/out"))
    assert "symbolic link leads out" in told.rows["deep/c.jpg"][0].message
    assert tally.done >= 4
    assert tally.failed >= 8
    assert len(summary(Path("results/out"))) == tally.done + tally.failed
    after = {path: content for path, content in tree(tmp_path).items() if not path.startswith(str(work / "results"))}
    assert after == before
