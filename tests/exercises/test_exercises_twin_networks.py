"""The checkers of 02_twin_networks: untouched stubs, mistakes and solutions."""

from __future__ import annotations

import pytest
import torch

from brainssl_utils.exercises.twin_networks import (
    check_clean_negatives,
    check_contrastive_loss,
    check_largest_distance,
)


def stub(*arguments):
    return ...


def loss(z1, z2, same, margin):
    distance = (z1 - z2).norm(dim=1)
    return torch.where(same, distance**2, (margin - distance).clamp(min=0) ** 2).mean()


def not_clipped(z1, z2, same, margin):
    distance = (z1 - z2).norm(dim=1)
    return torch.where(same, distance**2, (margin - distance) ** 2).mean()


def summed(z1, z2, same, margin):
    return loss(z1, z2, same, margin) * len(same)


def halved(z1, z2, same, margin):
    return loss(z1, z2, same, margin) / 2


def exchanged(z1, z2, same, margin):
    return loss(z1, z2, ~same, margin)


def each(z1, z2, same, margin):
    return (z1 - z2).norm(dim=1)


def clean(pool, group, patient, n, generator):
    first, second = pool[torch.randint(len(pool), (2, 20 * n), generator=generator)]
    neighbours = (patient[first] == patient[second]) & (patient[first] >= 0)
    keep = ((group[first] != group[second]) & ~neighbours).nonzero().flatten()[:n]
    return first[keep], second[keep]


def only_different(pool, group, patient, n, generator):
    first, second = pool[torch.randint(len(pool), (2, 20 * n), generator=generator)]
    keep = (first != second).nonzero().flatten()[:n]
    return first[keep], second[keep]


def copies_alone(pool, group, patient, n, generator):
    first, second = pool[torch.randint(len(pool), (2, 20 * n), generator=generator)]
    keep = (group[first] != group[second]).nonzero().flatten()[:n]
    return first[keep], second[keep]


def unknown_as_one(pool, group, patient, n, generator):
    first, second = pool[torch.randint(len(pool), (2, 20 * n), generator=generator)]
    keep = ((group[first] != group[second]) & (patient[first] != patient[second])).nonzero().flatten()[:n]
    return first[keep], second[keep]


def places(pool, group, patient, n, generator):
    return clean(torch.arange(len(pool)), group, patient, n, generator)


def unseeded(pool, group, patient, n, generator):
    return clean(pool, group, patient, n, None)


def always_the_same(pool, group, patient, n, generator):
    return clean(pool, group, patient, n, torch.Generator().manual_seed(0))


def one_anchor(pool, group, patient, n, generator):
    first, second = clean(pool, group, patient, 8 * n, generator)
    chosen = first == first[0]
    return first[chosen][:1].repeat(n), second[chosen][:1].repeat(n)


def too_few(pool, group, patient, n, generator):
    return clean(pool, group, patient, n // 2, generator)


@pytest.mark.parametrize("check", [check_contrastive_loss, check_clean_negatives])
def test_an_untouched_stub_is_not_yet(check, capsys):
    assert check(stub) is False and check(...) is False and check() is False
    assert capsys.readouterr().out.count("not yet") == 3


def test_an_untouched_number_is_not_yet(capsys):
    assert check_largest_distance(...) is False
    assert "not yet" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (not_clipped, "beyond the margin"),
        (summed, "mean"),
        (halved, "1/2"),
        (exchanged, "changed places"),
        (each, "one number"),
    ],
)
def test_wrong_losses_are_told_why(wrong, says, capsys):
    assert check_contrastive_loss(wrong) is False
    assert says in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (only_different, "copies"),
        (copies_alone, "one patient"),
        (unknown_as_one, "unknown"),
        (places, "pool"),
        (unseeded, "same generator seed"),
        (always_the_same, "another generator seed"),
        (one_anchor, "draw from all"),
        (too_few, "asked for"),
    ],
)
def test_wrong_draws_are_told_why(wrong, says, capsys):
    assert check_clean_negatives(wrong) is False
    assert says in capsys.readouterr().out


@pytest.mark.parametrize(("wrong", "says"), [(2**0.5, "right angle"), (4, "squared"), (1, "circle"), ("two", "number")])
def test_wrong_numbers_are_told_why(wrong, says, capsys):
    assert check_largest_distance(wrong) is False
    assert says in capsys.readouterr().out


def test_solutions_are_correct(capsys):
    assert check_contrastive_loss(loss) is True
    assert check_clean_negatives(clean) is True
    assert check_largest_distance(2) is True
    assert capsys.readouterr().out.count("correct") == 3
