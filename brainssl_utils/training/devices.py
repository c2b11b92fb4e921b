"""One training on several devices or machines: what is asked for, what cannot work, and the processes that do it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import DDPStrategy, Strategy
from pytorch_lightning.strategies.launchers import _SubprocessScriptLauncher
from torch import nn

from brainssl_utils.checks import check_choice, check_number
from brainssl_utils.compute import hardware, processes
from brainssl_utils.errors import CourseError
from brainssl_utils.training.batches import step_sizes
from brainssl_utils.training.lightning import quiet_lightning
from brainssl_utils.training.training import Training

STRATEGIES = ("auto", "ddp")


@dataclass(frozen=True)
class Devices:
    """Where one training runs.

    Attributes:
        devices: GPUs of a machine, or processes where there is no GPU.
        strategy: "ddp", Lightning's, which starts the command or script once more for every further device; "auto" is
            that, and no strategy at all for a single device.
        num_nodes: machines, on each of which the same command is started, with MASTER_ADDR, MASTER_PORT and NODE_RANK
            (0, 1, ...) in its environment; torchrun and SLURM set theirs.

    Raises:
        CourseError: a number below 1, an unknown strategy, more GPUs than the machine has, or several devices where the
            program cannot be started once more: in a notebook, at a prompt.
    """

    devices: int = 1
    strategy: str = "auto"
    num_nodes: int = 1

    def __post_init__(self) -> None:
        for name in ("devices", "num_nodes"):
            check_number(name, getattr(self, name), at_least=1, whole=True)
        check_choice("strategy", self.strategy, STRATEGIES)
        if hardware.accelerator() == "cuda" and self.devices > torch.cuda.device_count():
            raise CourseError(
                f"devices is {self.devices}, but this machine has {torch.cuda.device_count()} GPUs. CUDA_VISIBLE_DEVICES=-1 in "
                "the environment trains on processors alone."
            )
        if self.several and not hasattr(sys.modules["__main__"], "__file__"):
            raise CourseError(
                "strategy 'ddp' starts the program once for every device, and a notebook or a prompt cannot be started again: "
                "train with `brainssl train ... --devices N` or a script; `fit` with the same folder then reads what it made."
            )

    @property
    def count(self) -> int:
        """How many processes train."""
        return self.devices * self.num_nodes

    @property
    def several(self) -> bool:
        return self.count > 1

    def about(self) -> dict[str, Any]:
        """What a record says of it."""
        return {**asdict(self), "strategy": "ddp" if self.several else "auto"}

    def for_trainer(self, encoder: nn.Module) -> dict[str, Any]:
        """Lightning's parameters."""
        # Buffers are the same everywhere as it is: an NNCLR queue need not be sent at every step.
        strategy: str | Strategy = DDPStrategy(broadcast_buffers=False) if self.several else "auto"
        return {
            "accelerator": hardware.accelerator(),
            "devices": self.devices,
            "num_nodes": self.num_nodes,
            "strategy": strategy,
            "sync_batchnorm": self.several and has_batch_norm(encoder),
        }

    def check(self, training: Training) -> None:
        """Pass if the processes together take the very steps that one would take.

        Raises:
            CourseError: they cannot.
        """
        if not self.several:
            return
        method, split = training.method, training.split
        pool = int(np.isin(split.unlabeled, training.pool).sum())
        unlabeled, labeled = step_sizes(method, training.profile, pool, len(training.labels))
        least = min(unlabeled, labeled) if method.uses_unlabeled else labeled
        if has_batch_norm(method.encoder) and hardware.accelerator() == "cpu":
            raise CourseError(
                f"encoder {method.config['encoder']} has batch norms, whose means over a batch PyTorch takes over several "
                "processes on GPUs alone: train on one device, or use group or layer norms."
            )
        if self.count > least:
            raise CourseError(
                f"{self.count} processes cannot share a step of {least} images: take fewer devices, or a profile with larger "
                "batches."
            )


def has_batch_norm(network: nn.Module) -> bool:
    """Whether any layer takes means over the images of a batch."""
    return any(isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in network.modules())


class Team:
    """The processes of one training, this one among them.

    Attributes:
        devices: where they run.
        first: whether this one speaks and writes for all.
    """

    def __init__(self, devices: Devices) -> None:
        self.devices, self.first = devices, True
        self._strategy: DDPStrategy | None = None
        if devices.several:
            # Lightning knows from the environment which process this is, and starts the others, if nobody has.
            options = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
            trainer = pl.Trainer(**devices.for_trainer(nn.Identity()), enable_checkpointing=False, **options)  # type: ignore[arg-type]
            self._strategy, self.first = trainer.strategy, trainer.global_rank == 0  # type: ignore[assignment]
            if os.environ.get("LOCAL_RANK", "0") != "0":
                # Ctrl-C reaches all processes of a terminal. The first one stops and ends the others: were each to stop by
                # itself, one could wait for ever for an exchange that the other has left.
                signal.signal(signal.SIGINT, signal.SIG_IGN)

    @contextmanager
    def at_work(self, training: Training) -> Iterator[None]:
        """Within the block all processes are there and train together; those started from here end with a failure of it.

        Raises:
            CourseError: another process is at another training than the first one.
        """
        if self._strategy is None:
            yield
            return
        launcher = self._strategy.launcher
        try:
            with quiet_lightning():
                launcher.launch(self._strategy.setup_environment)  # type: ignore[union-attr]
            with processes.together():
                _check_same(training)
                yield
        except BaseException as error:
            gone = _end(launcher) if isinstance(launcher, _SubprocessScriptLauncher) else []
            if gone and isinstance(error, RuntimeError):  # the connection to it
                raise CourseError(
                    f"{training.name}: a process that trained with this one ended with code {gone[0]} (memory, perhaps). With "
                    "a folder, the same call goes on from the last whole epoch."
                ) from error
            raise


def _check_same(training: Training) -> None:
    """Weights that no seed fixes may differ: the first process's are sent to the others."""
    own = {name: value for name, value in training.depends_on.items() if name != "first weights"}
    theirs = processes.agreed(own)
    if different := [name for name in {**own, **theirs} if own.get(name) != theirs.get(name)]:
        raise CourseError(
            f"process {os.getpid()} is to train {training.name}, the first process something else ({', '.join(different[:3])} "
            "differ): every process must be given the same images and make the same calls of fit in the same order."
        )


def _end(launcher: _SubprocessScriptLauncher) -> list[int]:
    """End the processes that were started from here, which would wait for this one; return codes of those that had failed."""
    started, launcher.procs[:] = list(launcher.procs), []  # Lightning ends this process too if it sees one of them fail
    gone = [code for process in started if (code := process.poll())]
    for process in started:
        process.kill()
        process.wait()
    return gone
