"""The few losses that Lightly does not have."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from brainssl_utils.checks import check_number

NEGATIVES = ("all", "cross")
"""Which other views repel: all of both sets (NT-Xent), or those of the other set alone."""


def guessing_loss(negatives: str, n: int) -> float:
    """Contrastive loss where all candidates look alike, of `n` images a step: the log of how many there are (`NEGATIVES`)."""
    return math.log(2 * n - 1 if negatives == "all" else n)


class CrossViewLoss(nn.Module):
    """InfoNCE between two sets of projections: each row's partner is its positive, the other set's rows its negatives.

    It is what the public Keras reference calls its SimCLR loss, and eq. 2 of NNCLR (Dwibedi et al. 2021) with neighbours
    as the first set. NT-Xent (Lightly's `NTXentLoss`) also counts pairs inside a set: 2N - 2 negatives instead of N - 1.

    Args:
        temperature: divides the cosine similarities; above 0.

    Raises:
        CourseError: the temperature is not above 0.
    """

    def __init__(self, temperature: float = 0.1) -> None:
        super().__init__()
        check_number("temperature", temperature, above=0)
        self.temperature = temperature

    def forward(self, z1: Tensor, z2: Tensor) -> Tensor:
        """Return the mean loss, a scalar, of projections (B, D) and (B, D), counted in both directions."""
        similarity = F.normalize(z1, dim=1) @ F.normalize(z2, dim=1).T / self.temperature
        target = torch.arange(len(z1), device=z1.device)
        return (F.cross_entropy(similarity, target) + F.cross_entropy(similarity.T, target)) / 2


class PairLoss(nn.Module):
    """Contrastive loss of a twin network (Hadsell et al. 2006, eq. 4): positives pulled together, negatives pushed apart.

    Args:
        margin: distance beyond which a negative pair costs nothing; None is the second project's squared distance, which
            is to be 0 for a positive pair and 1 for a negative one: a negative pair further apart is pulled back.
        normalize: puts embeddings on the unit sphere first, where distances lie in 0..2.

    Raises:
        CourseError: the margin is not above 0.
    """

    def __init__(self, margin: float | None = 1.0, normalize: bool = True) -> None:
        super().__init__()
        if margin is not None:
            check_number("margin", margin, above=0)
        self.margin, self.normalize = margin, normalize

    def distance(self, z1: Tensor, z2: Tensor) -> Tensor:
        """Euclidean distance (B,) of embeddings (B, D) and (B, D)."""
        if self.normalize:
            z1, z2 = F.normalize(z1, dim=1), F.normalize(z2, dim=1)
        return F.pairwise_distance(z1, z2)

    def forward(self, z1: Tensor, z2: Tensor, same: Tensor) -> Tensor:
        """Return the mean loss, a scalar; `same` (B,) is 1 for positive pairs and 0 for negative ones."""
        distance, same = self.distance(z1, z2), same.float()
        if self.margin is None:
            # Regression of the squared distance on the pair's label (1 for different), as the second project has it.
            return F.mse_loss(distance.square(), 1 - same)
        return (same * distance.square() + (1 - same) * (self.margin - distance).clamp(min=0).square()).mean()
