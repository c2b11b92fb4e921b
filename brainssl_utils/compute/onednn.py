"""Convolutions on tensors in oneDNN's own layout, the library behind PyTorch's convolutions on CPUs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from brainssl_utils.compute import hardware


def convolve(layers: nn.Sequential, images: Tensor) -> Tensor:
    """Send images (B, C, H, W) through convolutions, ReLUs and poolings: `layers(images)`, in the fastest layout.

    oneDNN pools and applies ReLU several times faster than PyTorch does, but only to tensors in its own layout; from the
    first layer to the last nothing need be put in order between. Elsewhere, and for types that oneDNN does not take,
    channels lie last, the order that convolutions read. Hooks on single layers are called for poolings only;
    `layers(images)` calls them all.
    """
    cast = torch.is_autocast_enabled(images.device.type)
    dtype = torch.get_autocast_dtype(images.device.type) if cast else images.dtype
    taken = dtype == torch.float32 or (dtype == torch.bfloat16 and hardware.has_fast_bfloat16())
    if not (hardware.has_onednn_layout() and images.device.type == "cpu" and taken and len(images)):
        return layers(images.contiguous(memory_format=torch.channels_last))
    maps, steps = images.to(dtype).to_mkldnn(), list(layers)
    relu = None
    for place, layer in enumerate(steps):
        if isinstance(layer, nn.Conv2d):  # nn.Conv2d itself does not take bfloat16 in this layout
            relu = _relu_after(steps[place + 1 :])
            weight, bias = layer.weight.to(dtype), None if layer.bias is None else layer.bias.to(dtype)
            padding: Any = layer.padding
            convolution = torch.mkldnn_convolution if relu is None else _RectifiedConvolution.apply
            maps = convolution(maps, weight, bias, padding, layer.stride, layer.dilation, layer.groups)
        elif layer is relu:
            maps = _ReLUGradient.apply(maps)
        else:
            maps = layer(maps)
    return maps.to_dense()


def _relu_after(layers: list[nn.Module]) -> nn.ReLU | None:
    """The ReLU that follows at once or after poolings: the greatest of four values is rectified whenever they are."""
    for layer in layers:
        if not isinstance(layer, nn.MaxPool2d):
            return layer if isinstance(layer, nn.ReLU) else None
    return None


class _RectifiedConvolution(torch.autograd.Function):
    """A convolution whose sums become ReLU's values before they are written: a pass over the largest maps less.

    The gradient is that of the convolution alone; ReLU's is `_ReLUGradient`, which stands where the ReLU stood.
    """

    @staticmethod
    def forward(
        ctx: Any,
        maps: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        padding: Any,
        stride: Any,
        dilation: Any,
        groups: int,
    ) -> Tensor:
        ctx.save_for_backward(maps, weight)
        ctx.bias, ctx.settings = bias is not None, (stride, padding, dilation, False, [0, 0], groups)
        return torch.ops.mkldnn._convolution_pointwise(
            maps, weight, bias, padding, stride, dilation, groups, "relu", [], ""
        )

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        maps, weight = ctx.saved_tensors
        width = [len(weight)] if ctx.bias else None
        found = torch.ops.aten.convolution_backward(
            gradient, maps, weight, width, *ctx.settings, ctx.needs_input_grad[:3]
        )
        return (*found, None, None, None, None)


class _ReLUGradient(torch.autograd.Function):
    """Values that are rectified already, unchanged; their gradient is ReLU's."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor) -> Tensor:
        ctx.save_for_backward(maps)
        return maps.detach()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (maps,) = ctx.saved_tensors
        return torch.ops.aten.threshold_backward(gradient, maps, 0)
