"""Whether a classifier has fitted is one rule: the last epoch's loss on its training images against chance."""

from __future__ import annotations

import math
from typing import Any

import pytest
from test_records import make_record

from brainssl_utils.results.fitted import FITTED_BELOW, fitted, has_fitted
from brainssl_utils.results.records import records_table, summarise, table2


def ending(p_loss: float | None, classes: int = 4, seed: int = 0, method: str = "simclr") -> dict[str, Any]:
    history = [{"epoch": 0, "p_loss": 0.01}, {"epoch": 1, "p_loss": p_loss}]
    return make_record(method, seed, history=history, config={"n_classes": classes})


@pytest.mark.parametrize("classes", [2, 4, 10])
def test_the_last_loss_is_held_against_chance_for_the_number_of_classes(classes: int) -> None:
    chance = math.log(classes)
    assert has_fitted(ending(chance, classes)) is has_fitted(ending(1.01 * FITTED_BELOW * chance, classes)) is False
    assert has_fitted(ending(0.99 * FITTED_BELOW * chance, classes)) is True


def test_records_that_do_not_tell_are_neither() -> None:
    assert has_fitted(ending(None)) is None and has_fitted(make_record(history=[])) is None
    assert fitted([]) == "-" and fitted([ending(None), ending(0.1)]) == "yes"
    assert fitted([ending(1.386), ending(0.1), ending(0.1)]) == "2 of 3" and fitted([ending(1.386)]) == "no"


def test_tables_of_results_say_it() -> None:
    runs = [ending(0.1), ending(1.38, seed=1), ending(1.38, method="nnclr")]
    assert list(records_table(runs)["fitted"]) == ["yes", "no", "no"]
    assert list(summarise(runs)["fitted"]) == ["1 of 2", "no"]
    table = table2(runs)["ours", "fitted"]
    assert table["SimCLR"] == "1 of 2" and table["NNCLR"] == "no" and table["Proposed model"] == "-"
