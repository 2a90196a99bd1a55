"""The documents tell the truth: the help page has not drifted, and the README's commands run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_command_page_is_the_commands_own_help() -> None:
    made = subprocess.run(
        [sys.executable, "-c", "import make_commands; print(make_commands.commands_page(), end='')"],
        cwd=ROOT / "docs",
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert made == (ROOT / "docs" / "commands.md").read_text(encoding="utf-8"), "run `make docs`"


def test_every_relative_link_leads_somewhere() -> None:
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            if not target.startswith(("http", "mailto:")):
                assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_ci_runs_the_readmes_test_command() -> None:
    assert "make test" in README
    assert "make demo" in README
    assert "make test" in (ROOT / ".ci" / "run").read_text()
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    assert {target for _, target in re.findall(r"(^|`)make ([a-z-]+)", README, re.M)} <= targets


def commands() -> list[str]:
    """Every `$ gigacount ...` line of the README, in order."""
    return re.findall(r"^\$ (gigacount .*)$", README, re.M)


@pytest.mark.weights
def test_the_readmes_commands_run(tmp_path: Path) -> None:
    """In a folder with pictures of the names that the README uses."""
    scene = [sys.executable, "-m", "gigacount", "synthesize", "--size", "640x400", "--people", "20", "--out", "made"]
    subprocess.run(scene, cwd=tmp_path, check=True, capture_output=True)
    made = tmp_path / "made" / "scene-0.tif"
    for name in ("photo.jpg", "panorama.tif", "photos/a.jpg", "photos/b.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(made.read_bytes())
    assert len(commands()) >= 5
    for command in commands():
        words = command.replace("gigacount", f"{sys.executable} -m gigacount", 1)
        done = subprocess.run(["bash", "-c", words], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        assert done.stdout, command
