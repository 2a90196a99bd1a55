"""The documents tell the truth: generated pages have not drifted, and the README's commands run."""

from __future__ import annotations

import dataclasses
import importlib
import itertools
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from command_line import gigacount
from test_imports import ROWS
from test_reproduce import parameters

from gigacount.cli import UsageProblem, usage_message
from gigacount.density import DensityMap
from gigacount.networks.record import NetworkRecord
from gigacount.output.writers import WRITERS
from gigacount.synthesize import Truth

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", ["commands", "options"])
def test_generated_pages_have_not_drifted(page: str) -> None:
    made = subprocess.run(
        [sys.executable, "-c", f"import make_{page}; print(make_{page}.{page}_page(), end='')"],
        cwd=ROOT / "docs",
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert made == (ROOT / "docs" / "reference" / f"{page}.md").read_text(encoding="utf-8"), "run `make docs`"


def test_the_sheet_of_worst_errors_shows_the_worst(monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest errors first, two of a kind at most; a head that was missed is ringed."""
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    make_images = importlib.import_module("make_images")
    head = np.array([[700.0, 500.0]])
    truth = Truth((1500, 1000), head, np.concatenate([head - 10, head + 10], 1))
    counted = []
    for kind, off in (("night", 60), ("night", 50), ("night", 40), *((kind, 5) for kind in make_images.KINDS)):
        result = SimpleNamespace(
            count=1.0 + off, density=DensityMap.empty((1500, 1000)), points=SimpleNamespace(xy=np.zeros((0, 2)))
        )
        result.networks = {"network": {"sha256": "0" * 64}}
        counted.append(make_images.Counted(kind, np.zeros((1000, 1500, 3), np.uint8), truth, result))
    worst = make_images.choose_worst(counted)
    assert [one.off for one in worst] == [60, 50, *[5] * 6]
    assert worst[0].error == 6.0  # of one person, against ten
    assert "night" not in [one.kind for one in worst[2:]]
    ringed = np.asarray(make_images.tile(worst[0]))
    assert (ringed == make_images.TRUE).all(2).any()
    assert make_images.sheet(worst, counted).width == 4 * (330 + 6)


PAGES = sorted((ROOT / "docs").rglob("*.md"))


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them: lower case, spaces to hyphens, punctuation dropped."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.*?)\s*$", text, re.M):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        again = next(n for n in range(len(found) + 1) if (f"{slug}-{n}" if n else slug) not in found)
        found.add(f"{slug}-{again}" if again else slug)
    return found


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", ROOT / "models" / "NOTICE.md", *PAGES], ids=lambda page: str(page.relative_to(ROOT))
)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)", page.read_text(encoding="utf-8")):
        if target.startswith(("http:", "https:", "mailto:")):
            continue
        there = page.parent / target if target else page
        assert there.exists(), f"{page.name} links to {target}"
        assert not anchor or anchor in anchors(there), f"{page.name} links to {target}#{anchor}"


def test_the_index_lists_every_page() -> None:
    index = ROOT / "docs" / "README.md"
    listed = {(index.parent / target).resolve() for target in re.findall(r"\]\(([^)#\s]+)\)", index.read_text())}
    assert {page for page in PAGES if page != index} <= listed


def test_files_that_code_mentions_exist() -> None:
    """Comments, messages and the Makefile name pages that are there."""
    sources = [*(ROOT / "gigacount").rglob("*.py"), *(ROOT / "tests").rglob("*.py"), ROOT / "Makefile"]
    for source in sources:
        for page in re.findall(r"docs/[\w/-]+\.(?:md|json|jpg)\b", source.read_text(encoding="utf-8")):
            assert (ROOT / page).exists(), f"{source.relative_to(ROOT)} mentions {page}"


def test_the_architecture_page_names_files_that_exist() -> None:
    """Files of new entries are called x; paths are relative to the package, or to the repository."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    package = ROOT / "gigacount"
    for name in re.findall(r"`([\w./-]+(?:\.py|/))`", page):
        if Path(name).stem == "x":
            assert (package / name).parent.is_dir(), name
        else:
            assert (ROOT / name).exists() or list(package.rglob(name.rstrip("/"))), name


def test_the_architecture_page_has_the_floors_that_imports_are_held_to() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    floors = {
        name.removesuffix(".py").rstrip("/"): int(number.split(",")[-1])
        for number, names in re.findall(r"^\| (\d|1, 2) \| (.*) \|$", page, re.M)
        for name in re.findall(r"`([^`]+)`", names)
    }
    assert floors == {name: max(row, 2) for name, row in ROWS.items() if not name.startswith("__")}


def test_the_page_of_files_has_every_field_of_a_record_and_every_format() -> None:
    page = (ROOT / "docs" / "reference" / "files.md").read_text(encoding="utf-8")
    fields = {field.name for field in dataclasses.fields(NetworkRecord)} - {"folder"}
    for name in fields - {"graphs", "resolution", "training", "cost", "errors"} | set(WRITERS):
        assert f"`{name}`" in page, name
    for table in ("[graphs.fp32]", "[resolution]", "[training]", "[cost]", "[[errors]]"):
        assert table in page, table


def commands_in(page: Path) -> list[list[str]]:
    """The words of every `gigacount ...` line in a page's code blocks, without what a shell does with the answer."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^ *```\w*\n(.*?)^ *```", text, re.M | re.S) + re.findall(r"^    gigacount .*\n", text, re.M)
    found = []
    for line in re.sub(r"\\\n\s*", " ", "\n".join(blocks)).splitlines():
        if command := re.match(r"\s*(?:\S*\$ )?(gigacount .*)", line):
            words = shlex.shlex(command[1], posix=True, punctuation_chars="|>&;")
            words.whitespace_split, words.commenters = True, "#"
            found.append(list(itertools.takewhile(lambda word: not set(word) <= set("|>&;"), words))[1:])
    return found


def test_the_program_understands_every_command_in_the_pages() -> None:
    pages = [ROOT / "README.md", *(page for page in PAGES if page.name != "commands.md")]
    found = [(page, words) for page in pages for words in commands_in(page)]
    assert len(found) > 100
    for page, words in found:
        try:
            parameters(words)
        except UsageProblem as error:
            pytest.fail(f"{page.relative_to(ROOT)}: gigacount {' '.join(words)}: {usage_message(error)}")


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
    gigacount("synthesize", "--size", "640x400", "--people", "20", "--out", "made", cwd=tmp_path)
    made = tmp_path / "made" / "scene-0.tif"
    for name in ("photo.jpg", "panorama.tif", "photos/a.jpg", "photos/b.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(made.read_bytes())
    assert len(commands()) >= 5
    for command in commands():
        done = gigacount(*shlex.split(command)[1:], cwd=tmp_path)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        assert done.stdout, command
