"""The checkers of 07 know a stub, a wrong answer and a right one."""

from __future__ import annotations

import pytest
import torch.nn.functional as F

from brainssl_utils.exercises.proposed_model import check_joint_loss, check_test_accuracy


def right(contrastive, features, classifier, labels, joint):
    return contrastive + F.cross_entropy(classifier(features if joint else features.detach()), labels)


def test_joint_loss_stub_and_solution(capsys: pytest.CaptureFixture[str]) -> None:
    assert not check_joint_loss(lambda *arguments: None) and "not yet" in capsys.readouterr().out
    assert check_joint_loss(right) and "correct" in capsys.readouterr().out


@pytest.mark.parametrize(
    "wrong",
    [
        lambda c, f, k, y, joint: c + F.cross_entropy(k(f), y),
        lambda c, f, k, y, joint: c + F.cross_entropy(k(f.detach()), y),
        lambda c, f, k, y, joint: right(c.detach(), f, k, y, joint),
        lambda c, f, k, y, joint: right(c, f, k, y, joint) / 2,
        lambda c, f, k, y, joint: right(c, f, k, y, joint).item(),
    ],
)
def test_joint_loss_wrong_answers_are_found(wrong, capsys: pytest.CaptureFixture[str]) -> None:
    assert not check_joint_loss(wrong) and "not right" in capsys.readouterr().out


def test_test_accuracy(capsys: pytest.CaptureFixture[str]) -> None:
    answer = {"name": "val_p_acc", "correct": 223, "low": 0.6716, "high": 0.7709}
    assert check_test_accuracy(answer)
    assert not check_test_accuracy({**answer, "name": ...}) and "not yet" in capsys.readouterr().out
    for change in ({"name": "p_acc"}, {"correct": 72}, {"low": 0.5}):
        assert not check_test_accuracy({**answer, **change})
