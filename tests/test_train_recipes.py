"""The published trainings: their figures, their names, and that every network learns by its own."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from gigacount.cli import app
from gigacount.errors import UsageError
from gigacount.labels import box_density
from gigacount.networks import NETWORKS, find_class
from gigacount.networks.base import Network
from gigacount.networks.csrnet import CSRNet
from gigacount.networks.deepcount import DeepCount
from gigacount.networks.iim import IIMVGG
from gigacount.networks.record import NetworkRecord
from gigacount.options import TrainOptions
from gigacount.train.rates import make_optimiser, schedule, warm_up
from gigacount.train.recipes import OWN, RECIPES, Recipe, adapted, recipe_name, settings_of


def wish(network: str = "csrnet", recipe: str | None = None, **more: object) -> TrainOptions:
    return TrainOptions(("csv:x",), Path("out"), network, recipe=recipe, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("network", sorted(set(NETWORKS) - {"tiny", "staged"}))
def test_every_network_has_its_own_recipe_by_name(network: str) -> None:
    recipe, kind = RECIPES[recipe_name(wish(network))].recipe, find_class(network)
    assert (recipe.mean, recipe.std) == (kind.mean, kind.std)
    assert OWN.get(network, network) in RECIPES


# (recipe, what its paper or public code says; see FACTS and the comments at the recipes)
PUBLISHED = [
    ("csrnet", {"optimiser": "sgd", "lr": 1e-6, "momentum": 0.95, "weight_decay": 5e-4, "batch": 1}),
    ("csrnet-code", {"optimiser": "sgd", "lr": 1e-7, "crop_wh": None, "batch": 1, "crops": 4, "epochs": 400}),
    ("csrnet-nwpu", {"optimiser": "adam", "lr": 1e-5, "decay": 0.995, "crop_wh": (768, 576), "batch": 12}),
    ("deepcount", {"optimiser": "sgd", "lr": 1e-4, "backbone_lr": 5e-5, "batch": 32, "crop_wh": (512, 384)}),
    ("deepcount-code", {"optimiser": "adam", "lr": 1e-4, "backbone_lr": 5e-5, "batch": 20, "crop_wh": (512, 384)}),
    ("raz-net", {"optimiser": "sgd", "lr": 1e-4, "momentum": 0.95, "schedule": "plateau", "decay": 0.5}),
    ("raz-net-nwpu", {"optimiser": "adam", "lr": 1e-5, "weight_decay": 1e-4, "batch": 8, "crop_wh": (768, 576)}),
    ("iim", {"optimiser": "adam", "lr": 1e-5, "batch": 12, "schedule": "exponential", "decay": 0.99}),
    ("iim-code", {"schedule": "polynomial", "decay": 0.9, "epochs": 600}),
    ("mud-iknn", {"optimiser": "adam", "lr": 1e-4, "batch": 25, "crop_wh": (224, 224)}),
    ("gigazoom", {"lr": 1e-4, "weight_decay": 1e-4, "batch": 12, "decay": 0.99, "epochs": 100}),
    ("gigapixel-csrnet", {"crop_wh": (1920, 1200)}),
    ("promptmix", {"fit_wh": (2560, 1440)}),
]


@pytest.mark.parametrize(("name", "figures"), PUBLISHED, ids=[name for name, _ in PUBLISHED])
def test_recipes_have_the_published_figures(name: str, figures: dict[str, object]) -> None:
    recipe = RECIPES[name].recipe
    assert {field: getattr(recipe, field) for field in figures} == figures


def test_the_list_of_recipes_has_a_line_each() -> None:
    result = CliRunner().invoke(app, ["train", "--recipe", "list"])
    assert result.exit_code == 0
    assert [line.split("\t")[0] for line in result.stdout.splitlines()] == list(RECIPES)


def test_the_documents_table_has_every_recipe() -> None:
    page = (Path(__file__).parent.parent / "docs" / "guide" / "training.md").read_text(encoding="utf-8")
    table = page[page.index("| recipe |") :]
    assert re.findall(r"^\| `([^`]+)` \|", table, re.M) == list(RECIPES)


def test_an_unknown_recipe_lists_the_choices() -> None:
    with pytest.raises(UsageError, match=r"there is no recipe 'csrmet'; choose one of: light, .*--recipe list"):
        recipe_name(wish(recipe="csrmet"))
    with pytest.raises(UsageError, match="there is no network 'csrmet'"):
        recipe_name(wish("csrmet"))


def test_the_runs_own_figures_go_before_the_recipes() -> None:
    recipe = RECIPES["deepcount"].recipe
    fitted = adapted(recipe, wish(batch=3, lr=2e-4, epochs=7, ema=0.5), Network())
    assert (fitted.batch, fitted.lr, fitted.backbone_lr, fitted.epochs, fitted.ema) == (3, 2e-4, 1e-4, 7, 0.5)
    assert adapted(recipe, wish(), Network()) == recipe


def test_a_network_goes_on_with_the_normalisation_that_it_was_trained_with() -> None:
    start = NetworkRecord("a", "csrnet", "a.safetensors", "", mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    fitted = adapted(RECIPES["gigazoom"].recipe, wish(), Network(), start)
    assert (fitted.mean, fitted.std) == (start.mean, start.std)


def test_whole_pictures_come_one_at_a_time() -> None:
    with pytest.raises(UsageError, match="--batch 1, or --crop"):
        adapted(RECIPES["promptmix"].recipe, wish(batch=2), Network())


def test_crops_have_the_size_asked_for_where_the_network_takes_it() -> None:
    assert adapted(RECIPES["iim"].recipe, wish(crop=(128, 96)), Network()).crop_wh == (128, 96)
    assert adapted(RECIPES["promptmix"].recipe, wish(batch=2, crop=(128, 96)), Network()).crop_wh == (128, 96)
    tiled = DeepCount(tile_wh=(256, 128))
    assert adapted(RECIPES["deepcount"].recipe, wish(crop=(256, 128)), tiled).crop_wh == (256, 128)
    with pytest.raises(UsageError, match="trains on crops of 256x128 pixels; leave out --crop"):
        adapted(RECIPES["deepcount"].recipe, wish("deepcount", crop=(256, 256)), tiled)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("constant", 1.0), ("cosine", 0.5), ("polynomial", 0.5**0.9), ("exponential", 0.9**50), ("plateau", 0.9**3)],
)
def test_schedules_half_way_after_three_plateaus(name: str, expected: float) -> None:
    recipe = Recipe(schedule=name, decay=0.9, epochs=100)  # type: ignore[arg-type]
    assert schedule(recipe, 0.5, drops=3) == pytest.approx(expected)


def test_the_rate_rises_in_the_first_steps() -> None:
    recipe = Recipe(warm_up=4)
    assert [warm_up(recipe, step) for step in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]
    assert warm_up(replace(recipe, warm_up=0), 0) == 1


def test_a_networks_own_parameter_groups_are_used() -> None:
    """IIM: the threshold encoder at a tenth of the rate and without weight decay."""
    optimiser = make_optimiser(IIMVGG(), RECIPES["iim"].recipe)
    figures = [[group[name] for name in ("lr", "initial_lr", "weight_decay")] for group in optimiser.param_groups]
    assert figures == [pytest.approx([1e-5, 1e-5, 1e-5]), pytest.approx([1e-6, 1e-6, 0.0])]


def test_gigapixel_recipes_learn_from_boxes_and_a_user_may_choose_otherwise() -> None:
    """GigaZoom IV-A; other networks have no such setting."""
    start = NetworkRecord("a", "csrnet", "a.safetensors", "", settings={"truth": "points", "sigma": 15.0})
    for recipe in ("promptmix", "gigazoom", "gigapixel-csrnet"):
        assert settings_of(wish(recipe=recipe)) == {"truth": "boxes"}
        assert settings_of(wish("mcnn", recipe)) == {}
        assert settings_of(wish(recipe=recipe), start) == {"truth": "boxes", "sigma": 15.0}
        assert settings_of(wish(recipe=recipe, settings=("truth=points",))) == {"truth": "points"}
    assert settings_of(wish()) == {}


def test_csrnet_learns_a_gaussian_in_each_box_and_beside_it_nothing() -> None:
    points, boxes = np.array([[20.0, 20.0], [60.0, 60.0]]), np.array([[10.0, 12.0, 30.0, 28.0], [np.nan] * 4])
    targets = CSRNet(truth="boxes").targets(points, (80, 80), boxes)["density"]
    assert targets.sum() == pytest.approx(2, abs=1e-4)
    alone = CSRNet(truth="boxes").targets(points[:1], (80, 80), boxes[:1])["density"]
    assert alone[1:4, 1:4].sum() == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(alone, box_density(boxes[:1], (80, 80), 4, 8))
    ours = CSRNet().targets(points, (80, 80))["density"]
    np.testing.assert_allclose(CSRNet().targets(points, (80, 80), boxes)["density"], ours)
