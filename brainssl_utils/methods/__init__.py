"""The methods, one file each. A new method is one such file: it is found here, and named nowhere else."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

from brainssl_utils.methods.base import METHODS, Method
from brainssl_utils.methods.make import PROTOCOLS, make_method, method_colour, method_title

for _module in pkgutil.iter_modules(__path__, f"{__name__}."):
    importlib.import_module(_module.name)


def __getattr__(name: str) -> Any:
    """A method's class by its name: `methods.SimCLR`."""
    for method in METHODS.values():
        if method.__name__ == name:
            return method
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")


__all__ = ["METHODS", "PROTOCOLS", "Method", "make_method", "method_colour", "method_title"]
