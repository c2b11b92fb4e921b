"""The checkers of 03_masked_encoder: untouched stubs, mistakes and solutions."""

from __future__ import annotations

import pytest
import torch

from brainssl_utils.exercises.masked_encoder import check_hidden_loss, check_rectangle_mask


def stub(*arguments):
    return ...


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
    return (repaired - image)[hidden].abs().mean()


def image_by_image(repaired, image, hidden):
    error = (repaired - image).square()
    return torch.stack([one[mask].mean() for one, mask in zip(error, hidden)]).mean()


@pytest.mark.parametrize("check", [check_rectangle_mask, check_hidden_loss])
def test_an_untouched_stub_is_not_yet(check, capsys):
    assert check(stub) is False and check(...) is False and check() is False
    assert capsys.readouterr().out.count("not yet") == 3


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (greatest_left_out, "never reach"),
        (cut_off, "cut off"),
        (square, "square"),
        (never_last, "last place"),
        (central, "everywhere"),
        (visible, "one full rectangle"),
        (numbers, "bool"),
        (unseeded, "generator"),
    ],
)
def test_wrong_masks_are_told_why(wrong, says, capsys):
    assert check_rectangle_mask(wrong) is False
    assert says in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (everywhere, "whole image"),
        (where_visible, "visible part"),
        (over_all_pixels, "hidden ones"),
        (absolute, "absolute"),
        (image_by_image, "same weight"),
    ],
)
def test_wrong_losses_are_told_why(wrong, says, capsys):
    assert check_hidden_loss(wrong) is False
    assert says in capsys.readouterr().out


def test_solutions_are_correct(capsys):
    assert check_rectangle_mask(rectangle) is True
    assert check_hidden_loss(mean_where_hidden) is True
    assert capsys.readouterr().out.count("correct") == 2
