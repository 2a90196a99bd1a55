"""The recipes of docs/guide/batch.md, run as they stand there."""

from __future__ import annotations

import csv
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import pyvips

PAGE = (Path(__file__).parent.parent / "docs" / "guide" / "batch.md").read_text(encoding="utf-8")
RECIPES = re.findall(r"```(?:sh|bash)\n(.*?)```", PAGE, re.DOTALL)
ENVIRONMENT = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A working folder with three photographs, one in a folder inside."""
    (tmp_path / "photos" / "inside").mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    for name in ("a.jpg", "b c.jpg", "inside/a.jpg"):
        pyvips.Image.new_from_array(pixels).write_to_file(str(tmp_path / "photos" / name))
    return tmp_path


def run(recipe: str, folder: Path, **variables: str) -> str:
    command = ["bash", "-e", "-o", "pipefail", "-c", recipe]
    environment = ENVIRONMENT | variables
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def counted(folder: Path) -> list[str]:
    with (folder / "results" / "summary.csv").open(newline="") as file:
        return sorted(row["path"] for row in csv.DictReader(file) if row["status"] == "done")


ALL = ["photos/a.jpg", "photos/b c.jpg", "photos/inside/a.jpg"]


def test_the_recipes_are_found() -> None:
    tools = {tool for recipe in RECIPES for tool in ("find", "xargs", "parallel", "SBATCH") if tool in recipe}
    assert len(tools) == 4
    assert len(RECIPES) >= 7


@pytest.mark.slow
@pytest.mark.weights
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.split("\n")[0][:60])
def test_a_recipe_counts_every_picture(recipe: str, photos: Path) -> None:
    if "parallel" in recipe and shutil.which("parallel") is None:
        pytest.skip("GNU parallel is not installed")
    if "SBATCH" in recipe:
        for task in ("1", "2"):
            run(recipe, photos, SLURM_ARRAY_TASK_ID=task, SLURM_ARRAY_TASK_COUNT="2", SLURM_ARRAY_TASK_MIN="1")
    else:
        run(recipe, photos)
    assert counted(photos) == ALL
    assert not list((photos / "results" / ".gigacount" / "claims").iterdir())


@pytest.mark.slow
@pytest.mark.weights
def test_the_recipe_for_failures_lists_them(photos: Path) -> None:
    (photos / "photos" / "bad.jpg").write_text("no picture")
    (recipe,) = (recipe for recipe in RECIPES if "DictReader" in recipe)
    assert run(recipe, photos).startswith("photos/bad.jpg\tphotos/bad.jpg: ")
