"""VGG-16 under torchvision's names, and CSRNet on top of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from network_cases import network, pictures
from torch import Tensor, nn

from gigacount.errors import UsageError, WeightsError
from gigacount.networks.backends.torch import fold_batch_norms
from gigacount.networks.base import load_matching
from gigacount.networks.csrnet import CSRNet
from gigacount.networks.mcnn import MCNN
from gigacount.networks.sasnet import SASNet
from gigacount.networks.vgg import VGG16

# Indices of the convolutions in torchvision's `features`, without and with batch norm.
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


def test_a_fresh_vgg_hands_the_signal_on() -> None:
    """Nothing in it normalises, so ten layers that each lose a little would leave nothing to learn from."""
    torch.manual_seed(0)
    with torch.no_grad():
        features = VGG16(convs=10)(pictures(2, 64, 64))
    assert 0.5 < features.square().mean().sqrt() < 5


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


def test_csrnet_with_batch_norm_is_csrnet_in_use() -> None:
    """Encoder from a VGG with batch norm; folded, it has the paper's parameters and the same densities."""
    torch.manual_seed(0)
    made = CSRNet(batch_norm=True)
    made.load_backbone(torchvision_state(True))
    assert made.encoder.features[31].running_var.max() > 0
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.running_mean += torch.rand(module.num_features)
    images = torch.rand(1, 3, 64, 48)
    with torch.no_grad():
        before = made.eval()(images)
        folded = fold_batch_norms(made)
        assert sum(p.numel() for p in folded.parameters()) == 16_263_489
        assert (folded(images) - before).norm() < 1e-3 * before.norm()  # fresh weights: single cells cancel out
