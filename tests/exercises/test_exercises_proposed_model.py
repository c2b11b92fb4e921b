"""The checkers of 07 know a stub, a wrong answer and a right one."""

from __future__ import annotations

import torch.nn.functional as F
from outcomes import outcomes

from brainssl_utils.exercises.proposed_model import check_joint_loss, check_test_accuracy


def right(contrastive, features, classifier, labels, share):
    seen = share * features + (1 - share) * features.detach()
    return contrastive + F.cross_entropy(classifier(seen), labels)


def all_or_nothing(contrastive, features, classifier, labels, share):
    return contrastive + F.cross_entropy(classifier(features if share else features.detach()), labels)


def sum_over_images(contrastive, features, classifier, labels, share):
    return contrastive + F.cross_entropy(classifier(features), labels, reduction="sum")


ANSWER = {"name": "val_p_acc", "correct": 223, "low": 0.6716, "high": 0.7709}
WRONG = [
    (check_joint_loss, lambda c, f, k, y, s: c + F.cross_entropy(k(f), y), "share=0, and 100%"),
    (check_joint_loss, lambda c, f, k, y, s: c + F.cross_entropy(k(f.detach()), y), "share=1, and 0%"),
    (check_joint_loss, all_or_nothing, "share=0.25, and 100%"),
    (check_joint_loss, lambda c, f, k, y, s: c + s * F.cross_entropy(k(f), y), "scale a gradient"),
    (check_joint_loss, sum_over_images, "sum over the images"),
    (check_joint_loss, lambda c, f, k, y, s: right(c.detach(), f, k, y, s), "contrastive term's gradient is missing"),
    (
        check_joint_loss,
        lambda c, f, k, y, s: c + right(c * 0, f, k, y, s).detach(),
        "classifier's term has no gradient",
    ),
    (check_joint_loss, lambda c, f, k, y, s: right(c, f, k, y, s).detach(), "both terms have lost"),
    (check_joint_loss, lambda c, f, k, y, s: right(c, f, k, y, s) / 2, "mean of the two terms"),
    (check_joint_loss, lambda c, f, k, y, s: F.cross_entropy(k(f), y), "classifier's term alone"),
    (check_joint_loss, lambda c, f, k, y, s: c - F.cross_entropy(k(f), y), "subtracted"),
    (check_joint_loss, lambda c, f, k, y, s: c, "contrastive term alone"),
    (check_joint_loss, lambda c, f, k, y, s: right(c, f, k, y, s) + 1, "where the classifier's term is"),
    (check_joint_loss, lambda c, f, k, y, s: right(c, f, k, y, s).item(), "return a tensor"),
    (check_test_accuracy, {**ANSWER, "name": "p_acc"}, "images the model trains on"),
    (check_test_accuracy, {**ANSWER, "name": "accuracy"}, "name is one of"),
    (check_test_accuracy, {**ANSWER, "correct": 72}, "not 72.40 %"),
    (check_test_accuracy, {**ANSWER, "low": 0.5}, "95 % Wilson interval"),
    (check_test_accuracy, {**ANSWER, "low": 67.2, "high": 77.1}, "between 0 and 1"),
]


STUBS = [(check_joint_loss, lambda *arguments: None), (check_test_accuracy, {**ANSWER, "name": ...})]
RIGHT = [(check_joint_loss, right), (check_test_accuracy, ANSWER)]

test_answers_are_told_what_they_are = outcomes(STUBS, RIGHT, WRONG)
