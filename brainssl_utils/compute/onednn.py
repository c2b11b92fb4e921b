"""Convolutions on tensors in oneDNN's own layout, the library behind PyTorch's convolutions on CPUs."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules import module as torch_module

from brainssl_utils.compute import hardware

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def convolve(layers: nn.Sequential, images: Tensor) -> Tensor:
    """Send images (B, C, H, W) through convolutions, ReLUs and poolings: `layers(images)`, in the fastest layout.

    oneDNN pools and applies ReLU several times faster than PyTorch does, but only to tensors in its own layout; from the
    first layer to the last nothing need be put in order between. What is not known to come out the same there goes
    through `layers(images)` itself, with channels last, the order that convolutions read: any other layer or option,
    layers with hooks, other types of numbers, numbers that are not finite (oneDNN's ReLU makes zeros of NaN, which would
    hide that a training fell apart), and images that ask for a gradient, since oneDNN has first derivatives alone.
    """
    cast = torch.is_autocast_enabled(images.device.type)
    dtype = torch.get_autocast_dtype(images.device.type) if cast else images.dtype
    inputs = {torch.float32, dtype} if cast else {dtype}
    if not (_takes_numbers(dtype) and _takes_images(images, inputs) and _takes_layers(layers, inputs)):
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


def _takes_numbers(dtype: torch.dtype) -> bool:
    """Whether this machine computes in oneDNN's layout, and in this type; `torch.backends.mkldnn` can switch it off."""
    taken = dtype == torch.float32 or (dtype == torch.bfloat16 and hardware.has_fast_bfloat16())
    return taken and hardware.has_onednn_layout() and bool(torch.backends.mkldnn.enabled)


def _takes_images(images: Tensor, inputs: set[torch.dtype]) -> bool:
    known = images.device.type == "cpu" and images.ndim == 4 and images.dtype in inputs and not images.requires_grad
    return known and images.numel() > 0 and _is_finite(images)


def _takes_layers(layers: nn.Sequential, inputs: set[torch.dtype]) -> bool:
    """Whether all layers are of the kinds that `tests/compute/test_onednn.py` finds equal; the first is a convolution."""
    known = type(layers) is nn.Sequential and len(layers) > 0 and type(layers[0]) is nn.Conv2d
    return (
        known
        and all(_is_known(layer) for layer in layers)
        and not any(_is_watched(module) for module in (layers, *layers))
        and all(one.dtype in inputs and _is_finite(one) for one in layers.parameters())
    )


def _is_known(layer: nn.Module) -> bool:
    """Whether oneDNN has this very layer; a subclass may do anything (a parametrised layer is one)."""
    if type(layer) is nn.Conv2d:
        return layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
    if type(layer) is nn.MaxPool2d:
        return layer.dilation in (1, (1, 1)) and not layer.return_indices
    return type(layer) is nn.ReLU and not layer.inplace


def _is_watched(module: nn.Module) -> bool:
    """Whether more happens at a call than `forward` of its class: hooks, of all modules or its own, or another forward."""
    everywhere = any(getattr(torch_module, f"_global{kind}") for kind in _HOOKS)
    return everywhere or any(getattr(module, kind) for kind in _HOOKS) or "forward" in vars(module)


def _is_finite(values: Tensor) -> bool:
    """Whether all values are finite (or, in a sum too large for their type, perhaps not): a pass over them, no more."""
    return math.isfinite(values.detach().sum().item())


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
