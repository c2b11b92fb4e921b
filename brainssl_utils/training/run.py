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

MAX_NAME = 200  # bytes: key, ending and what a temporary name adds make 255 of it, which file systems allow


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
        """One row an epoch: epoch, c_loss, c_acc, r_acc, p_loss, p_acc, val_p_acc, dead_features, seconds.

        With `fit`'s `health` those of `evaluation.health.MEASURES` too, and chance_loss.
        """
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
    """Where the training called `name` lies in a run's folder; the key keeps apart checkpoints of the same name.

    Raises:
        CourseError: the name is too long for a file.
    """

    out: Path
    name: str
    key: str

    def __post_init__(self) -> None:
        if len(self.name.encode()) > MAX_NAME:
            raise CourseError(
                f"{self.name} is too long for a file's name: shorten the tag (tag=...) or the name of the images' folder."
            )

    @property
    def record(self) -> Path:
        return self.out / "records" / f"{self.name}.json"

    @property
    def checkpoint(self) -> Path:
        return self.out / "checkpoints" / f"{self.name}.{self.key}.ckpt"

    @property
    def log(self) -> Path:
        return self.out / "logs" / self.name

    @property
    def lock(self) -> Path:
        return self.out / ".locks" / f"{self.name}.lock"

    def drop_others(self) -> None:
        """Delete the checkpoints of this name whose record has just been replaced."""
        for other in self.checkpoint.parent.glob("*.ckpt"):
            if other != self.checkpoint and other.name.rsplit(".", 2)[0] == self.name:
                other.unlink()


def load_run(out: str | Path, record: dict[str, Any], encoder: Any = None) -> Run:
    """Bring back a finished training from its record and the checkpoint beside it.

    Args:
        out: the run's folder, as given to `fit`.
        record: from `records.read_records(out)`.
        encoder: a network of the user's own like the one that was trained, where the record's path does not lead to it.

    Raises:
        CourseError: the checkpoint is gone, damaged or of another training than the record, or the record tells of a
            method that this version of the course does not have, or of code of the user's own that is not there.
    """
    files = RunFiles(Path(out), record["name"], record.get("key", ""))
    if not files.checkpoint.exists():
        raise CourseError(f"{files.checkpoint} is missing: train it again, into the same folder.")
    content = read_checkpoint(files.checkpoint, files.key)
    if content is None:
        raise CourseError(f"{files.checkpoint} is damaged, or of another training than its record: train it again.")
    method = rebuild(record, encoder)
    load_weights(method, content)
    return Run(method, record, files.record)


def load_weights(method: Method, checkpoint: dict[str, Any]) -> None:
    """Load a finished training's weights and history into `method`, which is in evaluation mode then.

    Raises:
        CourseError: they do not fit: the encoder is the user's own, and another than the one that was trained.
    """
    method.start_over()
    try:
        method.load_state_dict(checkpoint["state_dict"])
    except RuntimeError as error:
        raise CourseError(
            f"the saved weights do not fit encoder {method.config['encoder']} as it is now. Where its code was changed, bring "
            "back the earlier one; where it was handed to the method ready made, hand it over again: "
            f"load_run(out, record, encoder=...). ({' '.join(str(error).split())[:300]})"
        ) from error
    method.on_load_checkpoint(checkpoint)
    method.release()
    method.eval()
