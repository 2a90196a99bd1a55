"""What holds for each network that counts without locating: MCNN, CSRNet, SASNet, DeepCount. And their parts."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from gigacount.errors import UsageError, WeightsError
from gigacount.networks.base import Network, crop_cells, load_matching, pad_to_multiple
from gigacount.networks.csrnet import CSRNet
from gigacount.networks.deepcount import (
    DeepCount,
    combine,
    density_aware_loss,
    divide,
    normalise,
    tiling,
    to_cells,
)
from gigacount.networks.mcnn import MCNN, euclidean_loss
from gigacount.networks.sasnet import HARD_WEIGHT, SASNet, hard_pixels, pyramid_region_loss
from gigacount.networks.vgg import VGG16
from gigacount.networks.weights import save_weights


@dataclass(frozen=True)
class Case:
    """make: the paper's network. small: the same with smaller tiles, where it has any. side: of what `small` takes.

    parameters: of the paper's network in use; training_only: those that only training needs.
    steps, lr: of Adam, until it knows four pictures by heart; crop: their side.
    """

    make: Callable[[], Network]
    parameters: int
    small: Callable[[], Network]
    side: int = 64
    training_only: int = 0
    crop: int = 32
    steps: int = 120
    lr: float = 1e-3


CASES = {
    "mcnn": Case(MCNN, 133_705, MCNN, crop=64, lr=3e-3),
    "csrnet": Case(CSRNet, 16_263_489, CSRNet, lr=1e-4),
    "sasnet": Case(SASNet, 38_898_698, SASNet),
    "deepcount": Case(
        DeepCount, 21_403_201, lambda: DeepCount(tile_wh=(128, 128)), 128, 36_706_565, crop=128, steps=100, lr=2e-4
    ),
}
NAMES = list(CASES)


@functools.cache
def network(name: str) -> Network:
    """One small instance of each, for the tests that only look through it."""
    torch.manual_seed(0)
    made = CASES[name].small().eval()
    if isinstance(made, DeepCount):
        nn.init.constant_(made.count[0].bias, 7)  # fresh, it counts 0 people give or take, and below 0 is nobody
    return made


@functools.cache
def published(name: str) -> Network:
    """The paper's network, where that is not the small one."""
    torch.manual_seed(0)
    return network(name) if CASES[name].make == CASES[name].small else CASES[name].make().eval()


def pictures(count: int, height: int, width: int, seed: int = 0) -> Tensor:
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(seed))


def scene(heads: int, side: int, seed: int) -> tuple[Tensor, np.ndarray]:
    """A picture (3, side, side) of blurred reddish spots on noise, and their centres (N, 2)."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(6, side - 6, (heads, 2))
    y, x = np.mgrid[:side, :side] + 0.5
    spots = sum(np.exp(-((x - px) ** 2 + (y - py) ** 2) / 18) for px, py in points)
    picture = rng.normal(0, 0.3, (3, side, side)) + np.array([2.5, 1.5, -1.0])[:, None, None] * spots
    return torch.from_numpy(picture.astype(np.float32)), points


def batch(made: Network, side: int, heads: tuple[int, ...]) -> tuple[Tensor, dict[str, Tensor]]:
    scenes = [scene(n, side, seed) for seed, n in enumerate(heads)]
    targets = [made.targets(points, (side, side)) for _, points in scenes]
    stacked = {key: torch.stack([torch.from_numpy(one[key]) for one in targets]) for key in targets[0]}
    return torch.stack([picture for picture, _ in scenes]), stacked


def density_of(made: Network, images: Tensor) -> Tensor:
    with torch.no_grad():
        return made.predict(images).density


@pytest.mark.parametrize("name", NAMES)
def test_parameter_count_is_the_reference(name: str) -> None:
    made = published(name)
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
@pytest.mark.parametrize("name", NAMES)
def test_cpu_and_gpu_agree(name: str) -> None:
    images = pictures(1, 96, 128)
    expected = density_of(network(name), images)
    on_gpu = CASES[name].small().eval().cuda()
    on_gpu.load_state_dict(network(name).state_dict())
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


def test_euclidean_loss_is_half_the_squares_over_the_batch() -> None:
    density = torch.tensor([[[1.0, 2.0]], [[0.0, 0.0]]])
    target = torch.tensor([[[0.0, 4.0]], [[0.0, 3.0]]])
    assert euclidean_loss(density, target).item() == pytest.approx((1 + 4 + 9) / 4)


# VGG-16

CONVS = {
    False: (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28),
    True: (0, 3, 7, 10, 14, 17, 20, 24, 27, 30, 34, 37, 40),
}
WIDTHS = (3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)


def torchvision_state(batch_norm: bool, counters: bool = True) -> dict[str, Tensor]:
    """What `vgg16(_bn).state_dict()` holds, by torchvision's names and shapes (the classifier's are cut short)."""
    state = {"classifier.0.weight": torch.rand(4, 4), "classifier.0.bias": torch.rand(4)}
    for index, before, width in zip(CONVS[batch_norm], WIDTHS, WIDTHS[1:], strict=False):
        state[f"features.{index}.weight"] = torch.rand(width, before, 3, 3)
        state[f"features.{index}.bias"] = torch.rand(width)
        if batch_norm:
            for name in ("weight", "bias", "running_mean", "running_var"):
                state[f"features.{index + 1}.{name}"] = torch.rand(width)
            if counters:
                state[f"features.{index + 1}.num_batches_tracked"] = torch.tensor(3)
    return state


@pytest.mark.parametrize("batch_norm", [False, True])
def test_vgg_loads_torchvisions_state_dict(batch_norm: bool) -> None:
    vgg, state = VGG16(batch_norm=batch_norm), torchvision_state(batch_norm)
    load_matching(vgg, state)
    assert set(vgg.state_dict()) == {name for name in state if name.startswith("features.")}
    assert all(torch.equal(tensor, state[name]) for name, tensor in vgg.state_dict().items())


def test_vgg_loads_files_from_before_batch_counters() -> None:
    vgg, state = VGG16(batch_norm=True), torchvision_state(True, counters=False)
    load_matching(vgg, state)
    assert torch.equal(vgg.features[41].running_var, state["features.41.running_var"])


def test_the_first_layers_of_vgg_take_their_part_of_the_file() -> None:
    made, state = CSRNet(), torchvision_state(False)
    made.load_backbone(state)
    assert torch.equal(made.encoder.features[21].weight, state["features.21.weight"])
    assert max(int(name.split(".")[1]) for name in made.encoder.state_dict()) == 21  # conv4_3 is the tenth


def test_weights_of_another_backbone_are_refused_with_names() -> None:
    with pytest.raises(WeightsError, match=r"VGG16: features\.1\.weight is missing, .* more$") as error:
        SASNet().load_backbone(torchvision_state(False))
    assert "\n" not in str(error.value)
    state = torchvision_state(False) | {"features.0.weight": torch.rand(64, 1, 3, 3)}
    with pytest.raises(WeightsError, match=r"features\.0\.weight is \(64, 1, 3, 3\) instead of \(64, 3, 3, 3\)"):
        CSRNet().load_backbone(state)
    with pytest.raises(WeightsError, match="MCNN has no backbone"):
        MCNN().load_backbone(state)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_vggs_stages_halve_and_widen(batch_norm: bool) -> None:
    vgg = VGG16(batch_norm=batch_norm).eval()
    images = pictures(1, 48, 32)
    with torch.no_grad():
        stages = list(vgg.stages(images))
        assert torch.equal(vgg(images), stages[-1])
    shapes = [tuple(stage.shape[1:]) for stage in stages]
    assert shapes == [(64, 48, 32), (128, 24, 16), (256, 12, 8), (512, 6, 4), (512, 3, 2)]
    assert all(stage.min() >= 0 for stage in stages)


# CSRNet


@pytest.mark.parametrize(
    ("configuration", "dilations"),
    [("A", [1] * 6), ("B", [2] * 6), ("C", [2, 2, 2, 4, 4, 4]), ("D", [4] * 6)],
)
def test_csrnets_configurations_differ_in_dilation_alone(configuration: str, dilations: list[int]) -> None:
    made = CSRNet(configuration)
    convs = [layer for layer in made.backend if isinstance(layer, nn.Conv2d)]
    assert [conv.dilation for conv in convs] == [(d, d) for d in dilations]
    assert [conv.padding for conv in convs] == [(d, d) for d in dilations]
    assert sum(p.numel() for p in made.parameters()) == 16_263_489


def test_csrnet_without_arguments_is_configuration_b() -> None:
    layers = [layer.dilation for layer in network("csrnet").backend if isinstance(layer, nn.Conv2d)]
    assert layers == [(2, 2)] * 6
    with pytest.raises(UsageError, match="no CSRNet configuration 'E'; choose one of: A, B, C, D"):
        CSRNet("E")


def test_csrnets_published_names_are_understood() -> None:
    ours = network("csrnet").state_dict()
    published = {name.replace("encoder.features.", "frontend."): tensor for name, tensor in ours.items()}
    assert "frontend.21.weight" in published
    assert set(CSRNet.rename_published(published)) == set(ours)


def test_csrnets_labels_adapt_to_the_crowd_unless_fixed() -> None:
    """Four heads 8 px apart in a row: sigma 0.3 * 8 = 2.4 for the inner ones' two neighbours at 8 and one at 16."""
    points = np.array([[100.0, 100], [108, 100], [116, 100], [124, 100]])
    tight = CSRNet().targets(points, (256, 256))["density"]
    loose = CSRNet(sigma=15).targets(points, (256, 256))["density"]
    assert tight.sum() == pytest.approx(4, abs=1e-3)
    assert loose.sum() == pytest.approx(4, abs=1e-3)
    assert tight[12, 12:16].sum() > 2.5  # the row of cells that holds them
    assert loose[12, 12:16].sum() < 1


# SASNet


def test_sasnets_coarse_density_is_the_sum_of_its_pixels() -> None:
    made, images = network("sasnet"), pictures(1, 64, 96)
    with torch.no_grad():
        pixels, cells = made(images), made(images, stride=8)
    assert pixels.shape == (1, 64, 96)
    torch.testing.assert_close(64 * F.avg_pool2d(pixels, 8), cells, rtol=1e-5, atol=1e-7)


def test_sasnets_pixels_are_the_levels_repeated_and_weighed() -> None:
    made, images = network("sasnet"), pictures(1, 64, 64)
    with torch.no_grad():
        densities, shares = made.levels(images)
        pixels = made(images)
    assert [tuple(d.shape[2:]) for d in densities] == [(64, 64), (32, 32), (16, 16), (8, 8), (4, 4)]
    assert shares.shape == (1, 5, 2, 2)
    torch.testing.assert_close(shares.sum(1), torch.ones(1, 2, 2))
    row, col = 45, 13
    expected = sum(
        densities[level][0, 0, row >> level, col >> level] * shares[0, level, row // 32, col // 32] / 1000
        for level in range(5)
    )
    assert pixels[0, row, col].item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_pyramid_walk_follows_regions_not_pixels() -> None:
    """Top left has the highest pixel but is under-estimated in all; bottom right is over by 2, and 1.1 of it here."""
    error = torch.zeros(1, 32, 64)
    error[0, 3, 3] = 3.0
    error[0, 9, 9] = -4.0
    error[0, 20, 20] = 1.1
    error[0, 30, 30] = 0.9
    error[0, :, 32:] = -1.0  # the second patch: all under-estimated, least of all here
    error[0, 17, 50] = -0.25
    expected = torch.zeros(1, 32, 64)
    expected[0, 20, 20] = expected[0, 17, 50] = 1
    assert torch.equal(hard_pixels(error), expected)


def test_the_pyramid_region_loss_by_hand() -> None:
    target = torch.rand(1, 32, 32, generator=torch.Generator().manual_seed(0))
    density = target.clone()
    density[0, 3, 3] += 3
    density[0, 9, 9] -= 4
    density[0, 20, 20] += 2
    density.requires_grad_()
    loss = pyramid_region_loss(density, target)
    assert loss.item() == pytest.approx((9 + 16 + 4 + HARD_WEIGHT * 4) / 1024, rel=1e-5)
    loss.backward()
    assert density.grad is not None
    assert density.grad[0, 20, 20].item() == pytest.approx((1 + HARD_WEIGHT) * 2 * 2 / 1024, rel=1e-5)


def test_all_of_sasnets_levels_start_alive() -> None:
    with torch.no_grad():
        densities, _ = network("sasnet").levels(pictures(1, 64, 64))
    assert all(density.min() > 0 for density in densities)


def test_sasnets_published_names_are_understood() -> None:
    """The authors' 226 names, as they come from their module tree."""
    parts = {1: (0, 3), 2: (1, 4), 3: (1, 4, 7), 4: (1, 4, 7), 5: (1, 4, 7)}
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    names = []
    for level, convs in parts.items():
        for conv in convs:
            names += [f"features{level}.{conv}.{leaf}" for leaf in ("weight", "bias")]
            names += [f"features{level}.{conv + 1}.{leaf}" for leaf in norm]
        for index in (0, 1):
            names += [f"de_pred{level}.{index}.conv.{leaf}" for leaf in ("weight", "bias")]
            names += [f"confidence_head{level}.{index}.conv.{leaf}" for leaf in ("weight", "bias")]
        for branch in ("1x1", "1x1_1", "3x3_1", "3x3_2", "3x3dbl_1", "3x3dbl_2"):
            names.append(f"density_head{level}.0.branch{branch}.conv.weight")
            names += [f"density_head{level}.0.branch{branch}.bn.{leaf}" for leaf in norm]
        names += [f"density_head{level}.1.conv.{leaf}" for leaf in ("weight", "bias")]
    renamed = SASNet.rename_published({name: torch.empty(0) for name in names})
    assert len(renamed) == len(names)
    assert set(renamed) == set(network("sasnet").state_dict())
    ours = "density_heads.4.0.branches.2.3.weight"
    assert list(SASNet.rename_published({"density_head5.0.branch3x3dbl_2.conv.weight": torch.empty(0)})) == [ours]
    assert network("sasnet").state_dict()[ours].shape == (512, 256, 5, 5)


# DeepCount


def deepcount(branch: int | None) -> DeepCount:
    """The small one with another branch; parameters are shared."""
    made = copy.copy(network("deepcount"))
    made.density_branch = branch
    return made


@pytest.mark.parametrize("branch", [None, 1, 2, 3, 4, 5])
def test_deepcount_runs_the_branch_asked_for_and_no_other(branch: int | None) -> None:
    made = deepcount(branch)
    ran: list[int] = []
    hooks = [
        module.register_forward_hook(lambda *_, number=number: ran.append(number))
        for number, module in enumerate(made.branches, 1)
    ]
    density_of(made, pictures(1, 128, 128))
    for hook in hooks:
        hook.remove()
    assert ran == ([] if branch is None else [branch])


@pytest.mark.parametrize("branch", [None, 1, 3, 5])
def test_deepcounts_density_sums_to_its_count(branch: int | None) -> None:
    made, images = deepcount(branch), pictures(1, 256, 128)
    with torch.no_grad():
        counts, _ = made(torch.cat([images[:, :, :128], images[:, :, 128:]]))
    density = density_of(made, images)
    assert density.min() >= 0
    for tile, count in zip((density[0, :16], density[0, 16:]), counts, strict=True):
        assert tile.sum().item() == pytest.approx(count.item(), rel=1e-5)
    if branch is None:
        assert density[0, :16].std() < 1e-6


def test_deepcounts_density_has_its_branchs_proportions() -> None:
    made, images = deepcount(2), pictures(1, 128, 128)
    with torch.no_grad():
        maps = F.relu(made(images)[1][1])  # (1, 8, 8), stride 16
    cells = density_of(made, images)[0]  # (16, 16), stride 8
    coarse = 4 * F.avg_pool2d(cells[None], 2)
    torch.testing.assert_close(coarse / coarse.sum(), maps / maps.sum(), rtol=1e-4, atol=1e-6)


def test_deepcount_counts_nobody_rather_than_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = DeepCount.backbone

    def negative(self: DeepCount, tiles: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        counts, vector, features = backbone(self, tiles)
        return -counts, vector, features

    images = pictures(1, 128, 128)
    assert density_of(deepcount(1), images).sum() > 0
    monkeypatch.setattr(DeepCount, "backbone", negative)
    assert density_of(deepcount(1), images).abs().sum() == 0


def test_a_branch_that_sees_nobody_spreads_the_count_evenly() -> None:
    shares = normalise(torch.tensor([[[-1.0, 0.0]], [[3.0, -1.0]]]))
    assert torch.equal(shares, torch.tensor([[[0.5, 0.5]], [[1.0, 0.0]]]))


@pytest.mark.parametrize(
    ("size_wh", "rows_cols"),
    [((512, 384), (1, 1)), ((1024, 768), (2, 2)), ((2560, 1440), (4, 5)), ((100, 100), (1, 1)), ((300, 2000), (9, 1))],
)
def test_pictures_divide_into_the_nearest_tiling(size_wh: tuple[int, int], rows_cols: tuple[int, int]) -> None:
    assert tiling(size_wh, (512, 384)) == rows_cols


def test_tiles_are_laid_together_as_they_were_cut() -> None:
    images = pictures(2, 24, 40)
    tiles = divide(images, 3, 4, (10, 8))
    assert tiles.shape == (24, 3, 8, 10)
    assert torch.equal(tiles[5], images[0, :, 8:16, 10:20])  # second row, second column
    assert torch.equal(combine(tiles[:, 1], 3, 4), images[:, 1])


@given(
    grid=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    size_wh=st.tuples(st.integers(1, 150), st.integers(1, 150)),
)
def test_nobody_is_lost_between_tiles_and_cells(grid: tuple[int, int], size_wh: tuple[int, int]) -> None:
    people = torch.rand(2, *grid, generator=torch.Generator().manual_seed(1))
    cells = to_cells(people, size_wh)
    assert cells.shape == (2, -(-size_wh[1] // 8), -(-size_wh[0] // 8))
    assert cells.min() >= 0
    torch.testing.assert_close(cells.sum((1, 2)), people.sum((1, 2)), rtol=1e-5, atol=1e-6)


def test_the_papers_tile_takes_a_picture_of_another_size() -> None:
    made = published("deepcount")
    assert isinstance(made, DeepCount)
    seen: dict[str, Tensor] = {}
    hooks = [
        made.get_submodule(name).register_forward_hook(lambda *args, name=name: seen.update({name: args[2]}))
        for name in ("features.0", "features.4", "vector", "count")
    ]
    density = density_of(made, pictures(1, 75, 101))
    for hook in hooks:
        hook.remove()
    assert density.shape == (1, 10, 13)
    assert density.sum().item() == pytest.approx(max(seen["count"].item(), 0), rel=1e-5)
    assert seen["features.0"].shape == (1, 256, 48, 64)
    assert seen["features.4"].shape == (1, 256, 3, 4)
    assert seen["vector"].shape == (1, 1024, 1, 1)


def test_each_branch_ends_at_its_stride() -> None:
    with torch.no_grad():
        counts, maps = deepcount(None)(pictures(1, 128, 128))
    assert counts.shape == (1,)
    assert [tuple(m.shape) for m in maps] == [(1, 16, 16), (1, 8, 8), (1, 4, 4), (1, 2, 2), (1, 1, 1)]


def test_deepcounts_branches_have_the_papers_layers() -> None:
    """Table 1: a transposed 3x4 convolution, then 4, 3, 2, 1 or 0 of 4x4 with stride 2, then 1x1."""
    up, last = 16 * 512 * 256 + 256, 512 + 1
    expected = [12 * 1024 * 256 + 256 + steps * up + last for steps in (4, 3, 2, 1, 0)]
    assert [sum(p.numel() for p in branch.parameters()) for branch in published("deepcount").branches] == expected


def test_deepcounts_loss_by_hand() -> None:
    """Two tiles of 3 people and 1. The maps say 0, but for branch 5, which says 2 for the first: off by 1, not 3."""
    density = torch.zeros(2, 16, 16)
    density[0, 4, 5] = 2
    density[0, 15, 0] = 1
    density[1, 8, 8] = 1
    maps = [torch.zeros(2, side, side) for side in (16, 8, 4, 2, 1)]
    maps[4][0] = 2
    counts = torch.tensor([5.0, 0.0])
    bracket = (16 * (2 + 1) + 4 * (3 + 1) + (1 + 1)) / (2 * 2)
    assert density_aware_loss(counts, maps, density).item() == pytest.approx(bracket)


def test_deepcounts_loss_is_equation_3() -> None:
    made = deepcount(None)
    images, targets = batch(made, 128, (3,))
    with torch.no_grad():
        loss = made.loss(images, targets)
        bracket = density_aware_loss(*made(images), targets["density"])
    squares = sum(parameter.detach().square().sum(dtype=torch.float64).item() for parameter in made.parameters())
    assert loss.item() == pytest.approx(0.01 * bracket.item() + 1e-5 / 2 * squares, rel=1e-4)


def test_deepcount_refuses_what_it_cannot_be() -> None:
    with pytest.raises(UsageError, match="branches 1 to 5, not 6"):
        DeepCount(6)
    with pytest.raises(UsageError, match="multiples of 128 px"):
        DeepCount(tile_wh=(500, 384))
    with pytest.raises(UsageError, match="crops of 128x128 pixels, not 64x96"):
        network("deepcount").loss(pictures(1, 96, 64), {})
