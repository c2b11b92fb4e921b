"""Helpers of the course on self-supervised learning for brain-MRI tumour images.

Names load on first use, so that importing the package stays light: torch and its friends come in with the first call
that needs them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from brainssl_utils.compute.environment import apply as _apply_environment

_apply_environment()  # before anything loads torch, which reads it once

__version__ = "1.0.0"

_HOMES = {
    "Corpus": "brainssl_utils.data.corpus",
    "load_corpus": "brainssl_utils.data.loading",
    "Split": "brainssl_utils.data.splits.split",
    "default_split": "brainssl_utils.data.splits.draw",
    "paper_split": "brainssl_utils.data.splits.draw",
    "grouped_split": "brainssl_utils.data.splits.draw",
    "patient_split": "brainssl_utils.data.splits.draw",
    "label_subset": "brainssl_utils.data.splits.subsets",
    "validation_part": "brainssl_utils.data.splits.subsets",
    "leakage": "brainssl_utils.data.splits.leakage",
    "fit": "brainssl_utils.training.trainer",
    "Run": "brainssl_utils.training.run",
    "reference": "brainssl_utils.training.reference",
    "predict": "brainssl_utils.training.use",
    "embed": "brainssl_utils.training.use",
    "CourseError": "brainssl_utils.errors",
}
_MODULES = {
    name: f"brainssl_utils.{name}"
    for name in (
        "data",
        "methods",
        "evaluation",
        "exercises",
        "metrics",
        "networks",
        "plots",
        "settings",
        "training",
        "views",
    )
} | {"records": "brainssl_utils.results.records"}
__all__ = [*_HOMES, *_MODULES, "__version__"]

if TYPE_CHECKING:
    from brainssl_utils.data.corpus import Corpus
    from brainssl_utils.data.loading import load_corpus
    from brainssl_utils.data.splits.draw import default_split, grouped_split, paper_split, patient_split
    from brainssl_utils.data.splits.leakage import leakage
    from brainssl_utils.data.splits.split import Split
    from brainssl_utils.data.splits.subsets import label_subset, validation_part
    from brainssl_utils.errors import CourseError
    from brainssl_utils.training.reference import reference
    from brainssl_utils.training.run import Run
    from brainssl_utils.training.trainer import fit
    from brainssl_utils.training.use import embed, predict


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name in _MODULES:
        return importlib.import_module(_MODULES[name])
    raise AttributeError(f"module 'brainssl_utils' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
