"""Masked encoder: a part of the image is hidden, and encoder and decoder together must repair it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from lightly.loss import NTXentLoss
from torch import Tensor, nn

from brainssl_utils.checks import check_choice, check_number
from brainssl_utils.compute.processes import shared_out
from brainssl_utils.methods import masks
from brainssl_utils.methods.base import Batch, Method, Pretext, Setting, TrainingData, project
from brainssl_utils.methods.losses import guessing_loss
from brainssl_utils.networks import Decoder, ProjectionHead
from brainssl_utils.views import to_float

MASKS = ("rectangle", "blocks")
LOSSES = ("hidden", "whole")


class MaskedEncoder(Method):
    """A convolutional encoder and decoder that repair images (context encoder, Pathak et al. 2016, eq. 1).

    Args:
        encoder: the encoder to train.
        mask: "rectangle", one an image as published, or "blocks", a random set that covers `share` of the image.
        sides: least and greatest side of the rectangle, pixels; None scales the published 5..29 of 96.
        share: range of the hidden share of the image for "blocks".
        loss_on: "hidden" measures the repair where pixels were hidden; "whole" everywhere, as published, which mostly
            rewards copying what was visible.
        redraw: a fresh mask at every step; False draws one mask an image for good, as published.
        contrast: weight of a second task beside the repair, 0 or more: a second view of the image, with a mask of its own
            (the same one without `redraw`), must be recognised among all others (NT-Xent, temperature 0.1, a head of
            256-128-64). Contrast and repair are two of the three parts of CAN (Mishra et al. 2022); its third, telling what
            noise was added, is left out. Only the first view is repaired: the decoder is the slowest part. 0 leaves the
            task out.
        **settings: see `Method`; `views` is what an image goes through before it is masked, "classification" by default,
            and "contrastive" with a contrast.

    Raises:
        CourseError: a setting that cannot work.
    """

    name, title, colour, lesson = "masked_encoder", "Masked encoder", "#56B4E9", "03_masked_encoder"
    published = {"encoder": "paper", "views": "none", "mask": "rectangle", "loss_on": "whole", "redraw": False}
    two_views = False
    SETTINGS = (
        Setting("mask", "-", "one rectangle, 5-29 px", "mask"),
        Setting("loss measured on", "-", "whole image", "loss_on"),
        Setting("mask redrawn every step", "-", "no", "redraw"),
        Setting("weight of a contrast beside the repair", "-", "0", "contrast"),
    )

    def __init__(
        self,
        encoder: nn.Module,
        mask: str = "blocks",
        sides: tuple[int, int] | None = None,
        share: tuple[float, float] = (0.25, 0.75),
        loss_on: str = "hidden",
        redraw: bool = True,
        contrast: float = 0.0,
        **settings: Any,
    ) -> None:
        check_choice("mask", mask, MASKS)
        check_choice("loss_on", loss_on, LOSSES)
        check_number("contrast", contrast, at_least=0)
        super().__init__(encoder, **{"views": "contrastive" if contrast else "classification", **settings})
        self.decoder = Decoder(self.encoder)
        self.two_views = contrast > 0
        if self.two_views:
            self.projection_head = ProjectionHead(self.encoder.out_dim, last_relu=False)
            self.agreement = NTXentLoss(temperature=0.1)
        self._sides, self._share = sides, share
        self.draw_masks(
            1, torch.Generator()
        )  # sides and shares that do not fit the image are refused here, not at the first step

    def prepare(self, data: TrainingData) -> Tensor | None:
        """Draw one mask an image for good, as published, unless masks are redrawn at every step."""
        if self.config["redraw"]:
            return None
        return self.draw_masks(len(data.images), torch.Generator().manual_seed(data.seed))

    def draw_masks(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw `n` masks, bool (n, 1, S, S), True where hidden."""
        size = self.encoder.image_size
        if self.config["mask"] == "rectangle":
            return masks.one_rectangle(n, size, self._sides, generator)
        return masks.blocks(n, size, self._share, generator=generator)

    def pretext_views(self, batch: Batch, generator: torch.Generator) -> Pretext:
        """Draw the views and hide a part of each; the context is the first one whole, and where it was hidden."""
        views = [self.views(batch.images, generator) for _ in range(1 + self.two_views)]
        hidden = [self._step_masks(batch, generator).to(batch.images.device) for _ in views]
        return Pretext([view.masked_fill(mask, 0) for view, mask in zip(views, hidden)], (views[0], hidden[0]))

    def _step_masks(self, batch: Batch, generator: torch.Generator) -> Tensor:
        return (
            self.draw_masks(len(batch.images), generator) if self.prepared is None else self.prepared[batch.rows.cpu()]
        )

    def pretext_loss(self, features: Sequence[Tensor], context: Any = None) -> Tensor:
        target, hidden = context
        # No sigmoid: most of a scan is black, and a sigmoid driven to 0 there has no slope left to come back by.
        repaired = shared_out(self.decoder, features[0]).float()
        projections = project(self.projection_head, features) if self.two_views else ()
        with self.in_float32():
            error = (repaired - target).square()
            hidden_error = error[hidden].mean()
            self.note("hidden_error", hidden_error)
            loss = hidden_error if self.config["loss_on"] == "hidden" else error.mean()
            if projections:
                agreement = self.agreement(*projections)
                self.note("contrast_loss", agreement)
                loss = loss + self.config["contrast"] * agreement
            return loss

    @torch.no_grad()
    def chance_loss(self, images: Tensor, n: int) -> float:
        """Return the error of painting the mean of all images, where the loss looks, and a contrast's guess beside it."""
        generator = torch.Generator().manual_seed(0)
        views = self.views(images, generator)
        error = (views - views.mean(0)).square()
        if self.config["loss_on"] == "hidden":
            error = error[self.draw_masks(len(images), generator)]
        return float(error.mean()) + self.config["contrast"] * guessing_loss("all", n)

    @torch.inference_mode()
    def repair(self, images: Tensor, hidden: Tensor) -> Tensor:
        """Return the network's picture, float (B, 1, S, S) in 0..1, of images (uint8 or float) seen without `hidden`."""
        visible = to_float(images).masked_fill(hidden, 0)
        return self.decoder(self.encoder(visible)).float().clamp(0, 1)
