"""From a name to a method: protocols, weights drawn from a seed, and how a method is called in tables and figures."""

from __future__ import annotations

import inspect
from typing import Any

import torch

from brainssl_utils.errors import CourseError
from brainssl_utils.methods.base import METHODS, Method
from brainssl_utils.networks import make_encoder

FAIR: dict[str, Any] = {"encoder": "paper"}
"""The fair protocol: one encoder, one set of views, one head for every row; a linear probe reads them all alike."""
PROTOCOLS = ("published", "fair")


def make_method(
    name: str, protocol: str = "fair", image_size: int = 96, seed: int = 0, n_classes: int = 4, **changes: Any
) -> Method:
    """Build a method with freshly drawn weights.

    Args:
        name: a key of `METHODS`.
        protocol: "published" (each method with the architecture of its row in the study) or "fair" (one for all).
        image_size: side of the images, pixels; the profile's.
        seed: fixes the weights.
        n_classes: classes of the labelled images.
        **changes: settings that replace the protocol's, for instance temperature=0.5.

    Raises:
        CourseError: no such method, protocol or setting, or a setting that cannot work.
    """
    _check_method(name)
    if protocol not in PROTOCOLS:
        raise CourseError(f"unknown protocol '{protocol}'. Choose one of: {', '.join(PROTOCOLS)}.")
    settings = FAIR if protocol == "fair" else METHODS[name].published
    if settings is None:
        raise CourseError(f"no study has a row of {METHODS[name].title}: use protocol 'fair'.")
    _check_settings(name, changes)
    settings = {"n_classes": n_classes, **settings}
    method = build(name, {**settings, **changes}, image_size, seed)
    method.protocol = protocol
    if changes:
        usual = build(name, settings, image_size, seed).config
        method.changes = {key: value for key, value in method.config.items() if key in changes and value != usual[key]}
    return method


def build(name: str, settings: dict[str, Any], image_size: int, seed: int) -> Method:
    """Build a method of these very settings, `encoder` (a name) among them, with weights drawn from `seed`."""
    own = {key: value for key, value in settings.items() if key != "encoder"}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        method = METHODS[name](make_encoder(settings["encoder"], image_size), **own)
    method.drawn_with(seed)
    return method


def rebuild(record: dict[str, Any]) -> Method:
    """Build the method that a record tells of, as it was before training.

    Raises:
        CourseError: this version of the course has no such method, setting or encoder.
    """
    config = dict(record["config"])
    _check_method(record["method"])
    size, _ = config.pop("image_size"), config.pop("features")
    _check_settings(record["method"], config)
    method = build(record["method"], config, size, record.get("weights_seed") or 0)
    method.protocol = record["protocol"]
    return method


def method_title(name: str, otherwise: str | None = None) -> str:
    """Return the printed name of a method: "barlow_twins", "BarlowTwins" and "barlow-twins" are all "Barlow Twins".

    A name that is no method's is returned as `otherwise`, or unchanged.
    """
    found = _find(name)
    return found.title if found else otherwise or name


def method_colour(name: str, otherwise: str) -> str:
    """Return the colour of a method in figures, by any spelling of its name; `otherwise` where there is no such method."""
    found = _find(name)
    return found.colour if found else otherwise


def _find(name: str) -> type[Method] | None:
    wanted = _bare(name)
    return next((method for key, method in METHODS.items() if wanted in (_bare(key), _bare(method.title))), None)


def _bare(name: str) -> str:
    return "".join(filter(str.isalnum, name)).lower()


def _check_method(name: str) -> None:
    if name not in METHODS:
        raise CourseError(f"unknown method '{name}'. Choose one of: {', '.join(sorted(METHODS))}.")


def _check_settings(name: str, settings: dict[str, Any]) -> None:
    """Refuse names that neither the method's class takes nor those it builds on."""
    signatures = [inspect.signature(part.__init__) for part in METHODS[name].__mro__ if issubclass(part, Method)]
    taken = [parameter for signature in signatures for parameter in signature.parameters.values()]
    known = {parameter.name for parameter in taken if parameter.kind is not parameter.VAR_KEYWORD} - {"self"}
    if unknown := sorted(set(settings) - known):
        raise CourseError(f"{name} has no setting {', '.join(unknown)}. It has: {', '.join(sorted(known))}.")
