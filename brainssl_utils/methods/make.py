"""From a name to a method: protocols, weights drawn from a seed, and how a method is called in tables and figures."""

from __future__ import annotations

import inspect
from typing import Any

import torch

from brainssl_utils.encoders import OwnEncoder, make_encoder
from brainssl_utils.errors import CourseError
from brainssl_utils.methods.base import METHODS, VIEWS, Method
from brainssl_utils.showing import notice

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
        **changes: settings that replace the protocol's, for instance temperature=0.5; `encoder` is "paper", "reference" or
            one of the user's own (see `encoders.make_encoder`), `encoder_arguments` what it is made with.

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
        asked = {*changes, *(("encoder_arguments",) if "encoder" in changes else ())}
        method.changes = {
            key: value for key, value in method.config.items() if key in asked and value != usual.get(key)
        }
    return method


def build(name: str, settings: dict[str, Any], image_size: int, seed: int) -> Method:
    """Build a method of these very settings, `encoder` and `encoder_arguments` among them, with weights drawn from `seed`."""
    own = {key: value for key, value in settings.items() if key not in ("encoder", "encoder_arguments")}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = make_encoder(settings["encoder"], image_size, settings.get("encoder_arguments"))
        method = METHODS[name](encoder, **own)
    if not isinstance(encoder, OwnEncoder) and settings["encoder"] is not encoder:
        method.drawn_with(seed)  # weights of any other origin are called by their content
    return method


def rebuild(record: dict[str, Any], encoder: Any = None) -> Method:
    """Build the method that a record tells of, as it was before training.

    Args:
        record: as `fit` wrote it.
        encoder: a network in place of the one that the record names, where that cannot be imported.

    Raises:
        CourseError: this version of the course has no such method, setting or encoder, or the user's own code that the record
            names cannot be imported or made.
    """
    config = dict(record["config"])
    _check_method(record["method"])
    size, _, _ = config.pop("image_size"), config.pop("features"), config.pop("encoder_code", None)
    if encoder is not None:
        config = {**config, "encoder": encoder, "encoder_arguments": {}}
    _check_settings(record["method"], config)
    method = build(record["method"], config, size, record.get("weights_seed") or 0)
    method.protocol = record["protocol"]
    for what, now in (("encoder_code", method.config.get("encoder_code")), *((v, method.config[v]) for v in VIEWS)):
        if encoder is None and now != record["config"].get(what):
            name = method.config["encoder"] if what == "encoder_code" else now["path"]
            notice(f"{name} is not the code that {record['name']} was trained with any more.", stacklevel=3)
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
    known |= {"encoder_arguments"}
    if unknown := sorted(set(settings) - known):
        raise CourseError(f"{name} has no setting {', '.join(unknown)}. It has: {', '.join(sorted(known))}.")
