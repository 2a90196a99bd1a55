"""docs/experiments/reproduce.md: the program understands every command there and, slowly, runs it on tiny pictures."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pyvips
import torch
import typer
from PIL import Image
from tiny_datasets import TINY
from typer.testing import CliRunner

from gigacount.ablate.variants import TABLES, Variant
from gigacount.cli import app
from gigacount.datasets import DATASETS
from gigacount.networks import HELPERS, NETWORKS
from gigacount.networks.settings import settings_in_use
from gigacount.options import StrategyOptions
from gigacount.train.recipes import RECIPES

PAGE = (Path(__file__).parent.parent / "docs" / "experiments" / "reproduce.md").read_text(encoding="utf-8")
COMMAND = typer.main.get_command(app)
PAPERS = ["GigaZoom", "PromptMix", "RAZ-Net", "DeepCount", "IIM", "MUD-ikNN", "CSRNet"]
SECTIONS = {part.partition(" (")[0]: part for part in PAGE.split("\n## ")[1:]}


def commands(text: str) -> list[list[str]]:
    """The words of every command in the `sh` blocks of a text."""
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S)
    return [shlex.split(line)[1:] for block in blocks for line in block.splitlines()]


ALL = [words for text in SECTIONS.values() for words in commands(text)]


def parameters(words: list[str]) -> dict[str, Any]:
    """What the command line makes of a command, without running it. Raises typer.BadParameter and its like."""
    command, parent = COMMAND, None
    while True:
        context = command.make_context(command.name, list(words), parent)
        words = [*context._protected_args, *context.args]
        if not hasattr(command, "resolve_command") or not words:  # typer may carry a click of its own
            return {"command": command.name, **context.params}
        _, found, words = command.resolve_command(context, words)
        assert found is not None
        command, parent = found, context


def network_of(value: str) -> str:
    """The network of weights that a page names: a network's own name, or the file that a training writes."""
    name = value if value in NETWORKS else Path(value).stem
    assert name in NETWORKS | HELPERS, value
    return name


@pytest.mark.parametrize("words", ALL, ids=lambda words: " ".join(words)[:60])
def test_every_command_is_understood(words: list[str]) -> None:
    values = parameters(words)
    for name in ("network", "name"):
        for value in [values[name]] if isinstance(values.get(name), str) else values.get(name) or []:
            settings_in_use(network_of(value), values.get("settings") or ())
    for data in [values["data"]] if isinstance(values.get("data"), str) else values.get("data") or []:
        assert data.split(":")[0] in DATASETS
    assert values.get("recipe") is None or values["recipe"] in RECIPES
    for method in values.get("method") or ():
        networks = Variant.parse(method, StrategyOptions()).networks
        assert networks is not None
        network_of(networks[0])
    assert values["command"] != "ablate" or set(values["tables"].split(",")) <= set(TABLES)


def test_every_paper_has_its_commands() -> None:
    assert [name for name, text in SECTIONS.items() if commands(text)] == PAPERS
    assert len(ALL) > 40


SETS = {"PANDA": "panda", "SHA": "shanghaitech-a", "SHB": "shanghaitech-b", "NWPU": "nwpu", "WORLDEXPO": "worldexpo"}


@pytest.mark.slow
@pytest.mark.weights
@pytest.mark.parametrize("section", PAPERS)
def test_every_command_runs_on_tiny_pictures(section: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each training takes a step, or one a stage, on crops of 64 px; what it then counts is not looked at."""
    monkeypatch.chdir(tmp_path)
    for folder, name in SETS.items():
        TINY[name](tmp_path / folder)
    (labels,) = (tmp_path / "PANDA").rglob("head*.json")
    for split, name in zip(("train", "val", "test"), json.loads(labels.read_text()), strict=True):
        (labels.parent / f"{split}.txt").write_text(f"{name}\n")
    for name, published in RECIPES.items():
        small = replace(published.recipe, crop_wh=published.recipe.crop_wh and (64, 64), batch=1, fit_wh=None)
        monkeypatch.setitem(RECIPES, name, replace(published, recipe=small))
    monkeypatch.setattr("gigacount.train.generate.load_pipeline", lambda options: noise)
    monkeypatch.setattr("gigacount.train.generate.captions", lambda samples, *_: ["a crowd" for _ in samples])
    pyvips.Image.black(96, 64, bands=3).write_to_file(str(tmp_path / "photo.jpg"))
    if section == "GigaZoom":
        (tmp_path / "GENERATED").mkdir()
        shutil.copy(tmp_path / "photo.jpg", tmp_path / "GENERATED" / "a.jpg")
        run(["train", "--network", "sasnet", "--data", "panda:PANDA", "--steps", "1", "--out", "start"])
        for path in (tmp_path / "start").glob("sasnet.*"):
            shutil.copy(path, tmp_path)
    for words in commands(SECTIONS[section]):
        run([{"TEACHER": "light", "OTHER": "light"}.get(word, word) for word in words])


def noise(prompt: str, generator: torch.Generator, **options: Any) -> SimpleNamespace:
    """In the place of a diffusion model."""
    pixels = torch.randint(256, (48, 64, 3), generator=generator, dtype=torch.uint8).numpy()
    return SimpleNamespace(images=[Image.fromarray(pixels)])


def run(words: list[str]) -> None:
    if "--backbone-weights" in words:
        at = words.index("--backbone-weights")
        words = words[:at] + words[at + 2 :]
    if words[0] == "train":
        stages = "5" if "raz-net" in words else "1"
        words = [*words, "--device", "cpu", *(() if "--steps" in words else ("--steps", stages))]
    if words[0] == "train" and "deepcount" in words:
        words += ["--set", "tile_wh=[128,128]"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, f"{' '.join(words)}: {result.output} {result.exception!r}"
    if words[0] == "train":
        (Path(words[words.index("--out") + 1]) / "checkpoint.pt").unlink()
