"""Training runs: what they leave behind, their stages, and that a stopped one goes on to the same result."""

from __future__ import annotations

import json
import shutil
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from train_fakes import Staged, Tiny, add_fakes, options, same, write_photos
from untrained import untrained_light

from gigacount.errors import DataError, OutputError, UsageError, WeightsError
from gigacount.networks import find_record, load
from gigacount.networks.light import Light
from gigacount.networks.record import NetworkRecord, hash_file, write_record
from gigacount.networks.weights import save_weights
from gigacount.options import TrainOptions
from gigacount.train import train
from gigacount.train.checkpoint import load_checkpoint
from gigacount.train.crops import Batch
from gigacount.train.loop import Trainer
from gigacount.train.processes import Team
from gigacount.train.recipes import RECIPES
from gigacount.train.sources import open_sources

ALONE = Team(torch.device("cpu"))


@pytest.fixture(autouse=True)
def _fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    add_fakes(monkeypatch)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("photos"))


def trainer(settings: TrainOptions) -> Trainer:
    settings.out.mkdir(exist_ok=True, parents=True)
    return Trainer(settings, open_sources(settings), ALONE)


def log(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def test_a_run_ends_with_weights_that_count_can_use(photos: Path, tmp_path: Path) -> None:
    entries: list[dict[str, Any]] = []
    settings = options(photos, tmp_path / "run", network="light", steps=2, batch=1, crop=(96, 64))
    record_path = train(settings, entries.append)
    record = find_record(str(record_path))
    assert load(record).training is False
    assert record.mean == Light.mean
    assert (record.errors[0]["kind"], record.errors[0]["pictures"]) == ("csv", 2)
    assert record.training["recipe"] == "light"
    assert (record.training["batch"], record.training["crop"]) == (1, [96, 64])
    held = (tmp_path / "run" / "validation.txt").read_text().splitlines()
    assert len(held) == 2
    assert log(tmp_path / "run") == entries


def test_losses_are_logged_with_the_time_left_and_validations_with_errors(photos: Path, tmp_path: Path) -> None:
    train(options(photos, tmp_path / "run", steps=100, validate_every=40, save_every=100))
    entries = log(tmp_path / "run")
    assert [entry["step"] for entry in entries if "loss" in entry] == [50, 100]
    assert [entry["step"] for entry in entries if "csv" in entry] == [40, 80, 100]
    halfway, end = (entry for entry in entries if "loss" in entry)
    assert halfway["left"] == pytest.approx(halfway["seconds"])
    assert end["left"] == 0
    assert 0 <= end["waiting"] <= 1
    assert end["steps_per_second"] > 0
    assert set(entries[0]["csv"]) >= {"mae", "rmse", "bias"}


def test_two_sets_in_one_form_are_logged_and_recorded_apart(photos: Path, tmp_path: Path) -> None:
    more = shutil.copytree(photos, tmp_path / "more")
    sets = f"csv:{photos}", f"csv:{more}"
    run = options(photos, tmp_path / "run", steps=2, validate_every=2)
    record = train(replace(run, data=(f"{sets[0]}@0.5", sets[1])))
    assert set(log(tmp_path / "run")[-1]) == {"step", "score", *sets}
    assert [row["kind"] for row in tomllib.loads(record.read_text())["errors"]] == [*sets]


def test_an_epoch_is_as_many_crops_as_there_are_pictures(photos: Path, tmp_path: Path) -> None:
    """Six pictures for training in batches of two; the recipe's two epochs, or three."""
    own = options(photos, tmp_path / "a", steps=None)
    assert trainer(own).steps == 6
    assert trainer(replace(own, epochs=3)).steps == 9
    assert trainer(replace(own, batch=4)).steps == 3
    assert trainer(replace(own, minutes=1.0)).steps is None
    assert trainer(replace(own, minutes=1.0, epochs=3)).steps == 9


def test_the_clock_ends_a_run(photos: Path, tmp_path: Path) -> None:
    train(options(photos, tmp_path / "run", steps=None, minutes=0.02))
    position = load_checkpoint(tmp_path / "run")["position"]
    assert 1.2 <= position["seconds"] < 30
    assert position["step"] >= 1


def test_stages_that_the_clock_left_out_are_told_and_a_resumed_run_begins_them(photos: Path, tmp_path: Path) -> None:
    told: list[str] = []
    short = options(photos, tmp_path / "run", "staged", steps=None, minutes=1e-4)
    train(short, notify=told.append)
    assert told[-1] == "the time ran out before these stages began: density; --resume with more --minutes"
    train(replace(short, steps=8, minutes=None, resume=True), notify=told.append)
    assert told[-1].startswith("staged by the recipe staged, 8 steps")
    assert load_checkpoint(short.out)["position"]["stage"] == 1


class KilledError(Exception):
    pass


@pytest.mark.parametrize(("network", "hints"), [("tiny", False), ("tiny", True), ("staged", False)])
@pytest.mark.parametrize("stop", [3, 5])
def test_a_stopped_and_resumed_run_equals_an_unbroken_one(
    photos: Path, tmp_path: Path, network: str, hints: bool, stop: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With dropout, batch norm and an average; `staged` begins its second stage after step 4."""
    teacher = str(untrained_light(tmp_path)) if hints else None
    whole = options(photos, tmp_path / "whole", network, steps=8, validate_every=3, hints_from=teacher)
    train(whole)
    workers = 2 if network == "staged" and stop == 5 else 0
    broken = replace(whole, out=tmp_path / "broken", workers=workers)
    with monkeypatch.context() as patch:
        update = Trainer._update_average

        def kill(self: Trainer) -> None:
            update(self)
            if self.position.step == stop:
                raise KilledError

        patch.setattr(Trainer, "_update_average", kill)
        with pytest.raises(KilledError):
            train(broken)
    assert load_checkpoint(broken.out)["position"]["step"] == stop - 1
    train(replace(broken, resume=True))
    ours, theirs = load_checkpoint(broken.out), load_checkpoint(whole.out)
    for part in ("network", "average", "best", "hints"):
        assert same(ours[part], theirs[part]), part
    clocks = ("seconds", "left", "steps_per_second", "waiting")
    clockless = [{k: v for k, v in entry.items() if k not in clocks} for entry in log(broken.out)]
    assert clockless == [{k: v for k, v in entry.items() if k not in clocks} for entry in log(whole.out)]


def test_stages_follow_each_other_and_each_hands_on_its_best(photos: Path, tmp_path: Path) -> None:
    settings = options(photos, tmp_path / "run", "staged", steps=8, validate_every=2, ema=0.0)
    run = trainer(settings)
    first = {name: tensor.clone() for name, tensor in run.network.state_dict().items()}
    network, errors = run.run()
    assert run.network.begun == ["encoder", "density"]
    judged = [entry for entry in log(settings.out) if "stage" in entry]
    assert [(entry["step"], entry["stage"]) for entry in judged] == [
        (2, "encoder"),
        (4, "encoder"),
        (6, "density"),
        (8, "density"),
    ]
    assert not torch.equal(first["density.weight"], network.state_dict()["density.weight"])
    assert len(errors) == 1
    heads = sum(len(picture.sample.points_xy) for source in run.sources for picture in source.train)
    assert network.state_dict()["calibrated"] == heads


def test_only_the_present_stage_learns(photos: Path, tmp_path: Path) -> None:
    run = trainer(options(photos, tmp_path / "run", "staged", steps=8))
    before = {name: tensor.clone() for name, tensor in run.network.state_dict().items()}
    run._step(next(run._feed()))
    after = run.network.state_dict()
    assert torch.equal(before["density.weight"], after["density.weight"])
    assert not torch.equal(before["encoder.0.weight"], after["encoder.0.weight"])


def test_parameters_that_the_recipe_fixes_stay(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fixed = replace(RECIPES["tiny"], recipe=replace(RECIPES["tiny"].recipe, fixed=("encoder.0.",)))
    monkeypatch.setitem(RECIPES, "tiny", fixed)
    run = trainer(options(photos, tmp_path / "run", recipe="tiny"))
    before = {name: tensor.clone() for name, tensor in run.network.named_parameters()}
    run.run()
    changed = {name for name, tensor in run.network.named_parameters() if not torch.equal(tensor, before[name])}
    assert changed == {name for name in before if not name.startswith("encoder.0.")}


def test_a_network_in_stages_needs_a_step_for_each(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="2 stages"):
        trainer(options(photos, tmp_path / "run", "staged", steps=1))


def test_the_rate_falls_when_validation_is_stuck(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores 5, 4, 6, 6, 3, 9, 9 with a patience of 2: stuck twice after the 4 and twice after the 3."""
    run = trainer(options(photos, tmp_path / "run"))
    run.recipe = replace(run.recipe, schedule="plateau", decay=0.5, patience=2)
    drops = []
    for score in (5, 4, 6, 6, 3, 9, 9):
        monkeypatch.setattr(Trainer, "_score", lambda self, score=score: float(score))
        run._judge()
        drops.append(run.position.drops)
    assert drops == [0, 0, 0, 1, 1, 1, 2]


def test_stuck_is_asked_every_epoch_where_the_rate_waits_for_it(photos: Path, tmp_path: Path) -> None:
    """Six training pictures in batches of two."""
    run = trainer(options(photos, tmp_path / "run", validate_every=None))
    assert run.validate_every == 500
    run.recipe = replace(run.recipe, schedule="plateau", crops=4)
    assert run.validate_every == 12
    assert trainer(options(photos, tmp_path / "other")).validate_every == 2


def test_a_stage_may_learn_from_whole_pictures(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The crops of a stage begin with it, although batches are made ahead."""
    shapes: list[tuple[int, ...]] = []
    step, begin = Trainer._step, Staged.begin_stage

    def told(self: Trainer, batch: Batch) -> None:
        shapes.append(tuple(batch[0].shape))
        step(self, batch)

    def whole_at_last(self: Staged, stage: str) -> None:
        begin(self, stage)
        self.whole_images = stage == "density"

    monkeypatch.setattr(Trainer, "_step", told)
    monkeypatch.setattr(Staged, "begin_stage", whole_at_last)
    one = RECIPES["staged"].recipe
    fixed = replace(one, augmentation=replace(one.augmentation, scale=(1.0, 1.0)))
    monkeypatch.setitem(RECIPES, "staged", replace(RECIPES["staged"], recipe=fixed))
    train(options(photos, tmp_path / "run", "staged", steps=8))
    assert shapes == [(2, 3, 64, 64)] * 4 + [(1, 3, 160, 200)] * 4


def test_a_run_from_trained_weights_keeps_their_settings_and_normalisation(photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "start"
    folder.mkdir()
    save_weights(Tiny(width=6), folder / "wide.safetensors")
    digest = hash_file(folder / "wide.safetensors")
    record = NetworkRecord(
        "wide",
        "tiny",
        "wide.safetensors",
        digest,
        mean=(0.1, 0.2, 0.3),
        settings={"width": 6},
        enlarge=2.0,
        density_divisor=0.9,
    )
    write_record(record, folder / "wide.toml")
    made = train(options(photos, tmp_path / "run", init=str(folder / "wide.toml"), steps=1))
    ours = find_record(str(made))
    assert ours.settings == {"width": 6}
    assert ours.mean == (0.1, 0.2, 0.3)
    assert (ours.enlarge, ours.density_divisor) == (2.0, 1.0)
    assert load(ours).get_parameter("density.weight").shape[1] == 6


def test_a_network_is_trained_with_the_settings_asked_for(photos: Path, tmp_path: Path) -> None:
    made = train(options(photos, tmp_path / "run", settings=("width=5",), steps=1))
    ours = find_record(str(made))
    assert ours.settings == {"width": 5}
    assert load(ours).get_parameter("density.weight").shape[1] == 5


def test_a_loss_that_is_no_number_stops_with_the_step(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    train(options(photos, out, steps=2))
    monkeypatch.setattr(Tiny, "loss", lambda self, images, targets: self(images).sum() * float("nan"))
    with pytest.raises(DataError, match=r"step 3: the loss is nan.*--resume"):
        train(options(photos, out, steps=9, resume=True))
    assert load_checkpoint(out)["position"]["step"] == 2
    monkeypatch.undo()
    add_fakes(monkeypatch)
    train(options(photos, out, steps=9, resume=True, lr=1e-4))
    assert load_checkpoint(out)["optimiser"]["param_groups"][0]["initial_lr"] == 1e-4


def test_an_earlier_run_is_not_overwritten(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    train(options(photos, out, steps=1))
    with pytest.raises(OutputError, match="--resume"):
        train(options(photos, out, steps=1))


CHANGES: list[tuple[dict[str, Any], str]] = [
    ({"recipe": "mcnn"}, "begun with recipe tiny, not mcnn"),
    ({"seed": 1}, "begun with seed 0, not 1"),
    ({"batch": 3}, "begun with batch 2, not 3"),
    ({"ema": 0.5}, "begun with ema 0.9, not 0.5"),
    ({"network": "staged"}, "begun with network tiny, not staged"),
    ({"split": "val"}, "begun with split train, not val"),
    ({"settings": ("width=5",)}, "begun with width None, not 5"),
    ({"validation": 0.5}, "begun with other held-out pictures"),
]


@pytest.mark.parametrize(("change", "message"), CHANGES, ids=[next(iter(change)) for change, _ in CHANGES])
def test_a_run_is_not_resumed_as_another(photos: Path, tmp_path: Path, change: dict[str, Any], message: str) -> None:
    begun = options(photos, tmp_path / "run", steps=1)
    train(begun)
    with pytest.raises(DataError, match=message) as raised:
        train(replace(begun, resume=True, steps=2, **change))
    assert "\n" not in str(raised.value)
    train(replace(begun, resume=True, steps=2))


def test_a_run_is_not_resumed_with_other_data_or_from_nothing(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no checkpoint"):
        train(options(photos, tmp_path / "new", resume=True))
    begun = options(photos, tmp_path / "run", steps=1)
    train(begun)
    with pytest.raises(DataError, match="begun with data"):
        train(replace(begun, resume=True, data=(f"csv:{photos}@2",)))


def test_wrong_names_are_found_before_anything_is_made(photos: Path, tmp_path: Path) -> None:
    wrong = ({"network": "tinny"}, {"recipe": "tinny"}, {"settings": ("tinny=1",)}, {"hints_from": "tinny"})
    for settings in wrong:
        with pytest.raises(UsageError, match="tinny"):
            train(options(photos, tmp_path / "run", **settings))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="at least 1, not 0 and 48"):
        train(options(photos, tmp_path / "run", network="light", settings=("width=0",)))
    assert not (tmp_path / "run").exists()


def test_a_broken_checkpoint_is_explained(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(b"nothing")
    with pytest.raises(DataError, match="not a checkpoint"):
        load_checkpoint(tmp_path)


def test_backbone_weights_load_from_arrays(photos: Path, tmp_path: Path) -> None:
    encoder = Light().encoder
    arrays = {name: np.full(tensor.shape, 0.5, np.float32) for name, tensor in encoder.state_dict().items()}
    np.savez(tmp_path / "b.npz", **arrays, more=np.zeros(3))
    settings = options(photos, tmp_path / "run", network="light", backbone_weights=tmp_path / "b.npz")
    run = trainer(settings)
    assert all((tensor == 0.5).all() for tensor in run.network.get_submodule("encoder").state_dict().values())
    (tmp_path / "bad.npz").write_bytes(b"x")
    with pytest.raises(WeightsError):
        trainer(replace(settings, backbone_weights=tmp_path / "bad.npz"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 3, "epochs": 2},
        {"steps": 0},
        {"workers": -1},
        {"minutes": 0.0},
        {"precision": "fp16"},
        {"seed": -1},
        {"settings": ("width",)},
        {"crop": (64, 63)},
    ],
)
def test_options_that_make_no_sense_are_refused(photos: Path, tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        options(photos, tmp_path, **wrong)


@pytest.mark.slow
def test_training_learns_to_count(photos: Path, tmp_path: Path) -> None:
    entries: list[dict[str, Any]] = []
    more = {"network": "light", "steps": 150, "batch": 4, "validate_every": 150, "save_every": 150, "ema": 0.9}
    train(options(photos, tmp_path / "run", **more), entries.append)  # type: ignore[arg-type]
    losses = [entry["loss"] for entry in entries if "loss" in entry]
    assert losses[-1] < losses[0]
    validated = [entry for entry in entries if "csv" in entry]
    assert validated[-1]["csv"]["mae"] < 0.5 * validated[-1]["csv"]["truth_mean"]


@pytest.mark.slow
def test_raz_net_is_trained_in_its_published_order(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counting, localization, regions, then the zoomed twin, a copy of Main-Net; at last the fusion is calibrated."""
    published = RECIPES["raz-net"]
    small = replace(published.recipe, crop_wh=(64, 64), batch=1)
    monkeypatch.setitem(RECIPES, "raz-net", replace(published, recipe=small))
    settings = options(photos, tmp_path / "run", "raz-net", recipe="raz-net", steps=5, validate_every=5, save_every=5)
    made = train(settings)
    stages = ["counting", "localization", "regions", "zoomed localization", "zoomed regions"]
    assert [entry["stage"] for entry in log(settings.out) if "stage" in entry] == stages
    network = load(find_record(str(made)))
    assert network.get_buffer("zooms")
    fitted = network.get_buffer("theta_f")
    assert (fitted < 1e9).any()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*script_method:DeprecationWarning")  # torch's own
def test_a_compiled_run_has_the_same_losses(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nn.Dropout2d, "forward", lambda self, x: x)  # a compiled one draws its own random numbers
    if shutil.which("g++") is None and shutil.which("clang++") is None:
        pytest.skip("torch.compile needs a C++ compiler")
    losses = []
    for name, compiled in (("plain", False), ("compiled", True)):
        train(options(photos, tmp_path / name, steps=2, validation=0.0, compile=compiled))
        losses.append(log(tmp_path / name)[-1]["loss"])
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


def test_what_cannot_be_compiled_is_said(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nn.Module, "compile", lambda self: setattr(self, "forward", refuse))
    with pytest.raises(UsageError, match="--compile failed: no compiler here; train without it"):
        train(options(photos, tmp_path / "out", steps=1, validation=0.0, compile=True))


def refuse(*arguments: object) -> None:
    raise torch._dynamo.exc.TorchDynamoException("no compiler here")
