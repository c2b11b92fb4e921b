"""How every checker is tested: by what it says to an untouched stub, to a mistake and to a solution."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Verdict = Callable[..., str]
"""A call `verdict(check, *answer)` returns what the checker said, after comparing it with what the checker returned."""


@pytest.fixture
def verdict(capsys: pytest.CaptureFixture[str]) -> Verdict:
    def ask(check: Callable[..., bool], *answer: Any) -> str:
        right = check(*answer)
        said = capsys.readouterr().out
        assert bool(right) is said.startswith("correct: ") and said.startswith(
            ("correct: ", "not right: ", "not yet: ")
        )
        return said

    return ask
