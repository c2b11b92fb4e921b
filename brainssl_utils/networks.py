"""The networks of the study: two encoders, a projection head, a classifier and a decoder.

Inputs are float images (B, 1, S, S) in 0..1; the study's encoders give features (B, out_dim) that are never
negative.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

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
        self.dense_widths = tuple(dense_widths)
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
        self.dense_widths = (width,)
        if width != 128:
            self.settings = {"encoder_arguments": {"width": int(width)}}
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        return self.dense(self.maps(images).flatten(1))


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
