"""Checkers of 07: a joint loss, and the figure that is a test result."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F

from brainssl_utils.exercises.base import NotYet, Wrong, call, checker
from brainssl_utils.intervals import wilson_interval


@checker
def check_joint_loss(function: Any) -> str:
    """Check f(contrastive, features, classifier, labels, joint): its value, and which gradients it lets through."""
    generator = torch.Generator().manual_seed(0)
    classifier = torch.nn.Linear(5, 4)
    labels = torch.tensor([0, 1, 2, 3, 1, 0])
    start = torch.randn(6, 5, generator=generator)
    for joint in (True, False):
        features, contrastive = start.clone().requires_grad_(), torch.tensor(1.5, requires_grad=True)
        classifier.zero_grad()
        loss = call(function, contrastive, features, classifier, labels, joint)
        terms = 1.5, F.cross_entropy(classifier(start), labels).item()
        if not isinstance(loss, torch.Tensor):
            raise Wrong("return a tensor, so that backward() can be called on it")
        _compare(loss.item(), *terms)
        loss.backward()
        if classifier.weight.grad is None or contrastive.grad is None:
            raise Wrong("a gradient is missing: both terms must stay connected to what they were computed from")
        reached = features.grad is not None and bool(features.grad.abs().sum() > 0)
        if reached != joint:
            raise Wrong(
                f"with joint={joint} the classifier's gradient {'reaches' if reached else 'misses'} the features"
            )
    return "one sum, and the gradient reaches the features only when it should"


def _compare(value: float, contrastive: float, classification: float) -> None:
    expected = contrastive + classification
    if math.isclose(value, expected, abs_tol=1e-4):
        return
    for result, mistake in (
        (expected / 2, "that is the mean of the two terms; their sum is asked for"),
        (contrastive, "that is the contrastive term alone"),
        (classification, "that is the classifier's term alone"),
    ):
        if math.isclose(value, result, abs_tol=1e-4):
            raise Wrong(mistake)
    raise Wrong(f"the loss is {value:.4f}; the sum of both terms is {expected:.4f}")


@checker
def check_test_accuracy(answer: dict[str, Any]) -> str:
    """Check the answer to "which of the four published figures is the test result, and how sure is it"."""
    if any(answer.get(key, ...) is ... for key in ("name", "correct", "low", "high")):
        raise NotYet("fill in name, correct, low and high")
    if answer["name"] != "val_p_acc":
        raise Wrong(f"{answer['name']} is measured on images the model trains on")
    if answer["correct"] != 223:
        raise Wrong(f"{answer['correct']} of 308 is {answer['correct'] / 308:.2%}, not 72.40 %")
    expected = wilson_interval(223, 308)
    if any(abs(answer[key] - value) > 0.003 for key, value in zip(("low", "high"), expected)):
        raise Wrong(
            "the interval is not the 95 % Wilson interval; brainssl_utils.intervals.wilson_interval gives it, as shares in 0..1"
        )
    return f"223 of 308, between {expected[0]:.1%} and {expected[1]:.1%}"
