"""EfficientNet-Lite2 under its published names, its padding, and depthwise convolutions that train as PyTorch's."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gigacount.errors import WeightsError
from gigacount.networks.efficientnet import ConvUnit, DepthwiseConv, EfficientNetLite2, fold, published_layer
from gigacount.networks.light import Light

# (name here, convolution, batch norm, shape of the weights), from the package's code.
PUBLISHED = [
    ("stem", "_conv_stem", "_bn0", (32, 3, 3, 3)),
    ("blocks.0.depthwise", "_blocks.0._depthwise_conv", "_blocks.0._bn1", (32, 1, 3, 3)),
    ("blocks.0.project", "_blocks.0._project_conv", "_blocks.0._bn2", (16, 32, 1, 1)),
    ("blocks.1.expand", "_blocks.1._expand_conv", "_blocks.1._bn0", (96, 16, 1, 1)),
    ("blocks.4.depthwise", "_blocks.4._depthwise_conv", "_blocks.4._bn1", (144, 1, 5, 5)),
    ("blocks.20.project", "_blocks.20._project_conv", "_blocks.20._bn2", (352, 1248, 1, 1)),
]


def published() -> dict[str, Tensor]:
    """A state dict with batch norms under the package's names, and what stands behind the features."""
    torch.manual_seed(0)
    state = {"_fc.weight": torch.rand(3, 3), "_bn1.weight": torch.rand(3)}
    for name, tensor in EfficientNetLite2().state_dict().items():
        if name.endswith(".weight"):
            conv, norm = published_layer(name.removesuffix(".conv.weight"))
            state[f"{conv}.weight"] = torch.randn_like(tensor)
            state |= {
                f"{norm}.{part}": torch.rand(len(tensor)) + 0.5
                for part in ("weight", "bias", "running_mean", "running_var")
            }
    return state


def test_published_weights_are_loaded_with_their_batch_norms_folded() -> None:
    state, made = published(), Light()
    made.load_backbone(state)
    for name, conv, norm, shape in PUBLISHED:
        assert state[f"{conv}.weight"].shape == shape
        weight, bias = fold(state, conv, norm)
        assert torch.equal(made.encoder.get_parameter(f"{name}.conv.weight"), weight)
        assert torch.equal(made.encoder.get_parameter(f"{name}.conv.bias"), bias)


def test_what_a_published_file_lacks_is_named() -> None:
    state = published()
    with pytest.raises(WeightsError, match=r"blocks\.20\.project\.conv\.weight is missing"):
        Light().load_backbone({name: t for name, t in state.items() if name != "_blocks.20._project_conv.weight"})
    del state["_blocks.3._bn1.running_var"]
    with pytest.raises(WeightsError, match=r"_blocks\.3\._bn1\.running_var is missing"):
        Light().load_backbone(state)


def test_a_folded_batch_norm_does_what_it_did() -> None:
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(4, eps=1e-3).eval()
    norm.load_state_dict({name: torch.rand_like(t.float()) + 0.5 for name, t in norm.state_dict().items()})
    state = {"conv.weight": torch.randn(4, 3, 3, 3)} | {f"norm.{name}": t for name, t in norm.state_dict().items()}
    images = torch.randn(1, 3, 8, 8)
    expected = norm(F.conv2d(images, state["conv.weight"]))
    torch.testing.assert_close(F.conv2d(images, *fold(state, "conv", "norm")), expected)


def test_its_features_have_the_published_strides_and_channels() -> None:
    made = EfficientNetLite2().eval()
    with torch.no_grad():
        features = made(torch.randn(1, 3, 64, 96))
    assert [tuple(f.shape[1:]) for f in features] == [(24, 16, 24), (48, 8, 12), (120, 4, 6), (352, 2, 3)]
    assert tuple(f.shape[1] for f in features) == made.out_channels


def padded_as_tensorflow(unit: ConvUnit, x: Tensor) -> Tensor:
    """What the unit should do: k - stride rows and columns of zeros in all, the odd one on the right and bottom."""
    conv = unit.conv
    more = conv.kernel_size[0] - conv.stride[0] if conv.kernel_size[0] > 1 else 0
    x = F.pad(x, (more // 2, more - more // 2, more // 2, more - more // 2))
    x = F.conv2d(x, conv.weight, conv.bias, conv.stride, groups=conv.groups)
    return x if unit.linear else x.clamp(0, 6)


@pytest.mark.parametrize("learning", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 1), (5, 1), (3, 2), (5, 2)])
def test_a_unit_pads_and_cuts_off_as_tensorflow_does(
    kernel: int, stride: int, depthwise: bool, dtype: torch.dtype, learning: bool
) -> None:
    """Whether it is one operation of oneDNN, when counting, or several, when learning."""
    torch.manual_seed(0)
    unit, x = ConvUnit((8, 8), kernel, stride, depthwise).to(dtype), 4 * torch.randn(2, 8, 30, 50).to(dtype)
    with torch.set_grad_enabled(learning):
        found, expected = unit(x), padded_as_tensorflow(unit, x)
    assert {0.0, 6.0} < set(found.flatten().tolist())
    assert torch.allclose(found, expected, atol=1e-5 if dtype == torch.float32 else 0.05)


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_depthwise_convolution_has_pytorchs_gradients(kernel: int, stride: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 16, 12, 20, dtype=torch.float64).contiguous(memory_format=torch.channels_last)
    inputs = [x, torch.randn(16, 1, kernel, kernel, dtype=torch.float64), torch.randn(16, dtype=torch.float64)]
    for tensor in inputs:
        tensor.requires_grad_()
    more = kernel - stride
    padded = F.pad(x, (more // 2, more - more // 2, more // 2, more - more // 2))
    expected = F.conv2d(padded, *inputs[1:], stride, groups=16)
    found = DepthwiseConv.apply(*inputs, stride)
    towards = torch.randn_like(expected)
    torch.testing.assert_close(found, expected)
    for one, other in zip(
        torch.autograd.grad(found, inputs, towards), torch.autograd.grad(expected, inputs, towards), strict=True
    ):
        torch.testing.assert_close(one, other)
