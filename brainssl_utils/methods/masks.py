"""Random masks for repairing images: True where a pixel is hidden. Fresh ones are drawn at every step, one an image."""

from __future__ import annotations

import torch
from torch import Tensor

from brainssl_utils.errors import CourseError

# Sides of the second project's rectangle, in pixels of its 96 x 96 images.
PUBLISHED_SIDES = (5, 29)


def one_rectangle(
    n: int, size: int, sides: tuple[float, float] | None = None, generator: torch.Generator | None = None
) -> Tensor:
    """Hide one rectangle an image, anywhere inside it.

    Args:
        n: number of masks.
        size: side of the images, pixels.
        sides: least and greatest side of the rectangle, pixels, both included; the published 5..29 of 96, scaled to
            `size`, by default.
        generator: source of the draws.

    Returns:
        bool (n, 1, size, size).

    Raises:
        CourseError: sides that are not 1 <= least <= greatest <= size.
    """
    least, greatest = sides or tuple(max(1, round(side * size / 96)) for side in PUBLISHED_SIDES)
    if not 1 <= least <= greatest <= size:
        raise CourseError(
            f"sides ({least}, {greatest}) do not fit images of {size} pixels: say 1 <= least <= greatest."
        )
    extent = torch.randint(int(least), int(greatest) + 1, (2, n, 1), generator=generator)
    start = (torch.rand(2, n, 1, generator=generator) * (size - extent + 1)).long()
    inside = (torch.arange(size) >= start) & (torch.arange(size) < start + extent)
    return (inside[0, :, :, None] & inside[1, :, None, :])[:, None]


def blocks(
    n: int,
    size: int,
    share: tuple[float, float] = (0.25, 0.75),
    grid: int = 8,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Hide a random set of square blocks of a `grid` x `grid` board, covering a share drawn for each image.

    Args:
        n: number of masks.
        size: side of the images, pixels; a multiple of `grid`.
        share: range of the hidden share of the image, 0..1.
        grid: blocks along a side.
        generator: source of the draws.

    Returns:
        bool (n, 1, size, size).

    Raises:
        CourseError: a grid that does not divide the size, or a share outside 0..1.
    """
    if size % grid:
        raise CourseError(f"a grid of {grid} does not divide images of {size} pixels: choose a divisor of {size}.")
    if not 0 < share[0] <= share[1] < 1:
        raise CourseError(f"share {share} must lie between 0 and 1, the lower value first.")
    total = grid * grid
    # Counts within the range: rounding inwards keeps every mask's share inside what was asked for.
    least, greatest = -int(-share[0] * total // 1), int(share[1] * total)
    count = torch.randint(least, max(least, greatest) + 1, (n, 1), generator=generator)
    rank = torch.rand(n, total, generator=generator).argsort(1).argsort(1)
    board = (rank < count).view(n, 1, grid, grid)
    side = size // grid
    return board.repeat_interleave(side, 2).repeat_interleave(side, 3)
