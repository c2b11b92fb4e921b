"""What an earlier call left of a training: its finished record, or a checkpoint to go on from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from brainssl_utils.methods.base import Method
from brainssl_utils.results import records
from brainssl_utils.training.lightning import read_checkpoint
from brainssl_utils.training.run import RunFiles
from brainssl_utils.training.training import Training

PLAIN_OPTIMIZER = Method.configure_optimizers


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was read and found whole.

    Attributes:
        path: its file.
        content: what is in it.
    """

    path: Path
    content: dict[str, Any]


@dataclass(frozen=True)
class Earlier:
    """What is there already.

    Attributes:
        record: of this very training, finished.
        start: its weights; without a record, what training goes on from: this training, interrupted, or a finished one
            with fewer epochs.
    """

    record: dict[str, Any] | None = None
    start: Checkpoint | None = None


def find_earlier(training: Training, files: RunFiles, say: Callable[[str], None]) -> Earlier:
    """Look, once, at what lies in the run's folder under this training's name; say what is taken up or replaced."""
    record = _read_record(files, say)
    own = _checkpoint(files)
    if record is not None and record.get("key") == training.key:
        if own is None:
            say(f"{training.name}: the record is there, its weights are not; training again.")
            return Earlier()
        say(f"{training.name}: finished earlier, read from {files.record}.")
        return Earlier(record, own)
    shorter = record is not None and _is_shorter(record, training)
    if record is not None and not shorter:
        say(f"{training.name}: {_what_differs(record, training)}; its record is replaced when this training is done.")
    if own is not None:
        say(f"{training.name}: goes on after epoch {own.content['epoch'] + 1} of {training.profile.epochs}.")
        return Earlier(start=own)
    return Earlier(start=_finished_shorter(record, training, files, say) if record and shorter else None)


def _read_record(files: RunFiles, say: Callable[[str], None]) -> dict[str, Any] | None:
    if not files.record.exists():
        return None
    try:
        return records.read_record(files.record)
    except records.NoRecordError as error:
        say(f"{error} It is replaced when this training is done.")
        return None


def _checkpoint(files: RunFiles) -> Checkpoint | None:
    content = read_checkpoint(files.checkpoint, files.key)
    return None if content is None else Checkpoint(files.checkpoint, content)


def _finished_shorter(
    record: dict[str, Any], training: Training, files: RunFiles, say: Callable[[str], None]
) -> Checkpoint | None:
    """The last checkpoint of a finished training with fewer epochs."""
    epochs = record["sizes"]["epochs"]
    found = _checkpoint(replace(files, key=record["key"]))
    if found is None:
        say(
            f"{training.name}: {epochs} epochs were trained earlier, but their weights are gone; training from the start."
        )
    else:
        say(f"{training.name}: {epochs} epochs were trained earlier; going on to {training.profile.epochs}.")
    return found


def _what_differs(record: dict[str, Any], training: Training) -> str:
    before, now = record.get("depends_on"), training.depends_on
    if before is None:
        return "an earlier version of the course trained one of this name"
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    shown = [f"{name} {before.get(name)} (now {now.get(name)})" for name in names[:3]]
    return f"one of this name was trained with {', '.join(shown)}{' and more' if len(names) > 3 else ''}"


def _is_shorter(record: dict[str, Any], training: Training) -> bool:
    """Whether a record is of this very training with fewer epochs, which can be taken further.

    Not where a method plans for its length, or brings its own optimiser, whose schedule of learning rates would do so.
    """
    epochs, method = record.get("sizes", {}).get("epochs", 0), type(training.method)
    planned = method.plans_length or method.configure_optimizers is not PLAIN_OPTIMIZER
    if planned or not 0 < epochs < training.profile.epochs:
        return False
    return record.get("key") == training.with_epochs(epochs).key
