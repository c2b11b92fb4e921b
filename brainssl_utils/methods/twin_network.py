"""Twin network: one encoder sees both images of a pair and learns whether they belong together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from brainssl_utils.checks import check_choice, check_number
from brainssl_utils.errors import CourseError
from brainssl_utils.methods.base import Batch, Method, Pretext, Setting, TrainingData, project
from brainssl_utils.methods.losses import PairLoss
from brainssl_utils.networks import ProjectionHead

PAIRS = ("labels", "views", "views_clean")


class TwinNetwork(Method):
    """A fixed list of positive and negative pairs, compared with a contrastive loss (Hadsell et al. 2006).

    Args:
        encoder: the encoder to train.
        pairs: where pairs come from. "labels": two images of one class against two of different classes, as the second
            project does it; this is supervised learning. "views": two views of one image against views of two images;
            no label is read. "views_clean": the same, with copies and images of one patient kept out of the negatives.
        n_pairs: positive pairs, and as many negative ones; the second project has 2000 of each.
        margin: see `PairLoss`; None is the published squared distance.
        normalize: see `PairLoss`.
        head_widths: layers of the embedding head.
        **settings: see `Method`.

    Raises:
        CourseError: a setting that cannot work.
    """

    name, title, colour, lesson = "twin_network", "Twin network", "#CC79A7", "02_twin_networks"
    published = {"encoder": "paper", "views": "none", "pairs": "labels", "margin": None, "normalize": False}
    SETTINGS = (
        Setting("pairs", "2000 positive, 2000 negative", "drawn from class labels", "pairs"),
        Setting("pairs of each kind", "2000", "2000", "n_pairs"),
        Setting("margin", "not given", "none: squared distance", "margin"),
    )

    def __init__(
        self,
        encoder: nn.Module,
        pairs: str = "views",
        n_pairs: int = 2000,
        margin: float | None = 1.0,
        normalize: bool = True,
        head_widths: Sequence[int] = (128, 64),
        **settings: Any,
    ) -> None:
        check_choice("pairs", pairs, PAIRS)
        check_number("n_pairs", n_pairs, at_least=1, whole=True)
        super().__init__(encoder, **settings)
        self.projection_head = ProjectionHead(self.encoder.out_dim, head_widths, last_relu=False)
        self.loss = PairLoss(margin, normalize)

    def prepare(self, data: TrainingData) -> tuple[Tensor, Tensor, Tensor]:
        """Draw the list of pairs, once for the whole training (see `draw_pairs`)."""
        return draw_pairs(data, self.config["pairs"], self.config["n_pairs"], data.seed)

    def pretext_views(self, batch: Batch, generator: torch.Generator) -> Pretext:
        """Draw a step's pairs from the list (the batch's own images only say how many), and one view of each image.

        The context is (B,) bool: whether the two belong together.
        """
        first, second, same = self.prepared
        chosen = torch.randint(len(same), (len(batch.images),), generator=generator)
        images = self.training_data.images
        pair = (images[first[chosen]], images[second[chosen]])
        return Pretext([self.views(image.to(self.device), generator) for image in pair], same[chosen].to(self.device))

    def pretext_loss(self, features: Sequence[Tensor], context: Any = None) -> Tensor:
        z1, z2 = project(self.projection_head, features)
        with self.in_float32():
            self.note("pair_acc", self.pair_accuracy(z1, z2, context))
            return self.loss(z1, z2, context)

    def chance_loss(self, images: Tensor, n: int) -> float:
        """Return the loss of one distance for all pairs, half of which are positive: half the margin costs a quarter of it².

        The published squared distance of 0.5 costs 0.25.
        """
        return 0.25 if self.loss.margin is None else self.loss.margin**2 / 4

    def pair_accuracy(self, z1: Tensor, z2: Tensor, same: Tensor) -> Tensor:
        """Share of pairs on the right side of half the margin (of 0.5 squared where there is no margin)."""
        threshold = 0.5**0.5 if self.loss.margin is None else self.loss.margin / 2
        return ((self.loss.distance(z1, z2) < threshold) == same.bool()).float().mean()


def draw_pairs(data: TrainingData, kind: str, n: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Draw `n` positive and `n` negative pairs.

    Args:
        data: rows come from `data.pool`; labels are read for kind "labels" alone.
        kind: one of `PAIRS`.
        n: pairs of each kind.
        seed: fixes the draw.

    Returns:
        rows of the first images (2n,), rows of the second images (2n,), same (2n,) bool, True for positives.

    Raises:
        CourseError: the pool holds no such pair (a single class, or a single group of copies).
    """
    generator = torch.Generator().manual_seed(seed)
    pool = data.pool

    def draw(count: int) -> Tensor:
        return pool[torch.randint(len(pool), (count,), generator=generator)]

    def wanted(first: Tensor, second: Tensor, positive: bool) -> Tensor:
        if kind == "labels":
            return (data.labels[first] == data.labels[second]) == positive
        if kind == "views":
            return first != second
        known = (data.patient[first] >= 0) & (data.patient[first] == data.patient[second])
        return (data.group[first] != data.group[second]) & ~known

    def collect(positive: bool) -> tuple[Tensor, Tensor]:
        firsts, seconds, found = [], [], 0
        for _ in range(100):
            first, second = draw(4 * n), draw(4 * n)
            keep = wanted(first, second, positive) & (first != second)
            firsts.append(first[keep])
            seconds.append(second[keep])
            found += int(keep.sum())
            if found >= n:
                return torch.cat(firsts)[:n], torch.cat(seconds)[:n]
        side = "positive" if positive else "negative"
        raise CourseError(f"cannot draw {n} {side} pairs of kind '{kind}': too few images differ in class or group.")

    if kind == "labels":
        positives = collect(True)
    else:
        same_image = draw(n)
        positives = (same_image, same_image)
    negatives = collect(False)
    same = torch.arange(2 * n) < n
    return torch.cat([positives[0], negatives[0]]), torch.cat([positives[1], negatives[1]]), same
