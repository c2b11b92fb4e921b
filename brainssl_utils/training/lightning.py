"""What the course adds to Lightning: its epochs closed, shown and logged, checkpoints written whole, Ctrl-C as usual."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import signal
import threading
import time
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger
from pytorch_lightning.plugins.io import TorchCheckpointIO

from brainssl_utils.checks import check_choice
from brainssl_utils.errors import CourseError
from brainssl_utils.files import atomic_path
from brainssl_utils.methods.base import Method
from brainssl_utils.showing import progress_bar

LOGGERS = ("csv", "tensorboard")


class Epochs(Callback):
    """Closes each epoch: means, accuracies, one line of progress; signs the checkpoint with the training's key.

    `taken_up` holds the epochs at which an interrupted training went on, `continued_from` the epochs that a finished one
    had when it was taken further.
    """

    def __init__(self, title: str, epochs: int, show: bool, key: str) -> None:
        self.key = key
        self.taken_up: list[int] = []
        self.continued_from: list[int] = []
        self.bar = progress_bar(epochs, title, "epoch", show)
        self.start = self.seconds = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.bar.update(trainer.current_epoch - self.bar.n)
        for row in getattr(
            pl_module, "history", []
        ):  # a log starts anew with each call: what came before belongs to it
            _log(trainer, row)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.start = time.perf_counter()

    def on_train_batch_end(self, *_: Any) -> None:
        self.seconds = time.perf_counter() - self.start  # what is measured after the last step is no training

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not isinstance(pl_module, Method):
            raise TypeError(f"Epochs closes the epochs of a Method, not of a {type(pl_module).__name__}.")
        row = pl_module.close_epoch(self.seconds)
        _log(trainer, row)
        shown = {key: f"{row[key]:.2f}" for key in ("c_loss", "c_acc", "p_acc") if row.get(key) is not None}
        self.bar.set_postfix(shown, refresh=False)
        self.bar.update(1)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint |= {"key": self.key, "taken_up": self.taken_up, "continued_from": self.continued_from}

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        epoch = checkpoint["epoch"] + 1
        went_on, finished = epoch < (trainer.max_epochs or 0), checkpoint["key"] != self.key
        self.taken_up = [*checkpoint["taken_up"], *([epoch] if went_on and not finished else [])]
        self.continued_from = [*checkpoint.get("continued_from", []), *([epoch] if finished else [])]

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self.bar.close()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.bar.close()


def make_logger(name: str, folder: Path) -> Logger:
    """Return Lightning's logger called `name` ("csv" or "tensorboard"), which writes into `folder`.

    Raises:
        CourseError: there is no such logger, or TensorBoard is not installed.
    """
    check_choice("logger", name, LOGGERS)
    place = {"save_dir": folder.parent, "name": folder.name, "version": ""}
    if name == "csv":
        return CSVLogger(**place)  # type: ignore[arg-type]
    if not any(importlib.util.find_spec(package) for package in ("tensorboard", "tensorboardX")):
        raise CourseError("logger 'tensorboard' needs the package tensorboard: pip install tensorboard, or use 'csv'.")
    # Epochs are logged again when a training goes on: what an earlier call logged of them is hidden.
    return TensorBoardLogger(**place, purge_step=0)  # type: ignore[arg-type]


def _log(trainer: pl.Trainer, row: dict[str, Any]) -> None:
    numbers = {name: float(value) for name, value in row.items() if value is not None and name != "epoch"}
    for logger in trainer.loggers:
        logger.log_metrics(numbers, step=row["epoch"])
        logger.save()  # at once, so that a training can be watched


class WholeCheckpoints(TorchCheckpointIO):
    """Checkpoints written to a temporary name beside their target and moved over it: whole or not at all.

    Lightning's own writer goes by way of the system's folder for temporary files, which may be another disk.

    Args:
        start: content of the checkpoint that training goes on from, read and checked already; Lightning asks for it once.
    """

    def __init__(self, start: dict[str, Any] | None = None) -> None:
        super().__init__()
        self.start = start

    def load_checkpoint(self, path: Any, *args: Any, **options: Any) -> dict[str, Any]:
        start, self.start = self.start, None  # not kept alive while training
        return super().load_checkpoint(path, *args, **options) if start is None else start

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        with atomic_path(path) as temporary, open(temporary, "wb") as file:  # given a name, torch hides a full disk
            torch.save(checkpoint, file)


def read_checkpoint(path: Path, key: str) -> dict[str, Any] | None:
    """Return the checkpoint of the training `key`; None where there is none, or it is damaged or another's.

    That a file is damaged (cut short, changed, no checkpoint at all) is said. Nothing in it is run.

    Raises:
        CourseError: something lies there that cannot be read: a folder, or a file closed to this user. It may be whole.
    """
    try:
        with zipfile.ZipFile(path) as file:  # torch compares no checksums
            if changed := file.testzip():
                raise zipfile.BadZipFile(f"checksum of {changed}")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CourseError(
            f"{path} cannot be read as a checkpoint ({error.strerror or error}). Make it readable, or move it away to "
            "train anew."
        ) from error
    except Exception as error:  # zipfile and torch raise a dozen kinds for a file that was cut short
        print(f"{path} is damaged ({type(error).__name__}) and counts as absent.")
        return None
    return content if isinstance(content, dict) and content.get("key") == key else None


class CtrlC(Callback):
    """Makes Ctrl-C a KeyboardInterrupt, whenever it comes.

    Lightning exits the process instead, and ignores the signal from then on. And Python forgets an interrupt that comes
    while an object is taken apart ("Exception ignored in ..."), as many are after each step: it is raised again then.
    """

    def __init__(self) -> None:
        self.pressed = False

    def on_train_batch_end(self, *_: Any) -> None:
        if self.pressed:
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def heard(self, trainer: pl.Trainer, message: str) -> Iterator[None]:
        """Within the block an interrupt ends `trainer`'s work as KeyboardInterrupt(`message`)."""
        handler = signal.getsignal(signal.SIGINT)

        def press(number: int, frame: FrameType | None) -> None:
            self.pressed = True
            signal.default_int_handler(number, frame)

        # Whoever handles the signal otherwise, or ignores it as the helpers of a first process do, goes on doing so.
        ours = handler is signal.default_int_handler and threading.current_thread() is threading.main_thread()
        try:
            if ours:
                signal.signal(signal.SIGINT, press)
            yield
        except SystemExit:
            if not trainer.interrupted:
                raise
            raise KeyboardInterrupt(message) from None
        finally:
            if ours or trainer.interrupted:
                signal.signal(signal.SIGINT, handler or signal.default_int_handler)


@contextlib.contextmanager
def quiet_lightning() -> Iterator[None]:
    """Keep Lightning's notices about devices and data loaders, which say nothing here, out of the notebook."""
    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning_fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="pytorch_lightning")
            warnings.filterwarnings("ignore", message="Experiment logs directory")  # ours, and written anew
            warnings.filterwarnings("ignore", message="Grad strides do not match")  # of a kernel with a single channel
            warnings.filterwarnings("ignore", message=".*isinstance\\(treespec, LeafSpec\\).*")
            yield
    finally:
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)
