"""Every exercise of the course answers three kinds of wrong answer with a sentence that names what is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
import torch
from IPython.core.formatters import DisplayFormatter
from test_exercises_copies import hash_copies, one_pass
from test_exercises_data_merging import keep_all, split_patients
from test_exercises_nnclr import half_a_pool_late
from test_exercises_proposed_model import ANSWER
from test_exercises_simclr import NEGATIVES, heads, run_like
from test_exercises_without_negatives import HISTORIES

from brainssl_utils.data.splits.draw import paper_split
from brainssl_utils.exercises import (
    barlow_twins,
    comparison,
    copies,
    data_merging,
    masked_encoder,
    nnclr,
    proposed_model,
    simclr,
    twin_networks,
    without_negatives,
)
from brainssl_utils.exercises.base import Verdict

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
KINDS = ("wrong kind", "no number", "mistake")
NAN, INFINITE = float("nan"), float("inf")
Answer = tuple[Any, str]  # what a student hands in, and words of the sentence that answers it


def gives(value: Any) -> Callable[..., Any]:
    """A function that returns `value`, whatever it is given."""
    return lambda *given: value


def like(value: Any, shape: Callable[..., tuple[int, ...]]) -> Callable[..., Any]:
    """A function that returns a tensor full of `value`, of a shape made of what it is given."""
    return lambda *given: torch.full(shape(*given), value)


# A checker -> for each of KINDS an answer, and words that must be in what is said of it. "no number": NaN, infinity, or a
# number that counts nothing.
TABLE: dict[Callable[..., Any], tuple[Answer, Answer, Answer]] = {
    copies.check_hash_copies: (
        (gives("01"), "expected a list of pairs"),
        (gives([(0.0, NAN)]), "whole numbers"),
        (lambda hashes, k: hash_copies(hashes, k + 1), "is not a copy"),
    ),
    copies.check_groups: (
        (gives("A"), "whole numbers, one a picture"),
        (lambda n, pairs: np.full(n, NAN), "whole numbers, one a picture"),
        (one_pass, "are joined by a chain"),
    ),
    data_merging.check_repaired_split: (
        (gives("train, test"), "return 3 arrays"),
        (lambda train, unlabeled, test, group: (train * NAN, unlabeled, test), "train: expected a flat array of row"),
        (keep_all, "still lie in both"),
    ),
    data_merging.check_patient_split: (
        (gives(("a", "b")), "train: expected a flat array of row"),
        (lambda patients, share, seed: (np.full(3, INFINITE), np.arange(2)), "train: expected a flat array of row"),
        (lambda patients, share, seed: split_patients(patients, share / 4, seed), "were asked for"),
    ),
    twin_networks.check_contrastive_loss: (
        (gives("0.5"), "expected one number"),
        (gives(torch.tensor(NAN)), "got nan"),
        (lambda z1, z2, same, margin: (z1 - z2).norm(dim=1).mean(), "one positive pair"),
    ),
    twin_networks.check_clean_negatives: (
        (gives(("a", "b")), "tensor of row numbers"),
        (like(NAN, lambda pool, group, patient, n, draw: (2, n)), "two tensors"),
        (lambda pool, group, patient, n, draw: (pool[:1].repeat(n), pool[:1].repeat(n)), "copies of one picture"),
    ),
    twin_networks.check_largest_distance: (("two", "expected one number"), (NAN, "got nan"), (4, "squared distance")),
    masked_encoder.check_rectangle_mask: (
        (gives([[True]]), "expected a tensor"),
        (like(NAN, lambda size, least, greatest, draw: (size, size)), "expected bool"),
        (lambda size, least, greatest, draw: torch.ones(size, size, dtype=torch.bool), "go up to 9"),
    ),
    masked_encoder.check_hidden_loss: (
        (gives("0.5"), "expected one number, as a tensor"),
        (lambda repaired, image, hidden: repaired.mean() * NAN, "got nan"),
        (lambda repaired, image, hidden: (repaired - image).square().mean(), "whole image"),
    ),
    simclr.check_recipe: (
        ({"flip": "often"}, "expected numbers"),
        ({"noise": NAN}, "got nan"),
        ({"noise": 0.01}, "too easy"),
    ),
    simclr.check_nt_xent: (
        (gives(0.5), "as a tensor"),
        (gives(torch.tensor(INFINITE)), "got inf"),
        (lambda z1, z2, temperature: z1.mean() + z2.mean(), "expected"),
    ),
    simclr.check_temperature: (("0.3", "expected one number"), (NAN, "got nan"), (0.1, "raise it")),
    simclr.check_prediction: ((True, "'higher' or 'lower', got True"), (NAN, "got nan"), ("lower", "you said lower")),
    barlow_twins.check_cross_correlation: (
        (gives("eye"), "expected the matrix"),
        (like(NAN, lambda z_a, z_b: (z_a.shape[1], z_a.shape[1])), "NaN or infinite"),
        (lambda z_a, z_b: z_a.T @ z_b, "no correlation lies beyond 1"),
    ),
    barlow_twins.check_barlow_slope: (
        (gives("up"), "expected the slopes"),
        (like(INFINITE, lambda c, weight: tuple(c.shape)), "NaN or infinite"),
        (lambda c, weight: 2 * c, "on the diagonal: an entry"),
    ),
    barlow_twins.check_r_acc: (
        (gives(True), "expected one number"),
        (gives(NAN), "got nan"),
        (lambda c: float((c.argmax(1) == torch.arange(len(c))).sum()), "between 0 and 1"),
    ),
    nnclr.check_nearest_neighbours: (
        (gives("q0"), "as a tensor"),
        (like(NAN, lambda queries, queue, own, owner: tuple(queries.shape)), "NaN or infinite"),
        (lambda queries, queue, own, owner: queries, "no entries of the queue"),
    ),
    nnclr.check_fifo_queue: (
        (gives([1]), "as a tensor"),
        (like(NAN, lambda queue, batch: tuple(queue.shape)), "NaN or infinite"),
        (lambda queue, batch: queue, "nothing was pushed"),
    ),
    nnclr.check_queue_length: (("long", "expected a whole number"), (NAN, "got nan"), (400, "shorter")),
    proposed_model.check_joint_loss: (
        (gives("sum"), "return a tensor"),
        (lambda contrastive, *others: contrastive * NAN, "got nan"),
        (lambda contrastive, *others: contrastive, "the classifier's is missing"),
    ),
    proposed_model.check_test_accuracy: (
        ("72.40 %", "expected a dictionary"),
        ({**ANSWER, "low": NAN}, "a share for low, got nan"),
        ({**ANSWER, "name": "c_acc"}, "the model trains on"),
    ),
    comparison.check_chance_level: (
        (gives("half"), "expected one number"),
        (gives(NAN), "got nan"),
        (gives(0.5), "guessed right now and then"),
    ),
    comparison.check_rows_differ: (
        (gives("yes"), "answer True or False"),
        (gives(NAN), "answer True or False"),
        (gives(True), "the intervals overlap"),
    ),
    without_negatives.check_deviation: (
        (gives("wide"), "expected one number"),
        (gives(NAN), "got nan"),
        (lambda z: z.std(0).mean(), "length 1"),
    ),
    without_negatives.check_simsiam_loss: (
        (gives(-0.5), "as a tensor"),
        (gives(torch.tensor(INFINITE)), "got inf"),
        (lambda p1, p2, z1, z2: (p1 - z2).mean(), "expected"),
    ),
    without_negatives.check_moved_teacher: (
        (gives("student"), "a list of 2 tensors"),
        (lambda teacher, student, momentum: [part * NAN for part in teacher], "NaN or infinite"),
        (lambda teacher, student, momentum: [part.detach() for part in student], "should be"),
    ),
    without_negatives.check_outcomes: (
        ("hold", "a dictionary"),
        ({"one": NAN, "other": "narrow"}, 'expected "hold" or "narrow", got nan'),
        ({"one": "hold", "other": "hold"}, "ends at 0.10"),
    ),
}
VALUES = (
    *("check_largest_distance", "check_outcomes", "check_prediction"),
    *("check_queue_length", "check_recipe", "check_temperature"),
)
"""Checkers of a value, not of a function."""
CASES = [(check, *answer) for check, answers in TABLE.items() for answer in answers]
NAMES = [f"{check.__name__}, {kind}" for check in TABLE for kind in KINDS]


@pytest.fixture
def given(phantoms) -> dict[str, tuple[Any, ...]]:
    """What checkers are given beside the answer."""
    return {
        "check_repaired_split": (phantoms, paper_split(phantoms, 0)),
        "check_patient_split": (phantoms,),
        "check_recipe": (heads(),),
        "check_temperature": (NEGATIVES,),
        "check_prediction": (run_like(views="flip_crop", c_acc=0.8), run_like(), "views", "c_acc"),
        "check_outcomes": (HISTORIES,),
        "check_queue_length": (half_a_pool_late, 0.25, 400),
    }


@pytest.mark.parametrize(("check", "answer", "words"), CASES, ids=NAMES)
def test_a_wrong_answer_of_each_kind_is_told_what_is_wrong(check, answer, words, given, verdict):
    said = verdict(check, answer, *given.get(check.__name__, ()))
    assert said.startswith("not right: ") and words in said
    assert "your answer stops with" not in said, "a sentence, not an error of the checker's own"


@pytest.mark.parametrize("check", TABLE, ids=lambda check: check.__name__)
@pytest.mark.parametrize("answer", [None, ..., gives(None)], ids=["None", "Ellipsis", "returns None"])
def test_nothing_is_no_answer_yet(check, answer, given, verdict):
    if callable(answer) and check.__name__ in VALUES:
        pytest.skip("its answer is a value")
    if callable(answer) and check.__name__ == "check_test_accuracy":
        answer = dict.fromkeys(ANSWER)
    assert verdict(check, answer, *given.get(check.__name__, ())).startswith("not yet: ")


def test_the_table_has_every_exercise_of_every_lesson():
    called = set()
    for path in NOTEBOOKS.glob("*.ipynb"):
        for cell in nbformat.read(path, as_version=4).cells:
            if "exercise" in cell.metadata.get("tags", []):
                called |= set(re.findall(r"^(check_\w+)\(", cell.source, re.MULTILINE))
    assert called == {check.__name__ for check in TABLE}


def test_a_value_that_is_no_function_is_told_so(verdict):
    assert "hand over the function itself" in verdict(twin_networks.check_contrastive_loss, "loss")
    assert "hand over the function itself" in verdict(copies.check_hash_copies, 3)


def test_a_verdict_shows_nothing_under_what_was_printed():
    assert DisplayFormatter().format(Verdict(True)) == ({}, {})
