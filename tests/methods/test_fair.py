"""The fair protocol's settings stand in one table, read from the methods themselves, each with its reason."""

from __future__ import annotations

import pytest

from brainssl_utils.methods import METHODS, make_method
from brainssl_utils.methods.fair import CHOICES, fair_table
from brainssl_utils.settings import get_profile


def test_every_choice_has_its_value_and_a_reason() -> None:
    table = fair_table("paper", epochs=30)
    assert len(table) == len(CHOICES) and table.index.is_unique and table["reason"].str.len().min() > 20
    assert table.loc["off-diagonal weight", "value"] == f"{10 / 63:g}"
    assert table.loc["queue length", "value"] == "0.1" and table.loc["temperature", "value"] == "0.1"
    assert table.loc["unlabelled images a step", "value"] == str(get_profile("paper").batch_size)
    assert table.loc["epochs", "value"] == "30" and fair_table("quick").loc["epochs", "value"] != "30"


@pytest.mark.parametrize("choice", [c for c in CHOICES if c.methods], ids=lambda choice: choice.setting)
def test_methods_named_for_a_choice_are_those_that_have_it(choice: object) -> None:
    configs = {name: make_method(name, "fair", 32).config for name in METHODS}
    assert all(choice.key in configs[name] for name in choice.methods)
    if choice.key in ("temperature", "off_diagonal_weight", "queue_size"):
        assert {name for name, config in configs.items() if choice.key in config} == set(choice.methods)


def test_one_value_holds_for_all_methods_that_have_the_setting() -> None:
    assert not fair_table("smoke")["value"].str.contains(" / ").any()
