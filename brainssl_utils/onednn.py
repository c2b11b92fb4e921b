"""Convolutions on tensors in oneDNN's own layout, the library behind PyTorch's convolutions on CPUs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from brainssl_utils import hardware


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
    maps, fused = images.to(dtype).to_mkldnn(), False
    for layer, following in zip(layers, [*list(layers)[1:], None]):
        if isinstance(layer, nn.Conv2d):  # nn.Conv2d itself does not take bfloat16 in this layout
            weight, bias = layer.weight.to(dtype), None if layer.bias is None else layer.bias.to(dtype)
            padding: Any = layer.padding
            fused = isinstance(following, nn.ReLU)
            convolution = _ConvolutionReLU.apply if fused else torch.mkldnn_convolution
            maps = convolution(maps, weight, bias, padding, layer.stride, layer.dilation, layer.groups)
        elif not fused:
            maps = layer(maps)
        else:
            fused = False  # this ReLU is done
    return maps.to_dense()


class _ConvolutionReLU(torch.autograd.Function):
    """A convolution whose sums become ReLU's values before they are written: a pass over the largest maps less."""

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
        output = torch.ops.mkldnn._convolution_pointwise(
            maps, weight, bias, padding, stride, dilation, groups, "relu", [], ""
        )
        ctx.save_for_backward(maps, weight, output)
        ctx.bias, ctx.settings = bias is not None, (stride, padding, dilation, False, [0, 0], groups)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        maps, weight, output = ctx.saved_tensors
        gradient = torch.ops.aten.threshold_backward(gradient, output, 0)
        width = [len(weight)] if ctx.bias else None
        found = torch.ops.aten.convolution_backward(
            gradient, maps, weight, width, *ctx.settings, ctx.needs_input_grad[:3]
        )
        return (*found, None, None, None, None)
