"""Features learnt from a trained network."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from train_fakes import Tiny, add_fakes, options, same, write_photos
from untrained import untrained_light

from gigacount.errors import UsageError
from gigacount.networks import find_record, load
from gigacount.networks.csrnet import CSRNet
from gigacount.networks.light import Light
from gigacount.networks.record import NetworkRecord, write_record
from gigacount.train import TrainOptions, train
from gigacount.train.hints import Hints
from gigacount.train.recipes import Recipe

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> NetworkRecord:
    return find_record(str(untrained_light(tmp_path_factory.mktemp("teacher"))))


def column(values: tuple[float, ...]) -> Tensor:
    return torch.tensor(values).view(1, 3, 1, 1)


def test_the_difference_is_from_the_teachers_features_at_mean_0_and_variance_1(teacher: NetworkRecord) -> None:
    """Both see the same colours, each as it is used to; a regressor that says 0 is wrong by each channel's variance."""
    student, recipe = Tiny().eval(), Recipe(mean=(0.5, 0.5, 0.5), std=(0.1, 0.2, 0.5))
    hints = Hints(student, teacher, recipe, CPU)
    assert hints.pairs == {"encoder": "merge8"}
    assert [tuple(p.shape) for p in hints.parameters()] == [(128, 4, 1, 1), (128,)]
    for parameter in hints.parameters():
        nn.init.zeros_(parameter)
    colours = torch.rand(2, 3, 64, 64)
    images = (colours - column(recipe.mean)) / column(recipe.std)
    student.predict(images)
    measured = hints.loss(images)

    its, seen = load(teacher), []
    assert isinstance(its, Light)
    its.merge8.register_forward_hook(lambda module, given, output: seen.append(output))
    with torch.no_grad():
        its((colours - column(teacher.mean)) / column(teacher.std))
    wanted = F.batch_norm(seen[0], None, None, training=True, eps=1e-3)
    assert measured.item() == pytest.approx(wanted.square().mean().item(), rel=1e-3)
    assert 0 < measured.item() <= 1


def test_hints_teach_the_student_and_leave_the_teacher(teacher: NetworkRecord) -> None:
    torch.manual_seed(0)
    student = Tiny().eval()
    hints = Hints(student, teacher, Recipe(), CPU)
    before = {name: tensor.clone() for name, tensor in hints._teacher[0].state_dict().items()}
    images = torch.rand(2, 3, 64, 64)
    optimiser = torch.optim.Adam([*student.parameters(), *hints.parameters()], 1e-2)
    losses = []
    for _ in range(40):
        student.predict(images)
        loss = hints.loss(images)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
    assert student.encoder[0].weight.grad.abs().sum() > 0
    assert student.density.weight.grad is None
    assert same(hints._teacher[0].state_dict(), before)


def test_csrnet_is_taught_at_the_end_of_its_third_and_fourth_stage_and_in_its_back_end(teacher: NetworkRecord) -> None:
    for batch_norm in (False, True):
        student = CSRNet(batch_norm=batch_norm)
        hints = Hints(student, teacher, Recipe(), CPU)
        assert list(hints.pairs.values()) == ["merge4", "merge8", "merge8"]
        assert [regressor.in_channels for regressor in hints.regressors] == [256, 512, 512]
        assert all(isinstance(student.get_submodule(name), nn.ReLU) for name in hints.pairs if name != "encoder")


def test_networks_without_features_of_one_size_are_refused(teacher: NetworkRecord) -> None:
    student = Tiny()
    student.hint_layers = (("encoder", 16),)  # type: ignore[assignment]
    with pytest.raises(UsageError, match="Tiny can take no hints from Light: they have no features of one size"):
        Hints(student, teacher, Recipe(), CPU)


def test_a_stranger_of_a_teacher_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    write_record(NetworkRecord("s", "sasnet", "s.safetensors", "0"), tmp_path / "s.toml")
    with pytest.raises(UsageError, match="Light can take no hints from SASNet"):
        train(TrainOptions(("csv:nowhere",), tmp_path / "run", hints_from=str(tmp_path / "s.toml")))
    assert not (tmp_path / "run").exists()


def test_a_run_with_hints_says_so_and_leaves_them_behind(
    tmp_path: Path, teacher: NetworkRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_fakes(monkeypatch)
    name = str(teacher.weights_path.with_suffix(".toml"))
    made = train(options(write_photos(tmp_path / "photos"), tmp_path / "run", steps=2, hints_from=name))
    record = find_record(str(made))
    assert record.training["hints_from"] == name
    assert set(load(record).state_dict()) == set(Tiny().state_dict())
