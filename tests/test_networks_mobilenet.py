"""MobileNet under its published names, torchvision's and timm's."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gigacount.errors import WeightsError
from gigacount.networks.backbones import ConvUnit, MobileNetV1, MobileNetV2, fold, timm_layers, torchvision_layers
from gigacount.networks.base import load_matching
from gigacount.networks.light import Light

# (conv, batch norm, output channels, input channels of a group, kernel) of the first layers, and some later ones,
# from torchvision's and timm's code.
TORCHVISION = [
    ("features.0.0", "features.0.1", 32, 3, 3),
    ("features.1.conv.0.0", "features.1.conv.0.1", 32, 1, 3),
    ("features.1.conv.1", "features.1.conv.2", 16, 32, 1),
    ("features.2.conv.0.0", "features.2.conv.0.1", 96, 16, 1),
    ("features.2.conv.1.0", "features.2.conv.1.1", 96, 1, 3),
    ("features.2.conv.2", "features.2.conv.3", 24, 96, 1),
    ("features.17.conv.2", "features.17.conv.3", 320, 960, 1),
]
TIMM = [
    ("conv_stem", "bn1", 32, 3, 3),
    ("blocks.0.0.conv_dw", "blocks.0.0.bn1", 32, 1, 3),
    ("blocks.0.0.conv_pw", "blocks.0.0.bn2", 16, 32, 1),
    ("blocks.1.0.conv_pw", "blocks.1.0.bn1", 96, 16, 1),
    ("blocks.1.0.conv_dw", "blocks.1.0.bn2", 96, 1, 3),
    ("blocks.1.0.conv_pwl", "blocks.1.0.bn3", 24, 96, 1),
    ("blocks.6.0.conv_pwl", "blocks.6.0.bn3", 320, 960, 1),
]
PLACES = [0, 1, 2, 3, 4, 5, 50]  # of those layers among all 51


def pretrained(layers: list[tuple[str, str]]) -> dict[str, Tensor]:
    """A MobileNetV2 state dict with batch norms under these names, in no order, and a classifier."""
    torch.manual_seed(0)
    ours = [tensor for name, tensor in MobileNetV2().state_dict().items() if name.endswith(".weight")]
    state = {"classifier.weight": torch.rand(3, 3)}
    for (conv, norm), weight in reversed(list(zip(layers, ours, strict=True))):
        state[f"{conv}.weight"] = torch.randn_like(weight)
        for part in ("weight", "bias", "running_mean", "running_var"):
            state[f"{norm}.{part}"] = torch.rand(len(weight)) + 0.5
        state[f"{norm}.num_batches_tracked"] = torch.tensor(1)
    return state


@pytest.mark.parametrize(("layers", "known"), [(torchvision_layers, TORCHVISION), (timm_layers, TIMM)])
def test_mobilenet_v2_loads_torchvisions_and_timms_state_dicts(layers: object, known: list[tuple[object, ...]]) -> None:
    names = list(layers())  # type: ignore[operator]
    assert [names[place] for place in PLACES] == [row[:2] for row in known]
    state = pretrained(names)
    for conv, _, out, per_group, kernel in known:
        assert state[f"{conv}.weight"].shape == (out, per_group, kernel, kernel)
    made = Light()
    made.load_backbone(state)
    weight, bias = fold(state, *names[50])
    assert torch.equal(made.encoder.get_parameter("50.conv.weight"), weight)
    assert torch.equal(made.encoder.get_parameter("50.conv.bias"), bias)


def test_a_folded_batch_norm_does_what_it_did() -> None:
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(4).eval()
    norm.load_state_dict({name: torch.rand_like(t.float()) + 0.5 for name, t in norm.state_dict().items()})
    state = {"conv.weight": torch.randn(4, 3, 3, 3)} | {f"norm.{name}": t for name, t in norm.state_dict().items()}
    images = torch.randn(1, 3, 8, 8)
    expected = norm(F.conv2d(images, state["conv.weight"]))
    torch.testing.assert_close(F.conv2d(images, *fold(state, "conv", "norm")), expected)


def test_what_a_mobilenet_file_lacks_is_named() -> None:
    state = pretrained(list(torchvision_layers()))
    with pytest.raises(WeightsError, match=r"50\.conv\.weight is missing"):
        Light().load_backbone({name: t for name, t in state.items() if name != "features.17.conv.2.weight"})
    del state["features.3.conv.1.1.running_var"]
    with pytest.raises(WeightsError, match=r"features\.3\.conv\.1\.1\.running_var is missing"):
        Light().load_backbone(state)


def test_googles_arrays_are_ours() -> None:
    state = MobileNetV2().state_dict()
    assert MobileNetV2.rename_published(state).keys() == state.keys()
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    assert shapes["00.conv.weight"] == (32, 3, 3, 3)
    assert shapes["01.dw.weight"] == (32, 1, 3, 3)
    assert shapes["50.conv.weight"] == (320, 960, 1, 1)
    assert len(shapes) == 2 * 51


V1_CHANNELS = (32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)


def mobilenet_v1_state(timm: bool) -> dict[str, Tensor]:
    """What the usual `model.N.M` checkpoint or timm's `mobilenetv1_100` holds, by names and shapes."""
    convs = [("conv_stem", "bn1") if timm else ("model.0.0", "model.0.1")]
    shapes = [(32, 3, 3, 3)]
    blocks = [(stage, repeat) for stage, repeats in enumerate((1, 2, 2, 6, 2)) for repeat in range(repeats)]
    for block, (stage, repeat) in enumerate(blocks, start=1):
        at, before, out = f"blocks.{stage}.{repeat}", V1_CHANNELS[block - 1], V1_CHANNELS[block]
        convs += (
            [(f"{at}.conv_dw", f"{at}.bn1"), (f"{at}.conv_pw", f"{at}.bn2")]
            if timm
            else [(f"model.{block}.0", f"model.{block}.1"), (f"model.{block}.3", f"model.{block}.4")]
        )
        shapes += [(before, 1, 3, 3), (out, before, 1, 1)]
    state = {"classifier.weight" if timm else "fc.weight": torch.rand(3, 3)}
    for (conv, norm), shape in zip(convs, shapes, strict=True):
        state[f"{conv}.weight"] = torch.rand(shape)
        state |= {f"{norm}.{part}": torch.rand(shape[0]) for part in ("weight", "bias", "running_mean", "running_var")}
        state[f"{norm}.num_batches_tracked"] = torch.tensor(7)
    return state


@pytest.mark.parametrize("timm", [False, True])
def test_mobilenet_v1_loads_published_state_dicts(timm: bool) -> None:
    made, state = MobileNetV1(), mobilenet_v1_state(timm)
    load_matching(made, made.rename_published(state))
    assert len(made.state_dict()) == len(state) - 1  # all but the classifier
    last = state["blocks.4.1.conv_pw.weight" if timm else "model.13.3.weight"]
    assert torch.equal(made.get_parameter("model.13.3.weight"), last)


def test_mobilenet_v1_has_the_parameters_and_features_of_the_paper() -> None:
    made = MobileNetV1().eval()
    assert sum(p.numel() for p in made.parameters()) == 4_231_976 - 1_025_000  # without the classifier
    with torch.no_grad():
        features = made(torch.randn(1, 3, 64, 96))
    assert [tuple(f.shape[1:]) for f in features] == [(128, 16, 24), (256, 8, 12), (512, 4, 6), (1024, 2, 3)]
    assert tuple(f.shape[1] for f in features) == made.out_channels


def test_mobilenet_v2_pads_as_tensorflow_does() -> None:
    """On the right and bottom only where the stride is 2: computed here by hand, on the upright picture."""
    torch.manual_seed(0)
    network, x = MobileNetV2().eval(), torch.rand(2, 3, 64, 96)

    def unit(module: nn.Module, x: Tensor) -> Tensor:
        assert isinstance(module, ConvUnit)
        conv = module.get_submodule(module.kind)
        assert isinstance(conv, nn.Conv2d)
        if conv.kernel_size == (3, 3):
            x = F.pad(x, (0, 1, 0, 1) if conv.stride == (2, 2) else (1, 1, 1, 1))
        x = F.conv2d(x, conv.weight, conv.bias, conv.stride, groups=conv.groups)
        return x if module.linear else x.clamp(0, 6)

    expected, y = [], unit(network.get_submodule(network.stem), x)
    for names, residual in zip(network.blocks, network.residual, strict=True):
        z = y
        for name in names:
            z = unit(network.get_submodule(name), z)
        y = y + z if residual else z
        expected.append(y)
    for features in network(x):
        assert any(features.shape == other.shape and torch.allclose(features, other, atol=1e-5) for other in expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_fused_unit_does_what_the_separate_one_does(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    unit, x = ConvUnit((8, 8), 3, 2, "dw").to(dtype), 9 * torch.randn(1, 8, 30, 50).to(dtype)
    separate = unit(x)  # with gradients, so not fused
    with torch.inference_mode():
        fused = unit(x)
    assert {0.0, 6.0} < set(separate.flatten().tolist())
    assert torch.allclose(separate, fused, atol=1e-6 if dtype == torch.float32 else 0.05)


def test_a_strided_unit_is_trained_as_it_counts() -> None:
    """In training all positions are computed, every other kept: values and gradients of a strided convolution."""
    torch.manual_seed(0)
    unit = ConvUnit((6, 6), 3, 2, "dw", linear=False)
    conv = unit.get_submodule("dw")
    assert isinstance(conv, nn.Conv2d)
    x = torch.randn(2, 6, 12, 16).contiguous(memory_format=torch.channels_last).requires_grad_()
    (unit(x) ** 2).sum().backward()
    gradients = [x.grad, conv.weight.grad]
    x.grad = conv.weight.grad = None
    expected = F.relu6(F.conv2d(x, conv.weight.flip(-2, -1), conv.bias, 2, 1, groups=6))
    (expected**2).sum().backward()
    for one, other in zip(gradients, (x.grad, conv.weight.grad), strict=True):
        assert one is not None
        assert other is not None
        assert torch.allclose(one, other, atol=1e-4)
    assert torch.allclose(unit.eval()(x), expected, atol=1e-5)
