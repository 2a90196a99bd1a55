"""What holds for each network that locates people: the light one, MUD-ikNN, IIM with both predictors, RAZ-Net."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import network_cases
import numpy as np
import pytest
import torch
from network_cases import batch, pictures
from safetensors.torch import load_file
from torch import Tensor
from untrained import fresh_light

from gigacount.networks import NETWORKS, build
from gigacount.networks.backends.torch import rounding_to_tf32
from gigacount.networks.base import Network
from gigacount.networks.iim import IIM, IIMVGG, TILING, IIMHRNet
from gigacount.networks.mudiknn import MudIknn
from gigacount.networks.pyramid import VGGPyramid
from gigacount.networks.raznet import RazNet
from gigacount.networks.weights import save_weights
from gigacount.networks.windows import whole_or_tiled


@dataclass(frozen=True)
class Case:
    """multiple: of the sides that `forward` takes. side, heads: of the four pictures that it learns by heart, in
    `steps` (for each stage) at the highest learning rate `lr`."""

    make: Callable[[], Network]
    parameters: int
    multiple: int
    side: int = 64
    heads: tuple[int, ...] = (4, 9, 14, 20)
    steps: int = 80
    lr: float = 3e-4


CASES = {
    "light": Case(fresh_light, 4_889_690, 32, steps=160, lr=2e-3),
    "mud-iknn": Case(MudIknn, 19_169_295, 224, side=224, heads=(20, 40, 60, 80), steps=120, lr=1e-3),
    "iim-vgg": Case(IIMVGG, 20_341_190, 16),
    "vgg-fpn": Case(VGGPyramid, 18_203_009, 16),
    "iim-hrnet": Case(IIMHRNet, 68_611_638, 16),
    "raz-net": Case(RazNet, 45_223_815, 8, steps=150, lr=5e-4),
}
NAMES = list(CASES)


@functools.cache
def network(name: str) -> Network:
    """One instance of each for the tests that only look through it."""
    torch.manual_seed(0)
    made = CASES[name].make().eval()
    if isinstance(made, MudIknn):
        torch.nn.init.constant_(made.count.bias, 5)  # fresh, it counts 0 people give or take, and below 0 is nobody
    return made


def scene(heads: int, side: int, seed: int) -> tuple[Tensor, np.ndarray]:
    """A picture (3, side, side) of bright spots on noise and their centres (N, 2), at least 12 px apart."""
    rng = np.random.default_rng(seed)
    cells = side // 12
    places = rng.choice(cells**2, heads, replace=False)
    points = np.stack([places % cells, places // cells], axis=1) * 12.0 + 6.5
    y, x = np.mgrid[:side, :side] + 0.5
    spots = sum(np.exp(-((x - px) ** 2 + (y - py) ** 2) / 8) for px, py in points)
    picture = rng.normal(0, 0.1, (3, side, side)) + 3 * spots - 1
    return torch.from_numpy(picture.astype(np.float32)), points


def continuous(made: Network, images: Tensor) -> Tensor:
    """The network's output before thresholds: a density that counts components or peaks jumps by whole people."""
    with torch.no_grad():
        if isinstance(made, IIM):
            return whole_or_tiled(images, made, TILING)
        if isinstance(made, VGGPyramid):
            return made(images)
        if isinstance(made, RazNet):
            return made.main(images)[0]
        return made.predict(images).density


def test_every_network_of_the_table_is_tested() -> None:
    """Here or in test_networks.py: a new one is missed until it has a case."""
    assert {*NAMES, *network_cases.NAMES} == set(NETWORKS)


@pytest.mark.parametrize("name", NAMES)
def test_parameter_count_is_the_reference(name: str) -> None:
    assert type(network(name)) is type(build(name))
    assert sum(p.numel() for p in network(name).parameters()) == CASES[name].parameters


@pytest.mark.parametrize("size_hw", [(61, 43), (7, 5), (1, 1)])
@pytest.mark.parametrize("name", NAMES)
def test_a_picture_of_any_size_gives_cells_and_points_inside_it(name: str, size_hw: tuple[int, int]) -> None:
    made = network(name) if name != "raz-net" else shallow_raz_net()
    height, width = size_hw
    with torch.no_grad():
        prediction = made.predict(pictures(2, height, width), locate=True)
    assert made.locates
    assert prediction.density.dtype == torch.float32
    assert prediction.density.shape == (2, -(-height // made.stride), -(-width // made.stride))
    assert torch.isfinite(prediction.density).all()
    assert prediction.points is not None
    for points in prediction.points:
        assert points.dtype == np.float32
        assert points.shape == (len(points), 8 if isinstance(made, IIM) else 3)
        assert (points >= 0).all()
        most = (width, height, 1, width, height, width, height, width * height)  # the box and its area, of IIM
        assert (points <= most[: points.shape[1]]).all()


@functools.cache
def shallow_raz_net() -> RazNet:
    """Finds every picture crowded, and so zooms ten times; one recurrence more would be 110 times."""
    made = RazNet(depth=2).eval()
    made.load_state_dict(network("raz-net").state_dict())
    made.zooms.fill_(True)
    return made


@pytest.mark.parametrize("name", NAMES)
def test_points_are_left_out_unless_asked_for(name: str) -> None:
    made = network(name) if name != "raz-net" else shallow_raz_net()
    with torch.no_grad():
        assert made.predict(pictures(1, 16, 16)).points is None


@pytest.mark.parametrize("name", NAMES)
def test_batch_and_single_agree(name: str) -> None:
    images = pictures(2, 48, 64)
    together = continuous(network(name), images)
    for image, expected in zip(images, together, strict=True):
        torch.testing.assert_close(continuous(network(name), image[None])[0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_agrees_with_float32(name: str) -> None:
    images = pictures(1, 64, 64)
    exact = continuous(network(name), images)
    with torch.autocast("cpu", torch.bfloat16):
        rough = continuous(network(name), images)
    assert rough.dtype == torch.float32
    # 8 bits: half a thousandth lost in each of some thirty layers, more or less by the processor's order of adding.
    assert (rough - exact).norm() < 0.02 * exact.norm()


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_gets_a_finite_gradient(name: str) -> None:
    case, made = CASES[name], CASES[name].make().train()
    images, targets = batch(made, case.side, (3, 5), scene)
    loss = made.loss(images, targets)
    assert loss.shape == ()
    loss.backward()
    for parameter, tensor in made.named_parameters():
        assert (tensor.grad is not None) == tensor.requires_grad, parameter
        assert tensor.grad is None or torch.isfinite(tensor.grad).all(), parameter


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_four_small_pictures_are_learned_by_heart(name: str) -> None:
    torch.manual_seed(0)
    case, made = CASES[name], CASES[name].make()
    images, targets = batch(made, case.side, case.heads, scene)
    for stage in ("counting", "localization") if name == "raz-net" else ("",):
        learn(made, stage, images, targets, case)
    with torch.no_grad():
        prediction = made.eval().predict(images, locate=True)
    truth = torch.tensor(case.heads, dtype=torch.float32)
    counts = prediction.density.sum((1, 2))
    assert (counts - truth).abs().sum() < 0.02 * truth.sum(), counts.tolist()


def learn(made: Network, stage: str, images: Tensor, targets: dict[str, Tensor], case: Case) -> None:
    if stage:
        made.begin_stage(stage)
    made.train()
    optimiser = torch.optim.Adam(made.parameter_groups(case.lr))
    highest = [group["lr"] for group in optimiser.param_groups]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, highest, total_steps=case.steps, pct_start=0.1)
    for _ in range(case.steps):
        optimiser.zero_grad()
        made.loss(images, targets).backward()
        optimiser.step()
        schedule.step()
    # A running mean of batch statistics is years behind after so few steps: take those of the last network.
    for module in made.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None
    with torch.no_grad():
        made.loss(images, targets)


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_takes_crops_whose_sides_do_not_divide(name: str) -> None:
    made = network(name)
    points = np.array([[3.2, 4.5], [20.0, 30.1]])
    targets = {key: torch.from_numpy(value)[None] for key, value in made.targets(points, (37, 43)).items()}
    with torch.no_grad():
        assert torch.isfinite(made.loss(pictures(1, 43, 37), targets))


@pytest.mark.parametrize("name", NAMES)
def test_weights_are_saved_and_loaded_exactly(name: str, tmp_path: Path) -> None:
    save_weights(network(name), tmp_path / "x.safetensors")
    tensors = load_file(tmp_path / "x.safetensors")
    state = network(name).state_dict()
    assert set(tensors) == set(state)
    assert all(torch.equal(tensors[key], state[key]) for key in state)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_forward_pass_exports(name: str) -> None:
    side = max(CASES[name].multiple, 32)
    images = pictures(1, side, side)
    exported = torch.export.export(network(name), (images,)).module()
    with torch.no_grad():
        torch.testing.assert_close(exported(images), network(name)(images), rtol=1e-4, atol=1e-5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("name", NAMES)
def test_cpu_and_gpu_agree(name: str) -> None:
    images = pictures(1, 96, 128)
    expected = continuous(network(name), images)
    on_gpu = CASES[name].make().eval().cuda()
    on_gpu.load_state_dict(network(name).state_dict())
    with rounding_to_tf32(False):
        found = continuous(on_gpu, images.cuda()).cpu()
    assert (found - expected).norm() < 1e-3 * expected.norm()
