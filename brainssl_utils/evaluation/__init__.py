"""Reading what an encoder has learned: probes, fine-tuning, the report on the test images.

What readers call is here by name and loads on first use; the modules import each other's names from where they are.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "FeatureBank": "features",
    "FineTuned": "fine_tuning",
    "FineTuning": "fine_tuning",
    "ImageNetEncoder": "baselines",
    "Pixels": "baselines",
    "encode": "features",
    "evaluate": "protocol",
    "fine_tune": "fine_tuning",
    "imagenet_features": "baselines",
    "knn_probe": "probes",
    "label_curve": "protocol",
    "linear_probe": "probes",
    "pixel_knn": "protocol",
    "random_encoder": "baselines",
    "test_report": "reports",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
