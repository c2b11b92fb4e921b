"""The checkers of 03_masked_encoder: untouched stubs, mistakes and solutions."""

from __future__ import annotations

import torch
from outcomes import outcomes, untouched

from brainssl_utils.exercises.masked_encoder import check_hidden_loss, check_rectangle_mask


def integer(low, high, generator):
    """A whole number from `low` to `high`, both included."""
    return int(torch.randint(low, high + 1, (1,), generator=generator))


def paint(size, top, left, height, width):
    mask = torch.zeros(size, size, dtype=torch.bool)
    mask[top : top + height, left : left + width] = True
    return mask


def rectangle(size, least, greatest, generator):
    height, width = integer(least, greatest, generator), integer(least, greatest, generator)
    top, left = integer(0, size - height, generator), integer(0, size - width, generator)
    return paint(size, top, left, height, width)


def greatest_left_out(size, least, greatest, generator):
    return rectangle(size, least, greatest - 1, generator)


def cut_off(size, least, greatest, generator):
    height, width = integer(least, greatest, generator), integer(least, greatest, generator)
    return paint(size, integer(0, size - 1, generator), integer(0, size - 1, generator), height, width)


def square(size, least, greatest, generator):
    side = integer(least, greatest, generator)
    return paint(size, integer(0, size - side, generator), integer(0, size - side, generator), side, side)


def never_last(size, least, greatest, generator):
    height, width = integer(least, greatest, generator), integer(least, greatest, generator)
    top, left = integer(0, max(size - height - 1, 0), generator), integer(0, max(size - width - 1, 0), generator)
    return paint(size, top, left, height, width)


def central(size, least, greatest, generator):
    height, width = integer(least, greatest, generator), integer(least, greatest, generator)
    top = (integer(0, size - height, generator) + integer(0, size - height, generator)) // 2
    left = (integer(0, size - width, generator) + integer(0, size - width, generator)) // 2
    return paint(size, top, left, height, width)


def visible(size, least, greatest, generator):
    return ~rectangle(size, least, greatest, generator)


def numbers(size, least, greatest, generator):
    return rectangle(size, least, greatest, generator).float()


def unseeded(size, least, greatest, generator):
    return rectangle(size, least, greatest, None)


def mean_where_hidden(repaired, image, hidden):
    return (repaired - image)[hidden].square().mean()


def everywhere(repaired, image, hidden):
    return (repaired - image).square().mean()


def where_visible(repaired, image, hidden):
    return (repaired - image)[~hidden].square().mean()


def over_all_pixels(repaired, image, hidden):
    return ((repaired - image).square() * hidden).mean()


def absolute(repaired, image, hidden):
    error = (repaired - image).abs() * hidden
    return (error.sum((1, 2, 3)) / hidden.sum((1, 2, 3))).mean()


def image_by_image(repaired, image, hidden):
    error = (repaired - image).square() * hidden
    return (error.sum((1, 2, 3)) / hidden.sum((1, 2, 3))).mean()


def summed_over_images(repaired, image, hidden):
    return image_by_image(repaired, image, hidden) * len(image)


def visible_too(repaired, image, hidden):
    return image_by_image(repaired, image, hidden) + 0 * repaired.sum() + (repaired - repaired.detach()).sum()


def halved(repaired, image, hidden):
    return image_by_image(repaired, image, hidden) / 2


WRONG = [
    (check_rectangle_mask, greatest_left_out, "never reach"),
    (check_rectangle_mask, cut_off, "cut off"),
    (check_rectangle_mask, square, "square"),
    (check_rectangle_mask, never_last, "last place"),
    (check_rectangle_mask, central, "everywhere"),
    (check_rectangle_mask, visible, "one full rectangle"),
    (check_rectangle_mask, numbers, "bool"),
    (check_rectangle_mask, unseeded, "generator"),
    (check_hidden_loss, everywhere, "whole image"),
    (check_hidden_loss, where_visible, "visible part"),
    (check_hidden_loss, over_all_pixels, "all pixels"),
    (check_hidden_loss, absolute, "absolute"),
    (check_hidden_loss, mean_where_hidden, "outvotes"),
    (check_hidden_loss, summed_over_images, "sum over the images"),
    (check_hidden_loss, visible_too, "still have a slope"),
    (check_hidden_loss, halved, "first image"),
    (check_hidden_loss, lambda r, x, m: image_by_image(r.detach(), x, m), "does not remember"),
]


RIGHT = [(check_rectangle_mask, rectangle), (check_hidden_loss, image_by_image)]

test_answers_are_told_what_they_are = outcomes(untouched(check_rectangle_mask, check_hidden_loss), RIGHT, WRONG)
