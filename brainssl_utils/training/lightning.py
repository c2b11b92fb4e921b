"""What the course adds to Lightning: its epochs closed and shown, Ctrl-C as usual, its notices kept quiet."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from tqdm import tqdm

from brainssl_utils.methods.base import Method


class Epochs(Callback):
    """Closes each epoch: means, accuracies, one line of progress; signs the checkpoint with the training's key.

    `taken_up` holds the epochs at which an interrupted training went on.
    """

    def __init__(self, title: str, epochs: int, show: bool, key: str) -> None:
        self.key = key
        self.taken_up: list[int] = []
        self.bar = tqdm(
            total=epochs, desc=title, unit="epoch", disable=not show, file=None, dynamic_ncols=False, ncols=100
        )
        self.start = 0.0
        self.seconds = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.bar.update(trainer.current_epoch - self.bar.n)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.start = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Method)
        row = pl_module.close_epoch(time.perf_counter() - self.start)
        shown = {key: f"{row[key]:.2f}" for key in ("c_loss", "c_acc", "p_acc") if row.get(key) is not None}
        self.bar.set_postfix(shown, refresh=False)
        self.bar.update(1)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint |= {"key": self.key, "taken_up": self.taken_up}

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self.taken_up = [*checkpoint["taken_up"], checkpoint["epoch"] + 1]

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.bar.close()


@contextlib.contextmanager
def usual_ctrl_c(trainer: pl.Trainer, name: str) -> Iterator[None]:
    """Make Ctrl-C a KeyboardInterrupt again: Lightning exits the process instead, and ignores the signal from then on."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit:
        if not trainer.interrupted:
            raise
        signal.signal(signal.SIGINT, handler or signal.default_int_handler)
        raise KeyboardInterrupt(f"training of {name} was interrupted; call again to continue") from None


class quiet_lightning:
    """Keep Lightning's notices about devices and data loaders, which say nothing here, out of the notebook."""

    def __enter__(self) -> None:
        import logging
        import warnings

        self.logger = logging.getLogger("pytorch_lightning")
        self.level = self.logger.level
        self.logger.setLevel(logging.ERROR)
        self.warnings = warnings.catch_warnings()
        self.warnings.__enter__()
        warnings.filterwarnings("ignore", module="pytorch_lightning")
        warnings.filterwarnings("ignore", message=".*isinstance\\(treespec, LeafSpec\\).*")

    def __exit__(self, *error: object) -> None:
        self.logger.setLevel(self.level)
        self.warnings.__exit__(None, None, None)
