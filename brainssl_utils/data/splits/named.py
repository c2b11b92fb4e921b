"""Splits by the names they carry, as commands, studies and records call them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from brainssl_utils.data.corpus import Corpus
from brainssl_utils.data.splits.copies_removed import paper_split_less
from brainssl_utils.data.splits.draw import default_split, grouped_split, paper_split, patient_split
from brainssl_utils.data.splits.second_project import second_project_split
from brainssl_utils.data.splits.split import Split
from brainssl_utils.errors import CourseError

SPLITS: dict[str, Callable[..., Split]] = {
    "grouped": grouped_split,
    "as published": paper_split,
    "patient": patient_split,
    "copies removed": paper_split_less,
    "others removed": partial(paper_split_less, copies=False),
    "second project": second_project_split,
    "second project, grouped": partial(second_project_split, by_group=True),
}
"""Every split that can be asked for by the name it carries; `default_split` returns one of them on most corpora."""


def split_name(name: str) -> str:
    """Return the name that the split called `name` carries; "published" stands for "as published".

    Raises:
        CourseError: there is no such split.
    """
    found = "as published" if name == "published" else name
    if found not in SPLITS:
        raise CourseError(
            f"unknown split '{name}'. Choose one of: grouped, published (as in the study), patient; or, to see "
            "what copies are worth: copies removed, others removed; or the second project's: second project; second "
            "project, grouped."
        )
    return found


def make_split(name: str, corpus: Corpus, seed: int = 0) -> Split:
    """Draw the split called `name`: "default", "grouped", "as published" (or "published"), "patient" ..., in its default sizes.

    Raises:
        CourseError: there is no such split, or the corpus cannot be split so.
    """
    return default_split(corpus, seed) if name == "default" else SPLITS[split_name(name)](corpus, seed)
