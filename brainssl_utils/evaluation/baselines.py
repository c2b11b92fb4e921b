"""Encoders every result must be set against: raw pixels, a random network, ImageNet's ResNet-18."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from brainssl_utils.encoders import make_encoder
from brainssl_utils.errors import CourseError
from brainssl_utils.evaluation.features import Features, encode

RESNET18_FILE = "resnet18-f37072fd.pth"


class Pixels(nn.Module):
    """The image itself as features, (B, 1, S, S) -> (B, S * S): the baseline that has learned nothing."""

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)


def random_encoder(name: str = "paper", image_size: int = 96, seed: int = 0) -> nn.Module:
    """Return an untrained encoder ("paper" or "reference") whose weights depend on `seed` alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make_encoder(name, image_size)


class ImageNetEncoder(nn.Module):
    """torchvision's ResNet-18 trained on ImageNet, up to its 512 pooled features; grey images become three channels.

    Images are brought to 224 pixels and ImageNet's mean and deviation. The weights are taken from torch's own cache on
    disk and never downloaded.

    Args:
        weights: the weight file; default `resnet18-f37072fd.pth` in torch hub's `checkpoints` folder.

    Raises:
        CourseError: the file is not there, or is not that network's.
    """

    out_dim = 512
    mean: Tensor
    std: Tensor

    def __init__(self, weights: str | Path | None = None) -> None:
        super().__init__()
        path = Path(weights) if weights else Path(torch.hub.get_dir()) / "checkpoints" / RESNET18_FILE
        if not path.is_file():
            raise CourseError(
                f"ImageNet features need the file {RESNET18_FILE} in {path.parent}; it is not downloaded for you. "
                "torchvision.models.resnet18(weights='IMAGENET1K_V1') puts it there when online."
            )
        from torchvision.models import resnet18

        self.network = resnet18(weights=None)
        try:
            self.network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        except Exception as error:  # torch raises a dozen kinds for a damaged or foreign file
            raise CourseError(
                f"{path} does not hold torchvision's ResNet-18 weights; delete it and get it again."
            ) from error
        self.network.fc = nn.Identity()
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        large = nn.functional.interpolate(images, size=(224, 224), mode="bilinear", antialias=True)
        return self.network((large - self.mean) / self.std)


def imagenet_features(images: npt.NDArray[np.uint8] | Tensor, weights: str | Path | None = None) -> Features:
    """Features of an ImageNet ResNet-18, (N, 512), of uint8 images (N, 1, S, S).

    Raises:
        CourseError: the weights are not on this disk (see `ImageNetEncoder`).
    """
    return encode(ImageNetEncoder(weights), images, batch_size=64)
