"""The effects that lessons promise are compared by pairs, kept with the run and listed over seeds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.lesson_effects import main
from brainssl_utils import CourseError
from brainssl_utils.results.effects import effects_table, save_effect


def report(right: np.ndarray) -> dict:
    return {"truth": [1] * len(right), "predictions": right.astype(int).tolist()}


def answers(seed: int, share: float, n: int = 400) -> dict:
    return report(np.random.default_rng(seed).random(n) < share)


def test_a_gain_and_a_tie_are_kept_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed, (trained, untrained) in enumerate([(0.8, 0.5), (0.8, 0.5), (0.5, 0.5)]):
        pair = answers(2 * seed, trained), answers(2 * seed + 1, untrained)
        said = save_effect(tmp_path / f"seed{seed}", "04", {("SimCLR", "random weights"): pair})
        assert ("points above** random weights" in said) is (trained > untrained)
    save_effect(tmp_path / "seed1", "A1", {("met", "not met"): (answers(1, 0.8), answers(2, 0.5))})
    save_effect(tmp_path / "seed0", "05", {("Barlow Twins", "random weights"): (answers(1, 0.5), answers(2, 0.8))})
    runs = [tmp_path / f"seed{seed}" for seed in (0, 1, 2)]
    table = effects_table(runs).set_index("lesson")
    assert table["clear"].to_dict() == {"04": 2, "05": 0, "A1": 1} and list(table.index) == ["04", "05", "A1"]
    assert table.loc["05", "seed1"] == "" and table.loc["05", "seed0"].startswith("-")
    main([str(run) for run in runs])
    assert "SimCLR" in capsys.readouterr().out


def test_the_first_pair_is_the_promise(tmp_path: Path) -> None:
    good, poor = answers(0, 0.9), answers(1, 0.4)
    said = save_effect(tmp_path, "04", {("a", "b"): (good, poor), ("c", "b"): (poor, poor), ("d", "b"): (poor, good)})
    promise, *others = said.splitlines()
    assert promise.startswith("- The promise: a is **") and "Holm" not in promise
    assert all("after Holm's correction over 2 comparisons" in line and "promise" not in line for line in others)
    assert effects_table([tmp_path])[["model", "clear"]].values.tolist() == [["a", 1]]


def test_images_of_one_patient_widen_the_interval(tmp_path: Path) -> None:
    pair = answers(0, 0.8, 300), answers(1, 0.6, 300)
    wide = [np.repeat(part["predictions"], 8).tolist() for part in pair]
    copied = tuple({"truth": [1] * 2400, "predictions": part} for part in wide)
    save_effect(tmp_path / "alone", "04", {("a", "b"): copied})
    save_effect(tmp_path / "patients", "04", {("a", "b"): copied}, np.arange(2400) // 8)
    alone, patients = (effects_table([tmp_path / name]).loc[0, name] for name in ("alone", "patients"))
    width = [np.ptp([float(x) for x in text.split("[")[1].rstrip("]").split(",")]) for text in (alone, patients)]
    assert width[1] > 2 * width[0]


def test_a_folder_without_effects_and_a_lesson_that_is_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CourseError, match="no lesson has saved its effect"):
        effects_table([tmp_path])
    with pytest.raises(CourseError, match="such as "):
        save_effect(tmp_path, "4", {})
