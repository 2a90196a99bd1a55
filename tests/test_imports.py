"""The layers: imports go down only, heavy packages stay in their rooms, and the start is light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "gigacount"

ROWS = {
    "errors": 1,
    "appearance": 2,
    "atomic": 2,
    "geometry": 2,
    "memory": 2,
    "options": 2,
    "resolution": 2,
    "signals": 2,
    "text": 2,
    **dict.fromkeys(("image", "density", "points", "regions", "labels", "metrics"), 3),
    **dict.fromkeys(("networks", "datasets"), 4),
    **dict.fromkeys(("predict", "key", "look", "strategies", "output", "results"), 5),
    **dict.fromkeys(("count", "interval", "localize", "describe"), 6),
    **dict.fromkeys(("batch", "evaluate", "ablate", "train", "synthesize", "demo", "view"), 7),
    "cli": 8,
    "__init__": 8,
    "__main__": 9,
}
ROOMS = {
    "torch": {"networks", "predict", "train", "evaluate"},
    "openvino": {"networks"},
    "pyvips": {"image", "output", "synthesize"},
    "typer": {"cli"},
    "rich": {"cli"},
    "starlette": {"view"},
    "uvicorn": {"view"},
}
SOURCES = sorted(PACKAGE.rglob("*.py"))


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names if node.module == "gigacount"}
    return names


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_down(path: Path) -> None:
    for name in imported(path):
        parts = name.split(".")
        if parts[0] == "gigacount" and len(parts) > 1 and parts[1] in ROWS and parts[1] != room(path):
            assert ROWS[parts[1]] <= ROWS[room(path)], f"{path} imports {name}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_heavy_packages_stay_in_their_rooms(path: Path) -> None:
    for name in imported(path):
        top = name.split(".")[0]
        assert top not in ROOMS or room(path) in ROOMS[top], f"{path} imports {name}"


@pytest.mark.parametrize("command", ["import gigacount", "import gigacount.cli"])
def test_the_start_is_light(command: str) -> None:
    code = f"{command}; import sys; print(*sorted({{m.split('.')[0] for m in sys.modules}}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "numpy", "scipy", "sklearn", "pyvips"} & set(loaded)


@pytest.mark.parametrize("command", ["import gigacount.describe", "import gigacount.count, gigacount.output.writers"])
def test_what_is_needed_later_is_not_imported_before_a_picture_is_opened(command: str) -> None:
    code = f"{command}; import sys; print(*sorted({{m.split('.')[0] for m in sys.modules}}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "scipy"} & set(loaded)


def test_every_room_has_its_row() -> None:
    assert {room(path) for path in SOURCES} <= set(ROWS)
