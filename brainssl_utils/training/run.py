"""A finished training, and the files in which it is kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from brainssl_utils.errors import CourseError
from brainssl_utils.methods.base import Method
from brainssl_utils.methods.make import rebuild
from brainssl_utils.training.lightning import read_checkpoint


@dataclass
class Run:
    """A finished training.

    Attributes:
        method: the trained method, on the CPU, in evaluation mode.
        record: everything the record file holds (see `brainssl_utils.results.records`).
        path: the record's file, None when `fit` was given no folder.
    """

    method: Method
    record: dict[str, Any]
    path: Path | None

    @property
    def history(self) -> pd.DataFrame:
        """One row an epoch: epoch, c_loss, c_acc, r_acc, p_loss, p_acc, val_p_acc, dead_features, seconds."""
        return pd.DataFrame(self.record["history"])

    @property
    def test(self) -> dict[str, Any]:
        """The test report: the classifier's accuracy with its 95 % interval, recall, confusion."""
        return self.record["test"]

    @property
    def name(self) -> str:
        return self.record["name"]


@dataclass(frozen=True)
class RunFiles:
    """Where the training called `name` lies in a run's folder; the key keeps apart checkpoints of the same name."""

    out: Path
    name: str
    key: str

    @property
    def record(self) -> Path:
        return self.out / "records" / f"{self.name}.json"

    @property
    def checkpoint(self) -> Path:
        return self.out / "checkpoints" / f"{self.name}.{self.key}.ckpt"

    @property
    def lock(self) -> Path:
        return self.out / ".locks" / f"{self.name}.lock"

    def drop_others(self) -> None:
        """Delete the checkpoints of this name whose record has just been replaced."""
        for other in self.checkpoint.parent.glob("*.ckpt"):
            if other != self.checkpoint and other.name.rsplit(".", 2)[0] == self.name:
                other.unlink()


def load_run(out: str | Path, record: dict[str, Any]) -> Run:
    """Bring back a finished training from its record and the checkpoint beside it.

    Args:
        out: the run's folder, as given to `fit`.
        record: from `records.read_records(out)`.

    Raises:
        CourseError: the checkpoint is gone, damaged or of another training than the record, or the record tells of a
            method that this version of the course does not have.
    """
    files = RunFiles(Path(out), record["name"], record.get("key", ""))
    if not files.checkpoint.exists():
        raise CourseError(f"{files.checkpoint} is missing: train it again, into the same folder.")
    content = read_checkpoint(files.checkpoint, files.key)
    if content is None:
        raise CourseError(f"{files.checkpoint} is damaged, or of another training than its record: train it again.")
    method = rebuild(record)
    load_weights(method, content)
    return Run(method, record, files.record)


def load_weights(method: Method, checkpoint: dict[str, Any]) -> None:
    """Load a finished training's weights and history into `method`, which is in evaluation mode then."""
    method.start_over()
    method.load_state_dict(checkpoint["state_dict"])
    method.on_load_checkpoint(checkpoint)
    method.release()
    method.eval()
