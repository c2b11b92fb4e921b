"""Helpers of the course on self-supervised learning for brain-MRI tumour images.

Names load on first use, so that importing the package stays light: torch and its friends come in with the first call
that needs them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "Corpus": "brainssl_utils.data.corpus",
    "load_corpus": "brainssl_utils.data.corpus",
    "Split": "brainssl_utils.data.splits",
    "paper_split": "brainssl_utils.data.splits",
    "grouped_split": "brainssl_utils.data.splits",
    "patient_split": "brainssl_utils.data.splits",
    "label_subset": "brainssl_utils.data.splits",
    "validation_part": "brainssl_utils.data.splits",
    "leakage": "brainssl_utils.data.splits",
    "fit": "brainssl_utils.training",
    "Run": "brainssl_utils.training",
    "CourseError": "brainssl_utils.errors",
}
_MODULES = (
    "data", "methods", "evaluation", "exercises", "metrics", "networks", "plots", "records", "settings", "training", "views",
)  # fmt: skip
__all__ = [*_HOMES, *_MODULES, "__version__"]

if TYPE_CHECKING:
    from brainssl_utils.data.corpus import Corpus, load_corpus
    from brainssl_utils.data.splits import (
        Split,
        grouped_split,
        label_subset,
        leakage,
        paper_split,
        patient_split,
        validation_part,
    )
    from brainssl_utils.errors import CourseError
    from brainssl_utils.training import Run, fit


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name in _MODULES:
        return importlib.import_module(f"brainssl_utils.{name}")
    raise AttributeError(f"module 'brainssl_utils' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
