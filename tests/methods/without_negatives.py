"""Data and short trainings for the tests of methods without negatives."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from brainssl_utils.methods.base import Method, step_generator


def noise(n: int, seed: int = 0) -> Tensor:
    """Images uint8 (n, 1, 32, 32): smooth noise, each unlike the others."""
    coarse = torch.rand(n, 1, 4, 4, generator=torch.Generator().manual_seed(seed))
    return (255 * F.interpolate(coarse, 32, mode="bilinear")).to(torch.uint8)


def negative_cosine(p: Tensor, z: Tensor) -> float:
    """Chen and He 2021, eq. 1, pair by pair."""
    pairs = [float(a @ b) / (float(a @ a) * float(b @ b)) ** 0.5 for a, b in zip(p, z)]
    return -sum(pairs) / len(pairs)


def pretrained(method: Method, steps: int, batch: int = 32) -> dict[str, float]:
    """Train a method's pretext task alone, on noise; return the mean of each note over the last five steps."""
    images, notes = noise(batch), []
    optimiser = method.configure_optimizers()
    for step in range(steps):
        generator = step_generator(0, step)
        views = [method.views(images, generator), method.views(images, generator)]
        features = method.encoder(torch.cat(views)).split(batch)
        loss = method.pretext_loss(features, views)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if hasattr(method, "move_teacher"):
            method.move_teacher(method.momentum)
        method.note("loss", loss)
        notes.append({name: float(values[-1]) for name, values in method._sums.items()})
    return {name: sum(note[name] for note in notes[-5:]) / 5 for name in notes[0]}
