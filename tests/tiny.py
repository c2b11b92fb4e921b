"""What tests are made with: a corpus and an encoder so small that a training takes a tenth of a second; kept records."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from brainssl_utils.data.splits.split import Split

CLASSES = ("glioma", "meningioma", "no_tumor", "pituitary")


@dataclass
class TinyCorpus:
    """16 x 16 pictures: the class is the quadrant that is a little brighter."""

    n: int = 160
    seed: int = 0
    classes: tuple[str, ...] = CLASSES
    fingerprint: str = "tiny"
    labels: np.ndarray = field(init=False)
    images: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        self.labels = rng.permutation(np.arange(self.n) % 4).astype(np.int64)
        images = rng.integers(0, 120, (self.n, 1, 16, 16))
        for image, label in zip(images, self.labels):
            image[0, 8 * (label // 2) :, 8 * (label % 2) :][:8, :8] += 60
        self.images = images.astype(np.uint8)

    @property
    def table(self) -> pd.DataFrame:
        return pd.DataFrame({"label": self.labels, "group": np.arange(self.n)})

    def resized(self, size: int) -> np.ndarray:
        return self.images[:, :, :: 16 // size, :: 16 // size]


def tiny_split(corpus: TinyCorpus, validation: int = 0) -> Split:
    rows = np.arange(corpus.n)
    return Split(
        train=rows[validation:80], unlabeled=rows[80:100], test=rows[100:], validation=rows[:validation],
        fingerprint=corpus.fingerprint, name="grouped",
    )  # fmt: skip


class TinyEncoder(nn.Module):
    """A convolution, batch normalisation and pooling, which counts the images it has seen."""

    image_size, out_dim = 16, 32

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.conv = nn.Conv2d(1, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.seen = 0

    def forward(self, images: Tensor) -> Tensor:
        self.seen += len(images)
        return nn.functional.adaptive_avg_pool2d(self.norm(self.conv(images)).relu(), 2).flatten(1)


class Holder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = TinyEncoder()


def full_length_records(folder: Path) -> None:
    """Copy the proposed model's two records of seed 0 at full length."""
    records = Path(__file__).parents[1] / "results" / "reference" / "archives" / "records"
    for path in records.glob("proposed_model-published-*-seed0.json"):
        shutil.copy(path, folder)
