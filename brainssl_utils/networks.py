"""The networks of the study: two encoders, a projection head, a classifier and a decoder; and encoders of the user's own.

Inputs are float images (B, 1, S, S) in 0..1; the study's encoders give features (B, out_dim) that are never
negative.
"""

from __future__ import annotations

import copy
import inspect
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from brainssl_utils import own, validity
from brainssl_utils.checks import check_number
from brainssl_utils.compute import onednn
from brainssl_utils.errors import CourseError


def initialise(module: nn.Module) -> None:
    """Draw weights as Keras does by default, as both published codes did: Glorot uniform, biases at zero.

    PyTorch's own default shrinks the signal at every ReLU layer; after six of them the projections of all images almost
    coincide, and the first dozens of steps go into undoing it.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def check_widths(widths: Sequence[int], least: int = 0) -> None:
    """Pass if `widths` is a list or tuple of `least` or more whole numbers from 1.

    Raises:
        CourseError: it is not.
    """
    if not isinstance(widths, list | tuple) or len(widths) < least:
        raise CourseError(
            f"widths is {widths!r}: it must be a list of layers' widths, {least} or more, as in (256, 128)."
        )
    for place, width in enumerate(widths):
        check_number(f"widths[{place}]", width, at_least=1, whole=True)


class Encoder(nn.Module):
    """An image encoder: `features` is the convolutional part, `out_dim` the width of what `forward` returns.

    Attributes:
        image_size: side of the images it takes, pixels.
        out_dim: D, the width of the flat features.
        map_shape: (channels, height, width) of the last feature map, for decoders and pictures; None where there is none.
        name: what records call it.
        settings: what else a record must know to build it again, as plain values: the arguments in which it differs from
            its defaults, under "encoder_arguments".
    """

    image_size: int
    out_dim: int
    map_shape: tuple[int, int, int] | None
    name: str
    settings: Mapping[str, Any] = {}
    features: nn.Sequential

    def maps(self, images: Tensor) -> Tensor:
        """Return the last feature map, `(B, *map_shape)`, of images (B, 1, S, S)."""
        return onednn.convolve(self.features, images)

    @property
    def about(self) -> dict[str, Any]:
        """All that a method's config says of it."""
        return {"encoder": self.name, "features": self.out_dim, "image_size": self.image_size, **self.settings}

    def check(self, divisor: int) -> None:
        """Refuse an image size that is no whole number from 1, or that `divisor` does not divide."""
        check_number("image_size", self.image_size, at_least=1, whole=True)
        if self.image_size % divisor:
            raise CourseError(
                f"image_size {self.image_size} does not fit this encoder: it must be a multiple of {divisor}."
            )


class PaperEncoder(Encoder):
    """The published study's encoder (its section 2.2.4): three times two 3x3 convolutions and 2x2 max-pooling, flattened.

    16, 32 and 64 filters; (B, 1, S, S) -> (B, 64 * (S/8)^2), 9216 features at 96 pixels. ReLU follows each convolution;
    where pooling comes next it is done first, which gives the same numbers (both are monotone) from a quarter of the work.

    Args:
        image_size: side of the images, pixels.
        widths: filters of each stage.
        dense_widths: fully connected layers after the flattening, each with ReLU; the study sends its features through
            three, of widths it does not give. () leaves the features flat.

    Raises:
        CourseError: the image size is no multiple of 8 (of 2 for each of `widths`), or a width is not a whole number from 1.
    """

    name = "paper"

    def __init__(
        self, image_size: int = 96, widths: Sequence[int] = (16, 32, 64), dense_widths: Sequence[int] = ()
    ) -> None:
        super().__init__()
        check_widths(widths, least=1)
        self.image_size = image_size
        self.check(2 ** len(widths))
        layers: list[nn.Module] = []
        for before, width in zip((1, *widths[:-1]), widths):
            layers += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1)]
            layers += [nn.MaxPool2d(2), nn.ReLU()]
        self.features = nn.Sequential(*layers)
        side = image_size // 2 ** len(widths)
        self.map_shape = (widths[-1], side, side)
        self.out_dim = widths[-1] * side**2
        self.dense = nn.Sequential()
        if dense_widths:
            self.dense = dense(self.out_dim, dense_widths, last_relu=True)
            self.out_dim = dense_widths[-1]
            self.name = f"paper+{'-'.join(map(str, dense_widths))}"
        if tuple(widths) != (16, 32, 64):
            self.settings = {"encoder_arguments": {"widths": [int(width) for width in widths]}}
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        return self.dense(self.maps(images).flatten(1))


class ReferenceEncoder(Encoder):
    """The public Keras reference's encoder: four 3x3 convolutions of stride 2, 128 filters, flatten, dense 128.

    (B, 1, S, S) -> (B, width). The three baselines of the published Table 2 most likely used it.

    Raises:
        CourseError: the image size is no multiple of 16, or the width is not a whole number from 1.
    """

    name = "reference"

    def __init__(self, image_size: int = 96, width: int = 128) -> None:
        super().__init__()
        check_number("width", width, at_least=1, whole=True)
        self.image_size, self.out_dim = image_size, width
        self.check(16)
        layers: list[nn.Module] = []
        for before in (1, width, width, width):
            layers += [nn.Conv2d(before, width, 3, stride=2, padding=1), nn.ReLU()]
        self.features = nn.Sequential(*layers)
        self.map_shape = (width, image_size // 16, image_size // 16)
        self.dense = nn.Sequential(nn.Linear(width * (image_size // 16) ** 2, width), nn.ReLU())
        if width != 128:
            self.settings = {"encoder_arguments": {"width": int(width)}}
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        return self.dense(self.maps(images).flatten(1))


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


def dense(in_dim: int, widths: Sequence[int], last_relu: bool) -> nn.Sequential:
    """Stack fully connected layers with ReLU between them, and after the last one if `last_relu`.

    Raises:
        CourseError: `in_dim` or a width is not a whole number from 1.
    """
    check_number("in_dim", in_dim, at_least=1, whole=True)
    check_widths(widths)
    layers: list[nn.Module] = []
    for before, width in zip((in_dim, *widths[:-1]), widths):
        layers += [nn.Linear(before, width), nn.ReLU()]
    return nn.Sequential(*(layers if last_relu else layers[:-1]))


class ProjectionHead(nn.Module):
    """Maps features (B, in_dim) to projections (B, out_dim), where the pretext loss is computed.

    The study's head is dense 256, 128, 64, each followed by ReLU; the reference's is dense 128, ReLU, dense 128.

    Raises:
        CourseError: there are no widths, or one is not a whole number from 1.
    """

    def __init__(self, in_dim: int, widths: Sequence[int] = (256, 128, 64), last_relu: bool = True) -> None:
        super().__init__()
        check_widths(widths, least=1)
        self.layers = dense(in_dim, widths, last_relu)
        self.out_dim = widths[-1]
        initialise(self)

    def forward(self, features: Tensor) -> Tensor:
        return self.layers(features)


class Classifier(nn.Module):
    """Maps features (B, in_dim) to class scores (B, n_classes): hidden layers of `widths` with ReLU, or one linear layer.

    The study's classifier is dense 256 and 128 with ReLU, then 4; the reference's probe is linear (`widths=()`).

    Raises:
        CourseError: a width or the number of classes is not a whole number from 1.
    """

    def __init__(self, in_dim: int, n_classes: int = 4, widths: Sequence[int] = (256, 128)) -> None:
        super().__init__()
        check_widths(widths)
        check_number("n_classes", n_classes, at_least=1, whole=True)
        self.layers = dense(in_dim, (*widths, n_classes), last_relu=False)
        initialise(self)

    def forward(self, features: Tensor) -> Tensor:
        return self.layers(features)


class Decoder(nn.Module):
    """Turns an encoder's last feature map back into images: (B, D) -> (B, 1, S, S), aimed at 0..1 but not bound to it.

    Each step doubles the side (nearest neighbour, then a 3x3 convolution, which leaves no checkerboard) and halves the
    channels, until the image's size is reached.

    Raises:
        CourseError: the encoder has no square feature map that doubling brings to the image's size.
    """

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        if encoder.map_shape is None:
            raise CourseError(
                f"encoder {encoder.name} gives flat features, and a decoder starts from feature maps: let it return maps "
                "(B, C, H, W), or name their shape in its attribute map_shape."
            )
        channels, side, width = self.map_shape = encoder.map_shape
        doublings = encoder.image_size // side
        if side != width or side * doublings != encoder.image_size or doublings & (doublings - 1):
            raise CourseError(
                f"encoder {encoder.name} gives maps of {side} x {width} for images of {encoder.image_size} pixels: a decoder "
                "doubles square maps until they have the image's size."
            )
        layers: list[nn.Module] = []
        while side < encoder.image_size:
            narrower = max(channels // 2, 16)
            layers += [nn.Upsample(scale_factor=2), nn.Conv2d(channels, narrower, 3, padding=1), nn.ReLU()]
            channels, side = narrower, side * 2
        self.layers = nn.Sequential(*layers, nn.Conv2d(channels, 1, 3, padding=1))
        flat = math.prod(self.map_shape)
        self.expand = nn.Identity() if encoder.out_dim == flat else nn.Linear(encoder.out_dim, flat)
        initialise(self)

    def forward(self, features: Tensor) -> Tensor:
        maps = self.expand(features).unflatten(1, self.map_shape)
        return self.layers(maps.contiguous(memory_format=torch.channels_last))
