"""What holds for each network that counts without locating: MCNN, CSRNet, SASNet, DeepCount."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from network_cases import CASES, NAMES, batch, density_of, network, pictures, published, scene
from safetensors.torch import load_file
from torch.nn import functional as F

from gigacount.networks import build
from gigacount.networks.backends.torch import rounding_to_tf32
from gigacount.networks.base import crop_cells, pad_to_multiple
from gigacount.networks.mcnn import MCNN
from gigacount.networks.weights import save_weights


@pytest.mark.parametrize("name", NAMES)
def test_parameter_count_is_the_reference(name: str) -> None:
    made = published(name)
    assert type(made) is type(build(name))
    training_only = sum(p.numel() for key, p in made.named_parameters() if key.startswith("branches."))
    assert training_only == CASES[name].training_only
    assert sum(p.numel() for p in made.parameters()) - training_only == CASES[name].parameters


@pytest.mark.parametrize("size_hw", [(61, 43), (7, 5), (1, 1)])
@pytest.mark.parametrize("name", NAMES)
def test_a_picture_of_any_size_gives_its_cells(name: str, size_hw: tuple[int, int]) -> None:
    made = network(name)
    height, width = size_hw
    prediction = made.predict(pictures(2, height, width), locate=True)
    assert prediction.points is None
    assert not made.locates
    assert prediction.density.dtype == torch.float32
    assert prediction.density.shape == (2, -(-height // made.stride), -(-width // made.stride))
    assert torch.isfinite(prediction.density).all()
    assert prediction.density.abs().sum() > 0


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_and_single_pictures_agree(name: str) -> None:
    images = pictures(2, 61, 80)
    together = density_of(network(name), images)
    for image, expected in zip(images, together, strict=True):
        found = density_of(network(name), image[None])[0]
        assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_agrees_with_float32(name: str) -> None:
    images = pictures(1, 64, 64)
    exact = density_of(network(name), images)
    with torch.autocast("cpu", torch.bfloat16):
        rough = density_of(network(name), images)
    assert rough.dtype == torch.float32
    assert (rough.sum() - exact.sum()).abs() < 0.01 * exact.abs().sum()


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_gets_a_finite_gradient(name: str) -> None:
    torch.manual_seed(0)
    made = CASES[name].small().train()
    images, targets = batch(made, CASES[name].side, (5,))
    loss = made.loss(images, targets)
    assert loss.shape == ()
    loss.backward()
    for key, parameter in made.named_parameters():
        assert parameter.grad is not None, key
        assert torch.isfinite(parameter.grad).all(), key
        assert parameter.grad.abs().max() > 0, key


@pytest.mark.parametrize("name", ["mcnn", "csrnet", "sasnet"])
def test_the_loss_takes_crops_whose_sides_do_not_divide(name: str) -> None:
    made = network(name)
    targets = made.targets(np.array([[3.2, 4.5], [20.0, 30.1]]), (37, 43))
    with torch.no_grad():
        loss = made.loss(pictures(1, 43, 37), {key: torch.from_numpy(value)[None] for key, value in targets.items()})
    assert torch.isfinite(loss)


@pytest.mark.parametrize("name", NAMES)
def test_targets_sum_to_the_heads(name: str) -> None:
    side = CASES[name].side
    for heads in (0, 1, 2, 30):
        _, points = scene(heads, side, seed=heads) if heads else (None, np.empty((0, 2)))
        target = network(name).targets(points, (side, side))["density"]
        assert target.dtype == np.float32
        assert target.sum() == pytest.approx(heads, abs=1e-3)


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
    images = pictures(1, CASES[name].side, CASES[name].side)
    exported = torch.export.export(network(name), (images,)).module()
    with torch.no_grad():
        torch.testing.assert_close(exported(images), network(name)(images), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_four_pictures_are_learned_by_heart(name: str) -> None:
    """And bf16 then counts within 1 % of fp32: on trained weights, unlike above."""
    case, heads = CASES[name], (2, 4, 6, 9)
    torch.manual_seed(0)
    made = case.small().train()
    images, targets = batch(made, case.crop, heads)
    optimiser = torch.optim.Adam(made.parameters(), case.lr)
    decay = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: min(1, 2 * (1 - step / case.steps)))
    for _ in range(case.steps):
        optimiser.zero_grad()
        made.loss(images, targets).backward()
        optimiser.step()
        decay.step()
    made.eval()
    counts = density_of(made, images).sum((1, 2))
    with torch.autocast("cpu", torch.bfloat16):
        rough = density_of(made, images).sum((1, 2))
    assert (counts - torch.tensor(heads)).abs().sum() < 0.02 * sum(heads)
    assert (counts - rough).abs().sum() < 0.01 * sum(heads)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("name", NAMES)
def test_cpu_and_gpu_agree(name: str) -> None:
    images = pictures(1, 96, 128)
    expected = density_of(network(name), images)
    on_gpu = CASES[name].small().eval().cuda()
    on_gpu.load_state_dict(network(name).state_dict())
    with rounding_to_tf32(False):
        found = density_of(on_gpu, images.cuda()).cpu()
    assert (found - expected).norm() < 1e-3 * expected.norm()


# Steps that the networks share


@given(rows=st.integers(1, 40), cols=st.integers(1, 40), multiple=st.integers(1, 33))
def test_padding_is_the_least_and_goes_right_and_below(rows: int, cols: int, multiple: int) -> None:
    images = torch.ones(1, 3, rows, cols)
    padded = pad_to_multiple(images, multiple)
    for side, full in zip((rows, cols), padded.shape[-2:], strict=True):
        assert full % multiple == 0
        assert 0 <= full - side < multiple
    assert torch.equal(padded[..., :rows, :cols], images)
    assert padded.sum() == images.sum()


def test_cells_over_the_padding_are_cropped_away() -> None:
    images = pictures(1, 61, 43)
    made = network("csrnet")
    with torch.no_grad():
        cells = made(F.pad(images, (0, 5, 0, 3)))  # (1, 8, 6)
    assert torch.equal(density_of(made, images), cells)
    assert crop_cells(torch.zeros(1, 16, 16), images, 8).shape == (1, 8, 6)


def test_the_loss_on_gaussians_is_half_the_squares_over_the_batch() -> None:
    made = MCNN()
    made.forward = lambda images: torch.tensor([[[1.0, 2.0]], [[0.0, 0.0]]])  # type: ignore[method-assign]
    target = torch.tensor([[[0.0, 4.0]], [[0.0, 3.0]]])
    assert made.loss(torch.zeros(2, 3, 4, 8), {"density": target}).item() == pytest.approx((1 + 4 + 9) / 4)
