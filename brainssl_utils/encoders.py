"""Encoders by name, and any network of the user's own as an encoder."""

from __future__ import annotations

import copy
import inspect
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from brainssl_utils import own, validity
from brainssl_utils.checks import check_number
from brainssl_utils.errors import CourseError
from brainssl_utils.networks import Encoder, PaperEncoder, ReferenceEncoder

ENCODERS: dict[str, type[PaperEncoder | ReferenceEncoder]] = {"paper": PaperEncoder, "reference": ReferenceEncoder}

SIZES = (96, 64, 32)
"""Image sizes at which an encoder that does not name one is tried, in this order."""


class OwnEncoder(Encoder):
    """Any network as an encoder: (B, 1, S, S) in 0..1 -> (B, D) or (B, C, H, W), which is flattened.

    What the course must know of it is found by a trial on two images, on a copy in evaluation mode. Its weights are saved
    under the network's own names.

    Args:
        network: the network; it is trained in place.
        image_size: side of the images it takes, pixels; default the network's own `image_size`, else the first of `SIZES`
            that it takes.
        made: the class or function that made it, with its arguments; None for a network that was handed over.

    Attributes:
        name: "package.module:Name" of what made it, of its class where it was handed over.
        settings: the arguments it was made with, if any, and a key of its source and layers.

    Raises:
        CourseError: it cannot be copied, does not take the images, or gives no features.
    """

    def __init__(self, network: nn.Module, image_size: int | None = None, made: own.Own | None = None) -> None:
        super().__init__()
        self.network = network
        self.name = made.path if made else own.path_of(type(network))
        arguments = {"encoder_arguments": dict(made.arguments)} if made and made.arguments else {}
        self.settings = {**arguments, "encoder_code": _code(network, made)}
        self.image_size, output = self._tried(image_size or getattr(network, "image_size", None))
        self.out_dim = output[1:].numel()
        named = getattr(network, "map_shape", None)
        self.map_shape = output[1:] if len(output) == 4 else named

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images).flatten(1)

    def maps(self, images: Tensor) -> Tensor:
        if self.map_shape is None:
            raise CourseError(f"encoder {self.name} has no feature maps: it gives flat features.")
        return self.network(images)

    def _tried(self, size: int | None) -> tuple[int, torch.Size]:
        """Return the image size and the shape of what comes out of two such images."""
        if size is not None:
            check_number("image_size", size, at_least=1, whole=True)
        refused = ""
        for side in (size,) if size else SIZES:
            try:
                return side, self._output(side)
            except CourseError as error:
                refused = refused or str(error)
        raise CourseError(refused)

    def _output(self, side: int) -> torch.Size:
        images = torch.zeros(2, 1, side, side)
        wanted = "An encoder maps images (B, 1, S, S) to features (B, D) or maps (B, C, H, W)"
        try:
            trial = copy.deepcopy(self.network).cpu().eval()
            with torch.random.fork_rng(devices=[]), torch.inference_mode():
                output = trial(images)
        except Exception as error:  # a network may raise anything
            raise CourseError(
                f"encoder {self.name} fails on images {tuple(images.shape)}: {type(error).__name__}: {error}. {wanted}; of a "
                "network for colours, replace the first convolution by one that reads a single channel."
            ) from error
        if (
            not isinstance(output, Tensor)
            or output.ndim not in (2, 4)
            or len(output) != 2
            or not output.is_floating_point()
        ):
            got = f"{output.dtype} {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
            raise CourseError(f"encoder {self.name} gives {got} for images {tuple(images.shape)}. {wanted}.")
        return output.shape

    # Weights under the network's own names: "encoder.conv1.weight", not "encoder.network.conv1.weight".

    def state_dict(self, *, destination: Any = None, prefix: str = "", keep_vars: bool = False) -> Any:
        return self.network.state_dict(destination=destination, prefix=prefix, keep_vars=keep_vars)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        for name in [name for name in state_dict if name.startswith(prefix)]:
            state_dict[f"{prefix}network.{name[len(prefix) :]}"] = state_dict.pop(name)
        super()._load_from_state_dict(state_dict, prefix, *rest)


def _code(network: nn.Module, made: own.Own | None) -> str:
    """Key of what a network computes, weights aside: sources of its classes, its layers, the plain values they hold."""
    parts = [part for part in network.modules() if not type(part).__module__.startswith("torch.")]
    targets = list(dict.fromkeys([*([made.target] if made else []), *map(type, parts)]))
    values = {
        f"{place}.{name}": value
        for place, part in network.named_modules()
        for name, value in vars(part).items()
        if not name.startswith("_") and name != "training" and isinstance(value, bool | int | float | str)
    }
    sources = validity.code_key(*map(own.source_of, targets))
    return validity.digest(sources, str(network), values)


def as_encoder(network: nn.Module) -> Encoder:
    """Return one of the course's encoders as it is, any other network as an `OwnEncoder`.

    Raises:
        CourseError: it is no network, or cannot be an encoder (see `OwnEncoder`).
    """
    if isinstance(network, Encoder) and _is_ready(network):
        return network
    if not isinstance(network, nn.Module):
        raise CourseError(f"encoder is {network!r}: expected a network (torch.nn.Module).")
    return OwnEncoder(network)


def _is_ready(encoder: Encoder) -> bool:
    return isinstance(encoder, OwnEncoder) or type(encoder) in ENCODERS.values()


def make_encoder(encoder: Any, image_size: int = 96, arguments: Mapping[str, Any] | None = None) -> Encoder:
    """Return an encoder, freshly initialised.

    Args:
        encoder: "paper", "reference", or "paper+256-128-64", the paper's with dense layers behind it; or one of the user's
            own (see `OwnEncoder`): a network, a class or function that makes one, a `functools.partial` of that, or its
            path "package.module:Name". A class or function that has a parameter `image_size` is given it.
        image_size: side of the images it takes, pixels.
        arguments: keyword arguments it is made with.

    Raises:
        CourseError: no encoder has that name, it cannot be made, or it does not take images of that size.
    """
    if isinstance(encoder, str) and encoder in ENCODERS:
        return ENCODERS[encoder](image_size, **(arguments or {}))
    if isinstance(encoder, str) and re.fullmatch(r"paper\+[0-9]+(-[0-9]+)*", encoder):
        widths = [int(width) for width in encoder.partition("+")[2].split("-")]
        return PaperEncoder(image_size, **{**(arguments or {}), "dense_widths": widths})
    if encoder is None or (isinstance(encoder, str) and ":" not in encoder):
        raise CourseError(
            f"unknown encoder {encoder!r}. Choose one of: {', '.join(ENCODERS)}, paper+256-128-64; or give one of your "
            "own: a network, or 'package.module:Class'."
        )
    if isinstance(encoder, Encoder) and _is_ready(encoder):
        return encoder
    if isinstance(encoder, nn.Module):
        return OwnEncoder(encoder, image_size)
    taken = own.take(encoder, "encoder")
    made = own.Own(taken.target, {**taken.arguments, **(arguments or {})})
    sized = {"image_size": image_size} if _takes_image_size(made) else {}
    try:
        network = own.Own(made.target, {**sized, **made.arguments}).bound()()
    except CourseError:
        raise
    except Exception as error:  # the user's code may raise anything
        raise CourseError(f"encoder {made.path} cannot be made: {type(error).__name__}: {error}.") from error
    if not isinstance(network, nn.Module):
        raise CourseError(f"encoder {made.path} made a {type(network).__name__}: expected a network (torch.nn.Module).")
    return OwnEncoder(network, image_size, made)


def _takes_image_size(made: own.Own) -> bool:
    try:
        return "image_size" in inspect.signature(made.target).parameters
    except (TypeError, ValueError):
        return False
