"""Depthwise convolution that trains at a bearable speed on processors, and counts without delay on a GPU.

Two of its three passes are slow in PyTorch on processors, for want of a kernel in oneDNN: the gradient of weights wider
than three columns takes ten times as long as that of three, and the gradient of a strided input five times as long as
that of one that is not strided. Both are put as passes that are fast; on a GPU PyTorch's own are.

On a GPU it is cuDNN that is slow to begin: it takes a tenth of a second for every depthwise layer and every new size of
window (H100, cuDNN 9.19), 2.2 s for EfficientNet-Lite2, and then saves 6 ms a window.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.grad import conv2d_weight

COLUMNS = 3  # of a kernel that oneDNN has a fast gradient for


class DepthwiseConv(torch.autograd.Function):
    """(B, C, H, W), weights (C, 1, k, k) with k odd, bias (C,) -> (B, C, H / stride, W / stride).

    stride: 1 or 2, whose sides are even. TensorFlow's padding: (k - stride) // 2 before, the rest behind.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, stride: int) -> Tensor:
        ctx.stride = stride
        ctx.save_for_backward(x, weight)
        side = weight.shape[-1] // 2
        if stride == 2:
            weight, side = F.pad(weight, (2, 0, 2, 0)), side + 1
        return F.conv2d(x, weight, bias, stride, side, groups=x.shape[1])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor, Tensor, None]:
        x, weight = ctx.saved_tensors
        gradient = gradients[0].contiguous(memory_format=torch.channels_last)
        x, w = x.to(gradient.dtype), weight.to(gradient.dtype)
        towards_x = input_gradient(gradient, w, ctx.stride) if ctx.needs_input_grad[0] else None
        towards_weight = weight_gradient(x, gradient, w.shape[-1], ctx.stride).to(weight.dtype)
        return towards_x, towards_weight, gradient.sum((0, 2, 3), dtype=weight.dtype), None


def counting_on_gpu(x: Tensor) -> bool:
    """Whether `x` is on a GPU and needs no gradient."""
    return x.device.type == "cuda" and not torch.is_grad_enabled()


def untuned(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int) -> Tensor:
    """A convolution, depthwise where `weight` is (C, 1, k, k) of several channels, with little to set up for a size."""
    kernel, depthwise = weight.shape[-1], weight.shape[1] == 1
    if kernel == 1 and stride == 1 and not depthwise:  # a matrix product adds the bias on the way; cuDNN does not
        return F.linear(x.permute(0, 2, 3, 1), weight.flatten(1), bias).permute(0, 3, 1, 2)
    with torch.backends.cudnn.flags(enabled=not depthwise, allow_tf32=torch.backends.cudnn.allow_tf32):
        return F.conv2d(x, weight, bias, stride, padding, groups=x.shape[1] if depthwise else 1)


def input_gradient(gradient: Tensor, weight: Tensor, stride: int) -> Tensor:
    """A convolution of the gradient, with zeros between where the stride is 2, by the turned kernel."""
    turned, side = weight.flip(2, 3), weight.shape[-1] // 2
    if stride == 2:
        batch, channels, rows, cols = gradient.shape
        spread = gradient.new_zeros(batch, 2 * rows, 2 * cols, channels).permute(0, 3, 1, 2)  # channels-last
        spread[:, :, ::2, ::2] = gradient
        gradient, turned, side = spread, F.pad(turned, (0, 2, 0, 2)), side + 1
    return F.conv2d(gradient, turned, None, 1, side, groups=gradient.shape[1])


def weight_gradient(x: Tensor, gradient: Tensor, kernel: int, stride: int) -> Tensor:
    """(C, 1, k, k), as overlapping strips of three columns."""
    channels, (rows, cols) = x.shape[1], gradient.shape[2:]
    before = (kernel - stride) // 2
    height, width = stride * (rows - 1) + kernel, stride * (cols - 1) + COLUMNS
    behind = height - before - x.shape[2]
    found = gradient.new_empty(channels, 1, kernel, kernel)
    for first in range(0, kernel - 1, COLUMNS - 1):
        left = before - first
        strip = F.pad(x, (left, width - left - x.shape[3], before, behind))
        size = channels, 1, kernel, COLUMNS
        found[:, :, :, first : first + COLUMNS] = conv2d_weight(  # type: ignore[no-untyped-call]
            strip, size, gradient, stride, groups=channels
        )
    return found
