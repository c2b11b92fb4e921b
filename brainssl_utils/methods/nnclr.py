"""NNCLR: the positive of a view is the nearest neighbour of its partner in a queue of past images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from lightly.loss import NTXentLoss
from lightly.models.modules import NNCLRPredictionHead, NNMemoryBankModule
from torch import Tensor, nn

from brainssl_utils.checks import check_choice, check_number
from brainssl_utils.errors import CourseError
from brainssl_utils.methods.base import Setting, TrainingData, project
from brainssl_utils.methods.losses import NEGATIVES, CrossViewLoss, guessing_loss
from brainssl_utils.methods.two_views import CLASSIFIER, HEAD, REFERENCE, TEMPERATURE, TwoViewMethod


class NNCLR(TwoViewMethod):
    """NNCLR (Dwibedi et al. 2021, eq. 2-4).

    Args:
        encoder: the encoder to train.
        temperature: divides the cosine similarities; above 0.
        queue_size: embeddings kept as support set: a whole number from 2, or, below 1, a share of the images that may be
            seen. A queue as long as these hands an image its own older embedding as its neighbour.
        predictor: a prediction head after the projection, as in the NNCLR paper; the public reference has none.
        straight_through: lets the neighbour's gradient reach the view it replaces, as the reference does; the paper does
            not. Without it, and with the head, some hundred steps teach nothing (06).
        negatives: "cross" is the paper's form; "all" is Lightly's NT-Xent, which adds neighbour-neighbour pairs.
        **settings: see `TwoViewMethod` and `Method`.

    Raises:
        CourseError: a setting that cannot work.
    """

    name, title, colour, lesson = "nnclr", "NNCLR", "#009E73", "06_nnclr"
    published = {**REFERENCE, "queue_size": 10_000}
    SETTINGS = (
        TEMPERATURE,
        Setting("queue length (below 1: a share of the pool)", "not given", "10 000", "queue_size"),
        Setting("prediction head", "not mentioned", "none", "predictor"),
        Setting("straight-through gradient", "not mentioned", "yes", "straight_through"),
        HEAD,
        *CLASSIFIER,
    )

    def __init__(
        self,
        encoder: nn.Module,
        temperature: float = 0.1,
        queue_size: float = 0.1,
        predictor: bool = False,
        straight_through: bool = True,
        negatives: str = "cross",
        **settings: Any,
    ) -> None:
        check_number("temperature", temperature, above=0)
        is_share = isinstance(queue_size, float) and queue_size < 1
        if is_share:
            check_number("queue_size", queue_size, above=0)
        else:
            check_number("queue_size", queue_size, at_least=2, whole=True)
        check_choice("negatives", negatives, NEGATIVES)
        super().__init__(encoder, **settings)
        width = self.projection_head.out_dim
        self.prediction_head: nn.Module = NNCLRPredictionHead(width, 4 * width, width) if predictor else nn.Identity()
        # A share of the pool is a length once the data are there.
        self.queue = NNMemoryBankModule(size=(0 if is_share else int(queue_size), width))
        self.straight_through = straight_through
        self.loss = CrossViewLoss(temperature) if negatives == "cross" else NTXentLoss(temperature)

    def prepare(self, data: TrainingData) -> None:
        self.set_queue(len(data.pool), data.seed)

    def set_queue(self, pool: int, seed: int) -> None:
        """Give a queue that is a share of the pool its length, filled with random vectors of a seed; another one stays.

        Args:
            pool: how many images may be seen.
            seed: fixes the vectors.
        """
        share = self.config["queue_size"]
        if share < 1:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                self.queue = NNMemoryBankModule(size=(max(2, round(share * pool)), self.projection_head.out_dim))

    def neighbours(self, projections: Tensor, update: bool) -> Tensor:
        """Return the queue's nearest neighbour (B, d) of each projection (B, d); `update` then pushes them in.

        Raises:
            CourseError: the queue is a share of a pool that is not known yet.
        """
        if not len(self.queue.bank):
            raise CourseError(
                "the queue is a share of the pool, which training tells: train it first, or call set_queue."
            )
        nearest = self.queue(projections.detach(), update=update)
        return projections + (nearest - projections).detach() if self.straight_through else nearest

    def chance_loss(self, images: Tensor, n: int) -> float:
        """Return ln(2 n - 1) for negatives "all", ln(n) for "cross": all candidates look alike."""
        return guessing_loss(self.config["negatives"], n)

    def pretext_loss(self, features: Sequence[Tensor], context: Any = None) -> Tensor:
        z1, z2 = project(self.projection_head, features)
        p1, p2 = project(self.prediction_head, (z1, z2))
        with self.in_float32():
            z1, z2 = (nn.functional.normalize(z, dim=1) for z in (z1, z2))
            n1, n2 = self.neighbours(z1, update=False), self.neighbours(z2, update=True)
            return (self.loss(n1, p2) + self.loss(n2, p1)) / 2

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        # Lightly's queue is not part of the state dict: without this a resumed run would start with a random one.
        checkpoint["queue"] = {name: buffer.clone() for name, buffer in self.queue.named_buffers()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        saved = checkpoint["queue"]["bank"]
        if saved.shape != self.queue.bank.shape:  # read without the data that gave it its length
            self.queue = NNMemoryBankModule(size=tuple(saved.shape))
        with torch.no_grad():
            for name, buffer in self.queue.named_buffers():
                buffer.copy_(checkpoint["queue"][name])
