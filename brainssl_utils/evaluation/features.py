"""Frozen features: what an encoder says about each image, computed once and served by row number.

Includes the encoders every result must be set against: raw pixels, a random network, ImageNet's ResNet-18.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from brainssl_utils.errors import CourseError

if TYPE_CHECKING:
    from brainssl_utils.data.corpus import Corpus

Features = npt.NDArray[np.float32]
RESNET18_FILE = "resnet18-f37072fd.pth"


def encoder_of(model: Any) -> nn.Module:
    """Return the encoder inside a `Run`, a method or a fine-tuned model; an encoder comes back as it is.

    Raises:
        CourseError: `model` is none of these.
    """
    model = getattr(model, "method", model)
    encoder = getattr(model, "encoder", model)
    if not isinstance(encoder, nn.Module):
        raise CourseError(f"expected a trained method, a Run or an encoder, got {type(model).__name__}.")
    return encoder


@contextmanager
def eval_mode(module: nn.Module) -> Iterator[None]:
    """Evaluation mode inside the block; every submodule's own mode comes back after it."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


def encode(
    model: Any, images: npt.NDArray[np.uint8] | Tensor, batch_size: int = 256, precision: str = "float32"
) -> Features:
    """Encode images without augmentation, in evaluation mode and without gradients.

    Args:
        model: a `Run`, a method with `.encoder`, or an encoder (B, 1, S, S) in 0..1 -> (B, D).
        images: uint8 (N, 1, S, S), array or tensor.
        batch_size: images at a time; the result does not depend on it.
        precision: "float32", or "bfloat16" for autocast where features need not be exact.

    Returns:
        (N, D) float32.

    Raises:
        CourseError: images of another type or shape, or an unknown precision.
    """
    encoder, images = encoder_of(model), torch.as_tensor(images)
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 1 or not len(images):
        raise CourseError(f"expected uint8 images (N, 1, S, S), got {images.dtype} {tuple(images.shape)}.")
    if precision not in ("float32", "bfloat16"):
        raise CourseError(f"precision='{precision}': choose float32 or bfloat16.")
    parameter = next(encoder.parameters(), None)
    device = torch.device("cpu") if parameter is None else parameter.device
    cast = torch.autocast(device.type, dtype=torch.bfloat16) if precision == "bfloat16" else nullcontext()
    features: Features | None = None
    with eval_mode(encoder), torch.inference_mode(), cast:
        for start in range(0, len(images), batch_size):
            batch = images[start : start + batch_size].to(device).float().div_(255)
            encoded = encoder(batch).flatten(1).float().cpu().numpy()
            if features is None:
                features = np.empty((len(images), encoded.shape[1]), np.float32)
            features[start : start + len(encoded)] = encoded
    assert features is not None
    return features


class FeatureBank:
    """The features of a corpus under one encoder: each row is encoded the first time it is asked for, and only then.

    Args:
        model: a `Run`, a method or an encoder. Training it further does not update what is in the bank.
        corpus: the images.
        image_size: side the encoder is shown, pixels; default its own `image_size`, else the corpus's.
    """

    def __init__(self, model: Any, corpus: Corpus, image_size: int | None = None) -> None:
        self.model, self.encoder, self.corpus = model, encoder_of(model), corpus
        stored = corpus.images.shape[-1]
        size = image_size or getattr(self.encoder, "image_size", None) or stored
        self.images = corpus.images if size == stored else corpus.resized(size)
        self.image_size = size
        self._known = np.zeros(len(self.images), dtype=bool)
        self._features: Features | None = None

    def rows(self, rows: npt.NDArray[np.int64]) -> Features:
        """Return the features of these rows, (len(rows), D) float32, encoding those not yet known."""
        rows = np.asarray(rows, dtype=np.int64)
        fresh = np.unique(rows[~self._known[rows]])
        if len(fresh):
            encoded = encode(self.encoder, self.images[fresh])
            if self._features is None:
                self._features = np.empty((len(self.images), encoded.shape[1]), np.float32)
            self._features[fresh] = encoded
            self._known[fresh] = True
        if self._features is None:
            raise CourseError("no rows were given, so there are no features to return.")
        return self._features[rows]


def as_bank(model: Any, corpus: Corpus, image_size: int | None = None) -> FeatureBank:
    """Return `model` if it is a bank of this corpus, otherwise a new bank.

    Raises:
        CourseError: the bank is another corpus's.
    """
    if not isinstance(model, FeatureBank):
        return FeatureBank(model, corpus, image_size)
    if model.corpus is not corpus:
        raise CourseError("the feature bank was made from another corpus; make one with FeatureBank(model, corpus).")
    return model


class Pixels(nn.Module):
    """The image itself as features, (B, 1, S, S) -> (B, S * S): the baseline that has learned nothing."""

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)


def random_encoder(name: str = "paper", image_size: int = 96, seed: int = 0) -> nn.Module:
    """Return an untrained encoder ("paper" or "reference") whose weights depend on `seed` alone."""
    from brainssl_utils.networks import make_encoder

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
