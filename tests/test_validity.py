"""Keys: made of what decides numbers, and of nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from brainssl_utils import validity

PARTS = {
    "method": {"name": "simclr", "protocol": "fair", "temperature": 0.1},
    "first_weights": "seed 0",
    "corpus": "c" * 64,
    "rows": {"labels": np.arange(5), "test": np.arange(5, 9)},
    "sizes": {"name": "quick", "epochs": 8},
    "seed": 0,
}


def key(**changes: object) -> str:
    return validity.training_key(validity.training_parts(**{**PARTS, **changes}))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change",
    [
        {"method": {**PARTS["method"], "temperature": 0.5}},
        {"method": {**PARTS["method"], "protocol": "published"}},
        {"first_weights": "seed 1"},
        {"corpus": "d" * 64},
        {"rows": {"labels": np.arange(4), "test": np.arange(5, 9)}},
        {"sizes": {"name": "quick", "epochs": 9}},
        {"seed": 1},
    ],
)
def test_what_decides_a_training_is_in_its_key(change: dict[str, object]) -> None:
    assert key(**change) != key()


def test_what_decides_nothing_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {"labels": np.arange(5, dtype=np.int32), "test": np.arange(5, 9)}
    assert key(sizes={"name": "mine", "epochs": 8}, rows=rows) == key(), "a profile's name, an index's type"
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert key() == key()


@pytest.mark.parametrize("stage", ["training", "evaluation"])
def test_raising_a_stages_version_changes_the_keys_that_rest_on_it(monkeypatch: pytest.MonkeyPatch, stage: str) -> None:
    before = key(), validity.evaluation_key(key(), "linear", 0), validity.reading_key("files", "name", 96)
    monkeypatch.setitem(validity.VERSIONS, stage, validity.VERSIONS[stage] + 1)
    after = key(), validity.evaluation_key(key(), "linear", 0), validity.reading_key("files", "name", 96)
    assert [one != other for one, other in zip(before, after)] == [stage == "training", True, False]


def test_a_patch_release_keeps_the_key_and_a_new_series_changes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    before = key()
    for version, same in (("2.14.9", True), ("2.15.0", False)):
        known = {"torch": version, "lightly": "1.6.0"}
        monkeypatch.setattr(validity, "version", known.__getitem__)
        monkeypatch.setattr(validity, "PackageNotFoundError", KeyError)
        assert (validity.training_parts(**PARTS)["library torch"] == "2.14") == same  # type: ignore[arg-type]
        assert (key() == before) == same


def test_comments_and_layout_of_a_lesson_are_not_in_its_key() -> None:
    def lesson(*code: str) -> str:
        return validity.lesson_key(code, {"seed": 0}, "phantoms", {})

    assert lesson("a = 1  # why\n\nb = [1,\n 2]") == lesson("a = 1\nb = [1, 2]")
    assert lesson("a = 1") != lesson("a = 2") and lesson("%magic") != lesson("%other")


def test_a_digest_tells_types_shapes_and_borders_apart() -> None:
    different = [
        validity.digest(*parts)
        for parts in (
            (np.zeros(4),), (np.zeros((2, 2)),), (np.zeros(4, np.int64),), ([0, 0],), ("ab", "c"), ("a", "bc"), (1,), ("1",),
        )
    ]  # fmt: skip
    assert len(set(different)) == len(different)
    assert validity.digest({"a": 1, "b": (2,)}) == validity.digest({"b": [2], "a": 1})
    with pytest.raises(TypeError):
        validity.digest({1, 2})


def test_no_key_depends_on_source_files() -> None:
    """An edit of prose, comments or an unrelated module makes nothing stale: nothing hashes code."""
    package = Path(validity.__file__).parent
    reads = [p.name for p in package.rglob("*.py") if "read_bytes()" in p.read_text() and "__file__" in p.read_text()]
    assert json.dumps(reads) == "[]"
