"""MUD-ikNN's own rules, and DenseNet-201 under torchvision's names."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from gigacount.errors import WeightsError
from gigacount.networks.csrnet import CSRNet
from gigacount.networks.mudiknn import MAP_WEIGHT, MudIknn, spread, to_windows

NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


class Made(MudIknn):
    """Its output is made: a count of 7 in every window; maps that are the picture's three channels."""

    def forward(self, windows: Tensor) -> tuple[Tensor, Tensor]:
        return torch.full((len(windows),), 7.0), windows


def torchvision_densenet201(old: bool) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes of torchvision's densenet201; `old` as in the file that it offers for download."""

    def norm(name: str, channels: int) -> Iterator[tuple[str, tuple[int, ...]]]:
        for part in NORM[:4] if old else NORM:
            yield f"features.{name}.{part}", () if part == "num_batches_tracked" else (channels,)

    dot = "." if old else ""
    yield "features.conv0.weight", (64, 3, 7, 7)
    yield from norm("norm0", 64)
    channels = 64
    for block, layers in enumerate((6, 12, 48, 32), start=1):
        for layer in range(1, layers + 1):
            name = f"denseblock{block}.denselayer{layer}"
            yield from norm(f"{name}.norm{dot}1", channels)
            yield f"features.{name}.conv{dot}1.weight", (128, channels, 1, 1)
            yield from norm(f"{name}.norm{dot}2", 128)
            yield f"features.{name}.conv{dot}2.weight", (32, 128, 3, 3)
            channels += 32
        if block < 4:
            yield from norm(f"transition{block}.norm", channels)
            channels //= 2
            yield f"features.transition{block}.conv.weight", (channels, 2 * channels, 1, 1)
    yield from norm("norm5", channels)
    yield "classifier.weight", (1000, channels)
    yield "classifier.bias", (1000,)


@pytest.mark.parametrize("old", [False, True])
def test_torchvisions_state_dict_loads(old: bool) -> None:
    state = {name: torch.full(shape, 0.5) for name, shape in torchvision_densenet201(old)}
    weights = [tensor for name, tensor in state.items() if name.endswith(("weight", "bias"))]
    assert sum(tensor.numel() for tensor in weights) == 20_013_928  # torchvision's own figure
    made = MudIknn()
    made.load_backbone(state)
    assert sum(p.numel() for p in made.encoder.parameters()) == 18_092_928
    assert all((tensor == 0.5).all() for tensor in made.encoder.parameters())


def test_weights_of_another_network_are_refused() -> None:
    with pytest.raises(WeightsError, match=r"features\.conv0\.weight is missing"):
        MudIknn().load_backbone({"features.0.weight": torch.zeros(64, 3, 3, 3)})


def test_a_windows_count_is_spread_in_proportion_and_sums_exactly() -> None:
    weights = torch.tensor([[[1.0, 3.0], [-2.0, 0.0]], [[0.0, 0.0], [0.0, -1.0]]])
    inside = torch.tensor([[[1.0, 1.0], [1.0, 1.0]], [[1.0, 1.0], [0.0, 0.0]]])
    people = spread(torch.tensor([8.0, 5.0]), weights, inside)
    assert people[0].tolist() == [[2, 6], [0, 0]]
    assert people[1].tolist() == [[2.5, 2.5], [0, 0]]  # nothing to go by: evenly over what is picture
    assert spread(torch.tensor([-0.01, 1.0]), weights, inside)[0].abs().sum() == 0


@pytest.mark.parametrize("mode", ["map", "even"])
@pytest.mark.parametrize("size_hw", [(224, 224), (101, 63)])
def test_one_window_keeps_its_whole_count(mode: str, size_hw: tuple[int, int]) -> None:
    images = torch.rand(2, 3, *size_hw)
    prediction = Made(spread=mode).predict(images)
    torch.testing.assert_close(prediction.density.sum((1, 2)), torch.full((2,), 7.0))
    assert prediction.density.shape[1:] == (-(-size_hw[0] // 8), -(-size_hw[1] // 8))


def test_the_map_draws_people_to_heads_and_the_even_spread_does_not() -> None:
    images = torch.zeros(1, 3, 224, 224)
    images[..., 80:88, 160:168] = 1
    drawn, even = (Made(spread=mode).predict(images).density[0] for mode in ("map", "even"))
    assert drawn[10, 20] == pytest.approx(7)
    assert drawn.sum() == pytest.approx(7)
    torch.testing.assert_close(even, torch.full((28, 28), 7 / 28**2))


def test_overlapping_windows_are_averaged_pixel_by_pixel() -> None:
    # Windows at columns 0 and 128 of 352: columns 128 to 223 lie in both, everywhere the density is 7 / 224^2.
    density = Made(spread="even").predict(torch.zeros(1, 3, 224, 352)).density
    torch.testing.assert_close(density.sum(), torch.tensor(7 * 352 / 224))


def test_peaks_of_the_map_are_heads() -> None:
    images = torch.full((1, 3, 240, 224), 0.1)
    images[:, :, 30, 40] = 0.9
    images[:, :, 231, 200] = 0.4
    images[:, :, 100, 100] = 0.2  # a head some 4 px away: below the threshold
    points = Made().predict(images, locate=True).points
    assert points is not None
    np.testing.assert_allclose(points[0], [[40.5, 30.5, 0.9], [200.5, 231.5, 0.4]], rtol=1e-6)


@pytest.mark.parametrize("k", [1, 3])
def test_labels_are_made_for_any_k(k: int) -> None:
    points = np.array([[10.5, 20.5], [14.5, 20.5], [10.5, 12.5]])
    targets = Made(k).targets(points, (30, 40))
    assert targets["label"].shape == targets["heads"].shape == (40, 30)
    assert targets["heads"].sum() == 3
    # On the first head: 0 px, 4 px and 8 px away.
    assert targets["label"][20, 10] == pytest.approx(1 / (np.mean([0, 4, 8][:k]) + 1))


def test_the_loss_by_hand() -> None:
    images = torch.zeros(2, 3, 224, 224)
    images[1, 0, 5, 5] = 0.9
    targets = {"label": torch.zeros(2, 224, 224), "heads": torch.zeros(2, 224, 224)}
    targets["label"][1, 5, 6] = 0.5
    targets["heads"][0, 100, 100] = 4
    # Counts 7 against 4 and 0: errors 9 and 49. Maps: mean over three of 0.9, 0, 0 is 0.3, and 0.5 missed by all.
    expected = (9 + 49) / 2 + MAP_WEIGHT * (0 + (0.3 + 0.5) ** 2) / 2
    assert Made().loss(images, targets).item() == pytest.approx(expected, rel=1e-6)


def test_larger_crops_are_cut_into_windows() -> None:
    picture = torch.rand(2, 3, 224, 300)
    windows = to_windows(picture)
    assert windows.shape == (4, 3, 224, 224)
    assert torch.equal(windows[0], picture[0, :, :, :224])
    assert torch.equal(windows[3, :, :, :76], picture[1, :, :, 224:])
    assert not windows[3, :, :, 76:].any()


# ---- what the paper compares


def test_the_density_label_keeps_the_count() -> None:
    with torch.device("meta"):
        made = MudIknn(label="density", beta=0.1)
    points = np.random.default_rng(0).uniform(0, 224, (30, 2))
    label = made.targets(points, (224, 224))["label"]
    assert label.sum() == pytest.approx(30, rel=1e-4)
    wider = MudIknn.targets(_with_beta(made, 0.5), points, (224, 224))["label"]
    assert wider.sum() == pytest.approx(30, rel=1e-4)
    assert wider.max() < label.max() / 4
    assert made.targets(np.zeros((0, 2)), (60, 50))["label"].sum() == 0
    assert not made.locates


def _with_beta(made: MudIknn, beta: float) -> MudIknn:
    made.beta = beta
    return made


def test_the_map_module_takes_the_place_of_csrnets_output() -> None:
    """A drop-in replacement: CSRNet's encoder and back end, the ikNN map of one module, and its count."""
    torch.manual_seed(0)
    made = MudIknn(features="csrnet")
    ours = sum(p.numel() for p in made.parameters())
    with torch.device("meta"):
        theirs = sum(p.numel() for p in CSRNet().parameters())
    assert ours == theirs - 65 + 31_834 == 16_295_258
    images = torch.rand(1, 3, 100, 120)
    targets = made.targets(np.array([[20.5, 30.5], [60.5, 70.5]]), (120, 100))
    loss = made.loss(images, {name: torch.from_numpy(value)[None] for name, value in targets.items()})
    loss.backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in made.parameters())
    with torch.no_grad():
        counts, maps = made(torch.rand(1, 3, 224, 224))
    assert (counts.shape, maps.shape) == ((1,), (1, 1, 224, 224))
