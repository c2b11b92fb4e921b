"""Models on the same test images, compared by pairs: the p-value, the intervals, the tables, and what may not be paired."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from brainssl_utils.errors import CourseError
from brainssl_utils.evaluation.comparison import (
    compare,
    compare_over_seeds,
    comparison_table,
    paired_table,
    verdict,
    verdicts,
)
from brainssl_utils.evaluation.reports import test_report

CLASSES = ["glioma", "meningioma", "no_tumor", "pituitary"]
Answers = tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]


def answers(b: int, c: int, both: int = 20, neither: int = 5) -> Answers:
    """True classes and two models' answers: `b` images the first alone has right, `c` the second alone."""
    first = np.repeat([1, 0, 1, 0], [b, c, both, neither])
    second = np.repeat([0, 1, 1, 0], [b, c, both, neither])
    return np.ones(len(first), int), first, second


def simulated(rng: np.random.Generator, n: int, first: float = 0.6, second: float = 0.7) -> Answers:
    """Two models that are right with these shares, and correlated, since they find the same images hard."""
    ease = rng.random(n)
    right = [(ease + rng.normal(0, 0.2, n) < share).astype(int) for share in (first, second)]
    return np.ones(n, int), right[0], right[1]


def made(method: str = "simclr", seed: int = 0, share: float = 0.6, **changes: Any) -> dict[str, Any]:
    """A record as `fit` writes it, as far as comparisons read it; the same seed tests on the same images."""
    rng = np.random.default_rng([seed, int(100 * share)])
    rows, truth = np.arange(60) + 100 * seed, np.arange(60) % 4
    predicted = np.where(rng.random(60) < share, truth, (truth + 1) % 4)
    report = test_report(truth, predicted, CLASSES)
    record = {
        "method": method, "title": method.title(), "protocol": "fair", "tag": "", "split": "grouped", "seed": seed,
        "data": {"fingerprint": "abc"}, "test": report, "test_rows": rows.tolist(),
        "evaluations": {"linear": test_report(truth, truth, CLASSES)},
    }  # fmt: skip
    return record | changes


# One pair ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("b, c", [(0, 1), (1, 6), (3, 3), (2, 13), (30, 12)])
def test_the_p_value_is_the_binomial_by_hand(b: int, c: int) -> None:
    tail = sum(math.comb(b + c, k) for k in range(min(b, c) + 1)) / 2 ** (b + c)
    found = compare(*answers(b, c))
    assert found.p == pytest.approx(min(1, 2 * tail))
    assert (found.b, found.c, found.n) == (b, c, b + c + 25)
    assert found.difference == pytest.approx((c - b) / (b + c + 25))


def test_images_on_which_the_models_agree_do_not_change_the_p_value() -> None:
    assert compare(*answers(2, 13, both=0, neither=0)).p == compare(*answers(2, 13, both=5000, neither=100)).p


def test_equal_models_differ_by_nothing() -> None:
    truth, first, _ = answers(4, 9)
    assert compare(truth, first, first) == (0, 0, 0, 1, 0, 0, len(truth))
    over = compare_over_seeds([(truth, first, first)] * 3)
    assert over == (0, 0, 0, 0, 0, 1, 0, 0, 3 * len(truth), 3)


def test_the_order_of_the_models_flips_the_sign() -> None:
    truth, first, second = answers(4, 13)
    one, other = compare(truth, first, second), compare(truth, second, first)
    assert one.difference == -other.difference > 0 and one.p == other.p and (one.b, one.c) == (other.c, other.b)
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low), abs=0.02)


def test_the_interval_is_that_of_images_drawn_with_replacement() -> None:
    truth, first, second = simulated(np.random.default_rng(0), 150)
    gain = (second == truth).astype(int) - (first == truth)
    drawn = np.random.default_rng(1).choice(gain, (10_000, 150)).mean(1)
    found = compare(truth, first, second)
    assert (found.low, found.high) == pytest.approx(np.percentile(drawn, [2.5, 97.5]), abs=0.01)
    assert found == compare(truth, first, second), "seeded"
    assert found.low < found.difference < found.high


def test_the_interval_holds_the_true_difference_as_often_as_it_says() -> None:
    rng, inside = np.random.default_rng(0), 0
    everyone = [model.mean() for model in simulated(rng, 400_000)[1:]]
    for _ in range(400):
        found = compare(*simulated(rng, 120), draws=1000)
        inside += found.low <= everyone[1] - everyone[0] <= found.high
    assert 0.91 <= inside / 400 <= 0.98


def test_pairs_tell_apart_what_separate_intervals_do_not() -> None:
    truth, first, second = answers(2, 20, both=150, neither=130)
    reports = [test_report(truth, model, CLASSES) for model in (first, second)]
    assert reports[0]["ci95"][1] > reports[1]["ci95"][0], "the Wilson intervals overlap"
    found = compare(truth, first, second)
    assert found.low > 0 and found.p < 0.001


# Groups -----------------------------------------------------------------------------------------------------------------


def test_groups_widen_the_interval_and_raise_the_p_value() -> None:
    truth, first, second = (np.repeat(part, 5) for part in answers(4, 14, both=20, neither=10))
    patient = np.arange(len(truth)) // 5
    alone, grouped = compare(truth, first, second), compare(truth, first, second, groups=patient)
    assert grouped.difference == alone.difference and (grouped.b, grouped.c) == (20, 70)
    assert grouped.high - grouped.low > 2 * (alone.high - alone.low)
    assert grouped.p == pytest.approx(compare(*answers(4, 14)).p), "a patient counts once"
    assert alone.p < grouped.p / 100


def test_what_groups_are_called_and_in_which_order_they_come_is_nothing_to_the_result() -> None:
    truth, first, second = simulated(np.random.default_rng(2), 90)
    patient = np.arange(90) // 4
    order = np.random.default_rng(3).permutation(90)
    named = np.array([f"patient {number:03d}" for number in patient])
    assert compare(truth, first, second, patient) == compare(truth[order], first[order], second[order], named[order])


def test_answers_that_do_not_belong_together_are_refused() -> None:
    truth, first, second = answers(2, 3)
    for wrong in ((truth, first, second[1:]), (truth[1:], first, second), ([], [], []), (truth[None],) * 3):
        with pytest.raises(CourseError, match="same images"):
            compare(*wrong)
    with pytest.raises(CourseError, match="groups"):
        compare(truth, first, second, groups=np.zeros(3))
    with pytest.raises(CourseError, match="at least two"):
        compare_over_seeds([(truth, first, second)])
    with pytest.raises(CourseError, match="1 arrays of groups for 2 seeds"):
        compare_over_seeds([(truth, first, second)] * 2, groups=[np.zeros(len(truth))])


# Seeds ------------------------------------------------------------------------------------------------------------------


def test_over_seeds_the_difference_is_the_mean_and_t_is_students() -> None:
    parts = [answers(2, c) for c in (3, 8, 12)]
    each = [compare(*part) for part in parts]
    found = compare_over_seeds(parts)
    differences = [one.difference for one in each]
    half = 4.302653 * np.std(differences, ddof=1) / 3**0.5  # t of two degrees of freedom
    assert found.difference == pytest.approx(np.mean(differences))
    assert (found.t_low, found.t_high) == pytest.approx((found.difference - half, found.difference + half))
    assert (found.b, found.c, found.n, found.seeds) == (6, 23, sum(one.n for one in each), 3)
    assert found.p == pytest.approx(compare(*answers(6, 23)).p)


def test_seeds_that_disagree_widen_the_interval_beyond_that_of_the_images() -> None:
    steady = compare_over_seeds([answers(20, 40, both=100)] * 4)
    torn = compare_over_seeds([answers(20, c, both=140 - c) for c in (10, 20, 60, 70)])
    assert torn.difference == steady.difference
    assert torn.high - torn.low > 1.5 * (steady.high - steady.low)


def test_images_that_every_seed_tests_count_once() -> None:
    part = answers(3, 14)
    rows = np.arange(len(part[0]))
    once = compare(*part)
    apart, same = compare_over_seeds([part] * 3), compare_over_seeds([part] * 3, groups=[rows] * 3)
    assert same.p == pytest.approx(once.p) and apart.p < once.p / 10
    assert (same.low, same.high) == pytest.approx((once.low, once.high), abs=0.02)
    assert apart.high - apart.low < 0.85 * (same.high - same.low)


def test_tiny_parts_of_several_seeds_give_numbers() -> None:
    found = compare_over_seeds([answers(1, 1, 1, 0), answers(0, 1, 0, 0)])
    assert np.isfinite(found).all()


# Tables -----------------------------------------------------------------------------------------------------------------


def report_pair(b: int, c: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Reports of a model and of what it is set against."""
    truth, first, second = answers(b, c)
    return test_report(truth, second, CLASSES), test_report(truth, first, CLASSES)


def test_holms_correction_is_the_one_by_hand() -> None:
    pairs = {(f"m{c}", "base"): report_pair(2, c) for c in (15, 9, 4, 2)}
    table = paired_table(pairs).set_index("model")
    p = table["p"].to_numpy()
    assert (np.diff(p) > 0).all()
    by_hand = np.minimum(1, np.maximum.accumulate(p * [4, 3, 2, 1]))
    assert table["p_holm"].to_numpy() == pytest.approx(by_hand)
    assert (table["comparisons"] == 4).all() and (table["against"] == "base").all()
    assert table.loc["m15", "difference"] == pytest.approx(100 * 13 / table.loc["m15", "n"])
    assert not table.isna().any(axis=None)


def test_groups_may_differ_from_pair_to_pair() -> None:
    pairs = {("a", "base"): report_pair(2, 9), ("b", "base"): report_pair(2, 15)}
    groups = {key: np.arange(report["n"]) // 2 for key, (report, _) in pairs.items()}
    table = paired_table(pairs, groups)
    truth, first, second = answers(2, 15)
    assert table["p"].iloc[1] == compare(truth, first, second, groups["b", "base"]).p


def test_records_are_paired_seed_by_seed() -> None:
    records = [made(name, seed, share) for seed in (0, 1, 2) for name, share in (("a", 0.3), ("b", 0.8), ("c", 0.31))]
    table = comparison_table(records, "A, fair").set_index("model")
    assert list(table.index) == ["B, fair", "C, fair"] and (table["seeds"] == 3).all() and (table["n"] == 180).all()
    parts = [(r["test"]["truth"], r["test"]["predictions"]) for r in records]
    over = compare_over_seeds([(*parts[3 * seed], parts[3 * seed + 1][1]) for seed in range(3)])
    assert table.loc["B, fair", "difference"] == pytest.approx(100 * over.difference)
    assert table.loc["B, fair", "p"] == pytest.approx(over.p) and table.loc["B, fair", "p_holm"] < 0.001
    assert table.loc["B, fair", "lo"] > 0 > table.loc["C, fair", "lo"]
    backwards = comparison_table(records, "B, fair").set_index("model")
    assert backwards.loc["A, fair", "difference"] == pytest.approx(-table.loc["B, fair", "difference"])
    linear = comparison_table(records, "A, fair", "linear")
    assert (linear["difference"] == 0).all() and (linear["p_holm"] == 1).all()


def test_a_seed_that_one_model_lacks_is_left_out_and_names_follow_by() -> None:
    records = [made("a"), made("a", 1), made("b", share=0.8), made("a", tag="wide", share=0.7)]
    table = comparison_table(records, "A", by=("method", "tag")).set_index("model")
    assert list(table.index) == ["B", "A, wide"] and (table["seeds"] == 1).all()
    with pytest.raises(CourseError, match="no seed in common"):
        comparison_table([made("a"), made("b", 1)], "A, fair")
    with pytest.raises(CourseError, match=r"no record of 'C'\. There are: A, fair; B, fair"):
        comparison_table([made("a"), made("b")], "C")
    with pytest.raises(CourseError, match="twice with seed 0"):
        comparison_table([made("a"), made("a", tag="wide"), made("b")], "A", by=("method",))
    with pytest.raises(CourseError, match="at least two models"):
        comparison_table([made("a")], "A, fair")


def test_groups_of_the_corpus_are_looked_up_by_row() -> None:
    records = [made("a", share=0.4), made("b", share=0.7)]
    patient = np.arange(1000) // 3
    one, other = (record["test"]["predictions"] for record in records)
    by_hand = compare(records[0]["test"]["truth"], one, other, patient[records[0]["test_rows"]])
    assert comparison_table(records, "A, fair", groups=patient)["p"].item() == by_hand.p


def test_units_that_the_records_name_are_drawn_together() -> None:
    patient = (np.arange(60) // 3).tolist()
    records = [made(name, seed, share) for seed in (0, 1) for name, share in (("a", 0.4), ("b", 0.7))]
    alone = comparison_table(records, "A, fair")
    named = [{**record, "test_units": patient} for record in records]
    parts = [(r["test"]["truth"], r["test"]["predictions"]) for r in records]
    answers = [(*parts[2 * seed], parts[2 * seed + 1][1]) for seed in range(2)]
    by_hand = compare_over_seeds(answers, [patient, patient])
    table = comparison_table(named, "A, fair")
    assert table["p"].item() == by_hand.p != alone["p"].item()
    assert table["lo"].item() == 100 * by_hand.low != alone["lo"].item()
    # One record of each seed is enough, for both models were tested on the same images ...
    assert comparison_table([*named[:1], *records[1:3], *named[3:]], "A, fair").equals(table)
    # ... and where a seed's are not known, numbers of units and of rows are not mixed.
    assert comparison_table([*named[:2], *records[2:]], "A, fair").equals(alone)
    other = comparison_table(named, "A, fair", groups=np.arange(1000))
    assert other["p"].item() == alone["p"].item(), "who names groups is followed"


@pytest.mark.parametrize(
    "changes, what",
    [
        ({"test_rows": list(range(1, 61))}, "rows"),
        ({"test_rows": list(range(59))}, "rows"),
        ({"data": {"fingerprint": "other"}}, "corpora"),
    ],
)
def test_records_of_other_images_are_refused_by_name(changes: dict[str, Any], what: str) -> None:
    with pytest.raises(CourseError, match=rf"'A, fair, seed 0' and 'B, fair, seed 0'.* different {what}"):
        comparison_table([made("a"), made("b", **changes)], "A, fair")


def test_reports_of_other_images_are_refused_by_name() -> None:
    one, other = test_report([0, 1], [0, 0], CLASSES), test_report([1, 0], [0, 0], CLASSES)
    with pytest.raises(CourseError, match="'base' and 'model' were scored on different images"):
        paired_table({("model", "base"): (one, other)})


def test_records_without_answers_say_to_train_again() -> None:
    for field in ("truth", "predictions"):
        old = copy.deepcopy(made("b"))
        del old["test"][field]
        with pytest.raises(CourseError, match=r"'B, fair'.*train that model again"):
            comparison_table([made("a"), old], "A, fair")
    old = made("b")
    del old["test_rows"]
    with pytest.raises(CourseError, match=r"'B, fair, seed 0'.*train that model again"):
        comparison_table([made("a"), old], "A, fair")
    with pytest.raises(CourseError, match=r"no reading 'knn'. It has: test, linear"):
        comparison_table([made("a"), made("b")], "A, fair", "knn")


# Sentences --------------------------------------------------------------------------------------------------------------


def row(**changes: Any) -> Any:
    values = {
        "model": "A", "against": "B", "difference": 3.21, "lo": 0.4, "hi": 6.1, "p": 0.006, "p_holm": 0.03,
        "comparisons": 5, "finding": "above", "seeds": 1, "n": 308,
    }  # fmt: skip
    return pd.DataFrame([values | changes]).iloc[0]


def test_a_verdict_says_which_is_ahead_by_how_much_and_whether_it_may_be_chance() -> None:
    said = "A is **3.2 points above** B [0.4, 6.1], p = 0.03 after Holm's correction over 5 comparisons"
    assert verdict(row()) == said
    below = row(difference=-3.21, lo=-6.1, hi=-0.4, p_holm=1e-5, comparisons=1, seeds=3, finding="below")
    assert verdict(below) == "A is **3.2 points below** B [-6.1, -0.4] over 3 seeds, p < 0.001"
    unsure = row(p_holm=0.2, comparisons=1, finding="open")
    assert verdict(unsure) == "A **cannot be told apart** from B: +3.2 points [0.4, 6.1], p = 0.2"


def test_above_and_below_take_the_interval_and_the_p_value() -> None:
    ahead, even = report_pair(2, 15), report_pair(4, 4)
    one = paired_table({("a", "base"): ahead, ("b", "base"): ahead[::-1], ("c", "base"): even})
    assert one["finding"].tolist() == ["above", "below", "open"]
    many = paired_table({(f"m{i}", "base"): ahead for i in range(30)})
    assert (many["lo"] > 0).all() and (many["p"] < 0.05).all() and (many["finding"] == "open").all()
    one_patient = paired_table({("a", "base"): ahead}, np.zeros(ahead[0]["n"]))
    assert one_patient["finding"].item() == "open", "one patient proves nothing"


def test_a_table_is_told_line_by_line() -> None:
    table = paired_table({("m", "base"): report_pair(2, 15), ("other", "base"): report_pair(2, 2)})
    first, second = verdicts(table).splitlines()
    assert first == f"- {verdict(table.iloc[0])}." and "m is **" in first
    assert second.startswith("- other **cannot be told apart** from base: +0.0 points")
