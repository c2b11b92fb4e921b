"""Frozen features: what an encoder says about each image, computed once and served by row number."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from brainssl_utils.checks import check_choice, check_number
from brainssl_utils.compute import hardware
from brainssl_utils.errors import CourseError

if TYPE_CHECKING:
    from brainssl_utils.data.corpus import Corpus

Features = npt.NDArray[np.float32]


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
        CourseError: images of another type or shape, no images, a batch size below 1, or an unknown precision.
    """
    encoder = encoder_of(model)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")  # they are only read
        images = torch.as_tensor(images)
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 1 or not len(images):
        raise CourseError(f"expected uint8 images (N, 1, S, S), got {images.dtype} {tuple(images.shape)}.")
    check_number("batch_size", batch_size, at_least=1, whole=True)
    check_choice("precision", precision, ("float32", "bfloat16"))
    encoder, device = _placed(encoder)
    cast = torch.autocast(device.type, dtype=torch.bfloat16) if precision == "bfloat16" else nullcontext()
    features = np.empty((0, 0), np.float32)
    # By default a GPU's convolutions round float32 to ten bits.
    exact = torch.backends.cudnn.flags(enabled=True, allow_tf32=False) if precision == "float32" else nullcontext()
    with eval_mode(encoder), torch.inference_mode(), cast, exact:
        for start in range(0, len(images), batch_size):
            batch = images[start : start + batch_size].to(device).float().div_(255)
            encoded = encoder(batch).flatten(1).float().cpu().numpy()
            if start == 0:
                features = np.empty((len(images), encoded.shape[1]), np.float32)
            features[start : start + len(encoded)] = encoded
    return features


def _placed(encoder: nn.Module) -> tuple[nn.Module, torch.device]:
    """The encoder where it computes fastest, and that device: a copy on the GPU of one that lies on the CPU beside it."""
    parameter = next(encoder.parameters(), None)
    device = torch.device("cpu") if parameter is None else parameter.device
    if parameter is None or device.type != "cpu" or hardware.accelerator() == "cpu":
        return encoder, device
    device = torch.device(hardware.accelerator())
    return copy.deepcopy(encoder).to(device), device


def images_for(encoder: nn.Module, corpus: Corpus, image_size: int | None = None) -> npt.NDArray[np.uint8]:
    """Return the corpus's images, uint8 (N, 1, S, S), at `image_size` pixels; default the encoder's own, else as stored."""
    stored = corpus.images.shape[-1]
    size = image_size or getattr(encoder, "image_size", None) or stored
    return corpus.images if size == stored else corpus.resized(size)


class FeatureBank:
    """The features of a corpus under one encoder: each row is encoded the first time it is asked for, and only then.

    Args:
        model: a `Run`, a method or an encoder. Training it further does not update what is in the bank.
        corpus: the images.
        image_size: side the encoder is shown, pixels; default its own `image_size`, else the corpus's.
    """

    def __init__(self, model: Any, corpus: Corpus, image_size: int | None = None) -> None:
        self.model, self.encoder, self.corpus = model, encoder_of(model), corpus
        self.images = images_for(self.encoder, corpus, image_size)
        self.image_size = int(self.images.shape[-1])
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
