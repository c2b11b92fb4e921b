"""The checkers of 07 know a stub, a wrong answer and a right one."""

from __future__ import annotations

import torch.nn.functional as F
from outcomes import outcomes

from brainssl_utils.exercises.proposed_model import check_joint_loss, check_test_accuracy


def right(contrastive, features, classifier, labels, joint):
    return contrastive + F.cross_entropy(classifier(features if joint else features.detach()), labels)


ANSWER = {"name": "val_p_acc", "correct": 223, "low": 0.6716, "high": 0.7709}
WRONG = [
    (check_joint_loss, lambda c, f, k, y, joint: c + F.cross_entropy(k(f), y), "with joint=False"),
    (check_joint_loss, lambda c, f, k, y, joint: c + F.cross_entropy(k(f.detach()), y), "with joint=True"),
    (check_joint_loss, lambda c, f, k, y, joint: right(c.detach(), f, k, y, joint), "a gradient is missing"),
    (check_joint_loss, lambda c, f, k, y, joint: right(c, f, k, y, joint) / 2, "mean of the two terms"),
    (check_joint_loss, lambda c, f, k, y, joint: F.cross_entropy(k(f), y), "classifier's term alone"),
    (check_joint_loss, lambda c, f, k, y, joint: c, "contrastive term alone"),
    (check_joint_loss, lambda c, f, k, y, joint: right(c, f, k, y, joint) + 1, "the sum of both terms is"),
    (check_joint_loss, lambda c, f, k, y, joint: right(c, f, k, y, joint).item(), "return a tensor"),
    (check_joint_loss, lambda c, f, k, y, joint: right(c, f, k, y, joint) * float("nan"), "the loss is nan"),
    (check_test_accuracy, {**ANSWER, "name": "p_acc"}, "images the model trains on"),
    (check_test_accuracy, {**ANSWER, "correct": 72}, "not 72.40 %"),
    (check_test_accuracy, {**ANSWER, "low": 0.5}, "95 % Wilson interval"),
]


STUBS = [(check_joint_loss, lambda *arguments: None), (check_test_accuracy, {**ANSWER, "name": ...})]
RIGHT = [(check_joint_loss, right), (check_test_accuracy, ANSWER)]

test_answers_are_told_what_they_are = outcomes(STUBS, RIGHT, WRONG)
