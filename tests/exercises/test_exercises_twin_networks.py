"""The checkers of 02_twin_networks: untouched stubs, mistakes and solutions."""

from __future__ import annotations

import torch
from outcomes import outcomes, untouched

from brainssl_utils.exercises.twin_networks import (
    check_clean_negatives,
    check_contrastive_loss,
    check_largest_distance,
)


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


WRONG = [
    (check_contrastive_loss, not_clipped, "beyond the margin"),
    (check_contrastive_loss, summed, "mean"),
    (check_contrastive_loss, halved, "1/2"),
    (check_contrastive_loss, exchanged, "changed places"),
    (check_contrastive_loss, each, "one number"),
    (check_contrastive_loss, lambda a, b, s, m: loss(a, b, s, m).square(), "one positive pair"),
    (check_contrastive_loss, lambda a, b, s, m: loss(a, b, s, 2 * m), "one negative pair at distance 0.5"),
    (check_contrastive_loss, lambda a, b, s, m: loss(a, b, s, m) * (len(s) + 1) / len(s), "one positive pair"),
    (check_clean_negatives, only_different, "copies"),
    (check_clean_negatives, copies_alone, "one patient"),
    (check_clean_negatives, unknown_as_one, "unknown"),
    (check_clean_negatives, places, "pool"),
    (check_clean_negatives, unseeded, "same generator seed"),
    (check_clean_negatives, always_the_same, "another generator seed"),
    (check_clean_negatives, one_anchor, "draw from all"),
    (check_clean_negatives, too_few, "asked for"),
    (check_largest_distance, 2**0.5, "right angle"),
    (check_largest_distance, 4, "squared"),
    (check_largest_distance, 1, "circle"),
    (check_largest_distance, "two", "number"),
]
RIGHT = [(check_contrastive_loss, loss), (check_clean_negatives, clean), (check_largest_distance, 2)]


STUBS = [*untouched(check_contrastive_loss, check_clean_negatives), (check_largest_distance, ...)]

test_answers_are_told_what_they_are = outcomes(STUBS, RIGHT, WRONG)
