"""What a user brings along: encoders and augmentation in a module of their own."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn


class Maps(nn.Module):
    """(B, 1, S, S) -> (B, width, S/4, S/4)."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, width, 3, 2, 1)
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)


class Flat(nn.Module):
    """Made for one image size: (B, 1, S, S) -> (B, 16)."""

    def __init__(self, image_size: int) -> None:
        super().__init__()
        self.dense = nn.Linear(image_size**2, 16)

    def forward(self, images: Tensor) -> Tensor:
        return self.dense(images.flatten(1))


def grey_resnet() -> nn.Module:
    """torchvision's ResNet-18 for one channel."""
    from torchvision.models import resnet18

    network = resnet18()
    network.conv1 = nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)
    network.fc = nn.Identity()
    return network


def darker(images: Tensor, generator: torch.Generator | None, least: float = 0.5) -> Tensor:
    return images.float() / 255 * (least + (1 - least) * torch.rand(len(images), 1, 1, 1, generator=generator))


def drawn_globally(images: Tensor, generator: torch.Generator | None) -> Tensor:
    return (images.float() / 255 + 0.1 * torch.rand(images.shape)).clamp(0, 1)


class Mirror:
    """As a class, with a setting."""

    def __init__(self, share: float = 0.5) -> None:
        self.share = share

    def __call__(self, images: Tensor, generator: torch.Generator | None) -> Tensor:
        chosen = torch.rand(len(images), 1, 1, 1, generator=generator) < self.share
        return torch.where(chosen, images.flip(-1), images).float() / 255


def drawn_by_numpy(images: Tensor, generator: torch.Generator | None) -> Tensor:
    return images.float() / 255 * float(np.random.default_rng().random())


def too_small(images: Tensor, generator: torch.Generator | None) -> Tensor:
    return images[..., ::2, ::2].float() / 255


def still_uint8(images: Tensor, generator: torch.Generator | None) -> Tensor:
    return images


def in_place(images: Tensor, generator: torch.Generator | None) -> Tensor:
    return images.zero_().float()


def failing(images: Tensor, generator: torch.Generator | None) -> Tensor:
    raise KeyError("no such thing")
