"""Checkers of 03_masked_encoder."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from brainssl_utils.exercises.base import Wrong, as_number, call, checker


@checker
def check_rectangle_mask(function: Callable[[int, int, int, torch.Generator], Tensor]) -> str:
    """The student's mask (size, least, greatest, generator) -> bool (size, size), True where hidden."""
    size, least, greatest, n = 9, 4, 7, 3000
    generator = torch.Generator().manual_seed(3)
    drawn = [call(function, size, least, greatest, generator) for _ in range(n)]
    for one in drawn:
        if not isinstance(one, Tensor) or one.shape != (size, size):
            raise Wrong(
                f"expected a tensor of shape ({size}, {size}), got {getattr(one, 'shape', type(one).__name__)}."
            )
        if one.dtype != torch.bool:
            raise Wrong(f"expected bool, True where hidden; got {one.dtype}.")
    masks = torch.stack(drawn)
    rows, columns = masks.any(2), masks.any(1)
    heights, widths = rows.sum(1), columns.sum(1)
    if (heights == 0).any():
        raise Wrong("some masks hide nothing: does the rectangle start outside the image?")
    if not torch.equal(masks, rows[:, :, None] & columns[:, None, :]) or (gaps(rows) | gaps(columns)).any():
        raise Wrong("what is hidden is not one full rectangle.")
    for name, sides in (("heights", heights), ("widths", widths)):
        check_sides(name, sides, least, greatest)
    if (heights == widths).all():
        raise Wrong("every rectangle is a square: draw height and width separately.")
    for name, inside, sides in (("top", rows, heights), ("left", columns, widths)):
        # Rectangles of the least side can start at the most places: size - least + 1 of them.
        check_places(name, inside.int().argmax(1)[sides == least], size - least + 1)
    first, again = (function(size, least, greatest, torch.Generator().manual_seed(8)) for _ in range(2))
    if not torch.equal(first, again):
        raise Wrong("the same generator seed gives another mask: draw with `generator=generator`.")
    return "one rectangle, every side and every place equally likely, never cut off at the border."


def gaps(inside: Tensor) -> Tensor:
    """Whether the True values of each row (N, S) are interrupted."""
    padded = torch.nn.functional.pad(inside.int(), (1, 1))
    return (padded.diff(dim=1) == 1).sum(1) > 1


def check_sides(name: str, sides: Tensor, least: int, greatest: int) -> None:
    if int(sides.max()) > greatest:
        raise Wrong(f"{name} go up to {int(sides.max())}, but the greatest side is {greatest}.")
    if int(sides.min()) < least:
        raise Wrong(
            f"{name} go down to {int(sides.min())}, but the least side is {least}: is the rectangle cut off at the border?"
        )
    if int(sides.max()) < greatest:
        raise Wrong(f"{name} never reach {greatest}: torch.randint leaves its upper limit out.")
    if uneven(sides - least, greatest - least + 1):
        raise Wrong(f"{name} are not equally likely from {least} to {greatest}.")


def check_places(name: str, starts: Tensor, places: int) -> None:
    counts = torch.bincount(starts, minlength=places)
    if counts[-1] == 0:
        raise Wrong(f"the {name} edge never reaches the last place where the rectangle still fits.")
    if uneven(starts, places):
        raise Wrong(f"the {name} edge does not start everywhere equally often (the corners count too).")


def uneven(values: Tensor, n: int) -> bool:
    """Whether values 0..n-1 are too uneven to be equally likely; a fair draw is called uneven once in a million."""
    from scipy.stats import chi2

    counts = torch.bincount(values, minlength=n).double()
    expected = len(values) / n
    return bool(((counts - expected) ** 2 / expected).sum() > chi2.isf(1e-6, n - 1))


@checker
def check_hidden_loss(function: Callable[[Tensor, Tensor, Tensor], Tensor]) -> str:
    """The student's loss (repaired, image, hidden) -> scalar, all (B, 1, S, S): mean over images of their hidden errors."""
    generator = torch.Generator().manual_seed(4)
    for n, size in ((3, 4), (1, 6), (5, 8)):
        repaired, image = torch.rand(2, n, 1, size, size, generator=generator)
        hidden = torch.rand(n, 1, size, size, generator=generator) < torch.linspace(0.1, 0.9, n).view(-1, 1, 1, 1)
        hidden[:, :, 0, 0] = True
        repaired.requires_grad_()
        answer = call(function, repaired, image, hidden)
        if not isinstance(answer, Tensor):
            raise Wrong(f"expected one number, as a tensor; got {type(answer).__name__}.")
        value, right = as_number(answer), image_by_image(repaired.detach(), image, hidden)
        if abs(value - right) > 1e-5:
            raise Wrong(f"it gives {value:.4f}, not {right:.4f}. {loss_hint(value, repaired.detach(), image, hidden)}")
        if not answer.requires_grad:
            raise Wrong("the loss does not remember how it was made, so nothing can be trained with it.")
        (slope,) = torch.autograd.grad(answer, repaired)
        if (slope[~hidden] != 0).any():
            raise Wrong("visible pixels still have a slope: the network would be trained on what it can copy.")
    return "hidden pixels alone count, and an image with a large hole counts no more than one with a small hole."


def image_by_image(repaired: Tensor, image: Tensor, hidden: Tensor, power: int = 2) -> float:
    """The loss image by image, as it is done on paper."""
    errors = (repaired - image).abs() ** power
    return sum(float(error[mask].mean()) for error, mask in zip(errors, hidden)) / len(errors)


def loss_hint(value: float, repaired: Tensor, image: Tensor, hidden: Tensor) -> str:
    error, each = (repaired - image).square(), image_by_image(repaired, image, hidden)
    mistakes = (
        (error.mean(), "This is the loss on the whole image."),
        (error[~hidden].mean(), "This is the loss on the visible part: `hidden` is True where a pixel was hidden."),
        (
            error[hidden].mean(),
            "Here every hidden pixel counts the same, so a scan with a large hole outvotes the others.",
        ),
        ((error * hidden).mean(), "You divide by the number of all pixels, hidden or not."),
        ((error * hidden).sum(), "This is a sum over pixels and images: nothing is divided."),
        (each * len(error), "This is a sum over the images."),
        (image_by_image(repaired, image, hidden, 1), "This is the absolute error: square it."),
    )
    for mistake, message in mistakes:
        if abs(value - float(mistake)) < 1e-5:
            return message
    alone = image_by_image(repaired[:1], image[:1], hidden[:1])
    return f"Try the first image of the batch alone: its loss is {alone:.4f}."
