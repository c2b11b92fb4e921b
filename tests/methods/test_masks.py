"""Masks: their size, their share, their freshness, and that what is hidden stays hidden."""

from __future__ import annotations

import pytest
import torch

from brainssl_utils.errors import CourseError
from brainssl_utils.methods import make_method, masks
from brainssl_utils.methods.base import Batch, TrainingData


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch_of(images: torch.Tensor) -> Batch:
    rows = torch.arange(len(images))
    return Batch(images, images[:0], rows[:0], rows)


def test_a_rectangle_is_one_rectangle_with_sides_in_range() -> None:
    drawn = masks.one_rectangle(500, 96, generator=generator(0))[:, 0]
    heights, widths = drawn.any(2).sum(1), drawn.any(1).sum(1)
    assert (drawn.sum((1, 2)) == heights * widths).all()
    assert {int(heights.min()), int(heights.max()), int(widths.min()), int(widths.max())} == {5, 29}
    assert drawn.any(0)[8:-8, 8:-8].all(), "rectangles lie everywhere"


def test_blocks_cover_a_share_in_range() -> None:
    share = masks.blocks(500, 64, (0.25, 0.75), generator=generator(0)).float().mean((1, 2, 3))
    assert share.min() >= 0.25 and share.max() <= 0.75 and share.max() - share.min() > 0.4


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(CourseError, match="100"):
        masks.one_rectangle(1, 96, (5, 100))
    with pytest.raises(CourseError, match="grid"):
        masks.blocks(1, 60)
    with pytest.raises(CourseError, match="share"):
        masks.blocks(1, 64, (0.5, 1.5))


@pytest.mark.parametrize("mask", ["rectangle", "blocks"])
def test_no_pixel_of_the_hidden_part_reaches_the_encoder(mask: str) -> None:
    method = make_method("masked_encoder", image_size=32, mask=mask, views="none")
    images = torch.randint(0, 256, (6, 1, 32, 32), dtype=torch.uint8, generator=generator(1))
    [seen], (_, hidden) = method.pretext_views(batch_of(images), generator(5))
    changed = torch.where(hidden, 255 - images, images)
    [seen_again], _ = method.pretext_views(batch_of(changed), generator(5))
    assert torch.equal(seen, seen_again) and (seen[hidden] == 0).all()
    assert torch.equal(method.repair(images, hidden), method.repair(changed, hidden))


def test_masks_differ_between_steps_and_stay_where_published() -> None:
    images = torch.randint(0, 256, (6, 1, 32, 32), dtype=torch.uint8, generator=generator(1))
    for redraw in (True, False):
        method = make_method("masked_encoder", image_size=32, redraw=redraw)
        rows = torch.arange(6)
        method.setup_data(TrainingData(images, rows, rows, rows, rows, rows, rows, rows, seed=0))
        drawn = [method.pretext_views(batch_of(images), generator(step)).context[1] for step in (1, 2)]
        assert torch.equal(*drawn) != redraw
        assert not torch.equal(drawn[0][0], drawn[0][1]), "each image has its own mask"


def test_the_loss_is_the_error_on_the_hidden_part() -> None:
    images = torch.randint(0, 256, (4, 1, 32, 32), dtype=torch.uint8, generator=generator(1))
    for where in ("hidden", "whole"):
        method = make_method("masked_encoder", image_size=32, loss_on=where, views="none")
        [seen], context = method.pretext_views(batch_of(images), generator(0))
        loss = method.pretext_loss([method.encoder(seen)], context)
        error = (method.decoder(method.encoder(seen)) - images.float() / 255).square()
        expected = error[context[1]].mean() if where == "hidden" else error.mean()
        assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-4)


def test_with_a_contrast_both_views_are_masked_and_must_recognise_each_other() -> None:
    method = make_method("masked_encoder", image_size=32, contrast=0.5, views="none")
    images = torch.randint(0, 256, (6, 1, 32, 32), dtype=torch.uint8, generator=generator(1))
    (first, second), context = method.pretext_views(batch_of(images), generator(0))
    hidden = [view.eq(0) & images.ne(0) for view in (first, second)]
    assert torch.equal(hidden[0], context[1] & images.ne(0)), "the first is the one that is repaired"
    assert hidden[1].any() and not torch.equal(*hidden), "each view has a mask of its own"

    features = [method.encoder(view) for view in (first, second)]
    loss = method.pretext_loss(features, context)
    z = torch.nn.functional.normalize(method.projection_head(torch.cat(features)))
    similar = (z @ z.T / 0.1).fill_diagonal_(-torch.inf)
    agreement = torch.nn.functional.cross_entropy(similar, torch.arange(12).roll(6))
    repair = (method.decoder(features[0]) - images.float() / 255).square()[context[1]].mean()
    assert float(loss) == pytest.approx(float(repair + 0.5 * agreement), rel=1e-3)


def test_without_a_contrast_there_is_one_view_and_no_head() -> None:
    method = make_method("masked_encoder", image_size=32)
    assert not hasattr(method, "projection_head") and method.config["views"] == "classification"
    zeros = torch.zeros(2, 1, 32, 32, dtype=torch.uint8)
    assert len(method.pretext_views(batch_of(zeros), generator(0)).views) == 1
    assert make_method("masked_encoder", image_size=32, contrast=0.1).config["views"] == "contrastive"
    with pytest.raises(CourseError, match="contrast is -1"):
        make_method("masked_encoder", image_size=32, contrast=-1)


def test_training_on_dark_scans_does_better_than_painting_everything_black() -> None:
    """With a sigmoid at the end this fails: driven to black by the background, it has no slope left to come back by."""
    images = torch.zeros(8, 1, 48, 48)
    y, x = torch.meshgrid(torch.arange(48), torch.arange(48), indexing="ij")
    images[:, 0] = 0.4 * ((y - 24) ** 2 + (x - 24) ** 2 < 300)
    method = make_method("masked_encoder", image_size=48, views="none")
    optimiser = torch.optim.Adam(method.parameters(), lr=1e-3)
    for step in range(40):
        [seen], context = method.pretext_views(batch_of(images), generator(step))
        loss = method.pretext_loss([method.encoder(seen)], context)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < 0.5 * float(images[context[1]].square().mean())
