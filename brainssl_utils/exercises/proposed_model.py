"""Checkers of 07: a joint loss, and the figure that is a test result."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from brainssl_utils.exercises.base import NotYet, Wrong, as_number, call, checker, name_mistake
from brainssl_utils.intervals import wilson_interval

FIGURES = ("c_acc", "p_acc", "r_acc", "val_p_acc")


@checker
def check_joint_loss(function: Callable[..., Any]) -> str:
    """Check f(contrastive, features, classifier, labels, share): its value, and how much gradient reaches the features."""
    start = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    classifier, labels = torch.nn.Linear(5, 4), torch.tensor([0, 1, 2, 3, 1, 0])
    leaf = start.clone().requires_grad_()
    classification = F.cross_entropy(classifier(leaf), labels)
    (whole,) = torch.autograd.grad(classification, leaf)
    for share in (1.0, 0.0, 0.25):
        features, contrastive = start.clone().requires_grad_(), torch.tensor(1.5, requires_grad=True)
        classifier.zero_grad()
        loss = call(function, contrastive, features, classifier, labels, share)
        if not isinstance(loss, Tensor):
            raise Wrong(f"return a tensor, so that backward() can be called on it; got {type(loss).__name__}")
        _compare(as_number(loss), 1.5, classification.item(), share)
        if not loss.requires_grad:
            raise Wrong("both terms have lost their gradient: the sum does not remember how it was made")
        loss.backward()
        if contrastive.grad is None:
            raise Wrong("the contrastive term's gradient is missing: nothing would train the projection head")
        if classifier.weight.grad is None:
            raise Wrong("the classifier's term has no gradient: nothing would train the classifier")
        reached = torch.zeros_like(start) if features.grad is None else features.grad
        if not torch.allclose(reached, share * whole, atol=1e-6):
            found = float(reached.norm() / whole.norm())
            raise Wrong(f"share={share:g}, and {found:.0%} of the classifier's gradient reach the features")
    return "one sum, whatever the share, and of the classifier's gradient the features get as much as it says"


def _compare(value: float, contrastive: float, classification: float, share: float, images: int = 6) -> None:
    expected = contrastive + classification
    if math.isclose(value, expected, abs_tol=1e-4):
        return
    mistakes = (
        (
            contrastive + share * classification,
            "`share` changes the classifier's term; it should scale a gradient alone",
        ),
        (expected / 2, "that is the mean of the two terms; their sum is asked for"),
        (contrastive, "that is the contrastive term alone: the classifier's is missing"),
        (classification, "that is the classifier's term alone: the contrastive one is missing"),
        (contrastive + images * classification, "the classifier's term is a sum over the images, not their mean"),
        (contrastive - classification, "the classifier's term is subtracted"),
    )
    name_mistake(value, mistakes, abs_tol=1e-4)
    raise Wrong(
        f"share={share:g}: the loss is {value:.4f}. Without the contrastive term of {contrastive:.4f} that leaves "
        f"{value - contrastive:.4f}, where the classifier's term is {classification:.4f}"
    )


@checker
def check_test_accuracy(answer: Any) -> str:
    """Check the answer to "which of the four published figures is the test result, and how sure is it"."""
    if not isinstance(answer, Mapping):
        raise Wrong(f"expected a dictionary with name, correct, low and high, got {type(answer).__name__}")
    given = {key: answer.get(key) for key in ("name", "correct", "low", "high")}
    if any(value is None or value is ... for value in given.values()):
        raise NotYet("fill in name, correct, low and high")
    if given["name"] not in FIGURES:
        raise Wrong(f"name is one of {', '.join(FIGURES)}, not {given['name']!r}")
    if given["name"] != "val_p_acc":
        raise Wrong(f"{given['name']} is measured on images the model trains on")
    correct = as_number(given["correct"], "a number of images for correct")
    if correct != 223:
        raise Wrong(f"{correct:g} of 308 is {correct / 308:.2%}, not 72.40 %")
    low, high = (as_number(given[key], f"a share for {key}") for key in ("low", "high"))
    if not 0 <= low <= high <= 1:
        raise Wrong("low and high are shares between 0 and 1, the smaller one first")
    expected = wilson_interval(223, 308)
    if any(abs(value - right) > 0.003 for value, right in zip((low, high), expected)):
        raise Wrong("low and high are not the ends of the 95 % Wilson interval of 223 in 308")
    return f"223 of 308, between {expected[0]:.1%} and {expected[1]:.1%}"
