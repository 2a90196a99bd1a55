"""What a look costs: parameters in use, multiply-accumulates by hand, and the command."""

from __future__ import annotations

import json

import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner
from untrained import fresh_light

from gigacount.cli import app
from gigacount.errors import UsageError
from gigacount.networks.base import Network, Prediction
from gigacount.networks.mcnn import COLUMNS
from gigacount.networks.profile import multiply_accumulates, profile, unused_parameters


class Two(Network):
    """A convolution that a look uses, and one that only training needs."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.spare = nn.Conv2d(3, 5, 3, padding=1), nn.Conv2d(3, 7, 1)

    def predict(self, images: Tensor, locate: bool = False) -> Prediction:
        return Prediction(self.used(images)[:, 0])


def test_operations_and_parameters_by_hand() -> None:
    made = Two()
    assert multiply_accumulates(made, (12, 8)) == 12 * 8 * 5 * 3 * 9
    assert unused_parameters(made) == 3 * 7 + 7
    found = profile("two", made, (12, 8), "cpu", "fp32")
    assert (found.parameters, found.training_only) == (3 * 5 * 9 + 5 + 28, 28)
    assert found.multiply_accumulates == 12 * 8 * 5 * 3 * 9
    assert found.frames_per_second * found.seconds_per_megapixel == pytest.approx(1e6 / 96, rel=0.05)
    assert (found.size_wh, found.precision) == ((12, 8), "float32")
    assert found.hardware == f"{torch.get_num_threads()} CPU threads"


def test_layers_that_others_run_without_calling_them_are_in_use() -> None:
    """The light network's: its encoder runs convolutions and batch norms as one."""
    assert unused_parameters(fresh_light()) == 0


def test_the_command_measures_networks_without_weights() -> None:
    """MCNN's columns at 64 x 48 px: two convolutions at full, half and, two of them, a quarter of the size."""
    arguments = ["networks", "profile", "mcnn", "--size", "64x48", "--device", "cpu", "--precision", "fp32", "--json"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    expected, pixels = 0, 64 * 48
    for first, other, widths in COLUMNS:
        expected += pixels * first**2 * 3 * widths[0] + pixels // 4 * other**2 * widths[0] * widths[1]
        expected += pixels // 16 * other**2 * (widths[1] * widths[2] + widths[2] * widths[3])
    expected += pixels // 16 * (8 + 10 + 12)
    assert (found["parameters"], found["multiply_accumulates"]) == (133_705, expected)
    lines = CliRunner().invoke(app, arguments[:-1]).stdout.splitlines()
    assert "parameters\t133,705" in lines
    assert isinstance(CliRunner().invoke(app, [*arguments, "--set", "width=3"]).exception, UsageError)
