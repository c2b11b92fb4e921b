"""What `brainssl doctor` looks at: each check says what it found, whether that will do, and what to do about it."""

from __future__ import annotations

import platform
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from brainssl_utils.compute.machine import available_cores
from brainssl_utils.data.reading.cache import cache_folder
from brainssl_utils.errors import CourseError
from brainssl_utils.files import check_writable, shipped

OK, NOTE, TROUBLE = "ok", "note", "trouble"
TESTED_PYTHONS = ((3, 11), (3, 13))
GIB = 1 << 30
DISK, MEMORY = (1.0, 5.0), (2.0, 4.0)  # GiB: less than the first is trouble, less than the second worth a note
SLOW = 30  # images a second and core, below which lessons take much longer than they say
INSTALL = (
    "in a checkout, `make clean` and `make lab` install the tested versions; elsewhere, pip install brainssl-utils"
)


@dataclass(frozen=True)
class Finding:
    """What one check found: its name, the state ("ok", "note" or "trouble"), what is there, and what to do."""

    name: str
    state: str
    found: str
    advice: str = ""


def examine(folder: str | Path = ".", seconds: float = 2.0) -> list[Finding]:
    """Look at this machine and environment; a check that itself fails is a trouble, and the others go on.

    Args:
        folder: where runs are to be written.
        seconds: how long the training on trial lasts.
    """
    checks: Sequence[tuple[str, Callable[[], Finding]]] = (
        ("Python", python),
        ("packages", packages),
        ("disk", lambda: disk(Path(folder))),
        ("memory", memory),
        ("writing", lambda: writing(Path(folder))),
        ("cache", cache),
        ("processor", processor),
        ("JupyterLab", jupyter),
        ("training", lambda: training(seconds)),
    )
    return [_guarded(name, check) for name, check in checks]


def _guarded(name: str, check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except CourseError as error:
        return Finding(name, TROUBLE, str(error))
    except Exception as error:  # whatever a broken installation raises is what the user came for
        reason = " ".join(str(error).split())[:200]
        return Finding(name, TROUBLE, f"{type(error).__name__}: {reason}", f"The installation is damaged: {INSTALL}.")


def python(running: tuple[int, int] = sys.version_info[:2]) -> Finding:
    """Whether this Python is one the course is tested with."""
    oldest, newest = TESTED_PYTHONS
    name = f"{platform.python_version()} at {sys.executable}"
    if running < oldest:
        return Finding("Python", TROUBLE, name, "Install Python 3.11, 3.12 or 3.13.")
    if running > newest:
        return Finding(
            "Python", NOTE, name, "Newer than what is tested, 3.11 to 3.13; take one of those if something fails."
        )
    return Finding("Python", OK, name)


def packages(project: str = "brainssl-utils") -> Finding:
    """Whether what the course requires is installed, in versions it allows, and whether those are the tested ones."""
    wanted = [Requirement(line) for line in requires(project) or []]
    tested = dict(line.split("==") for line in shipped("constraints.txt").read_text(encoding="utf-8").split())
    tested = {str(canonicalize_name(name)): number for name, number in tested.items()}
    bad, other = [], []
    needed = [requirement for requirement in wanted if requirement.marker is None or requirement.marker.evaluate()]
    for requirement in needed:
        try:
            number = version(requirement.name)
        except PackageNotFoundError:
            bad.append(f"{requirement.name} is missing")
            continue
        if not requirement.specifier.contains(number, prereleases=True):
            bad.append(f"{requirement.name} {number} (needs {requirement.specifier})")
        elif (known := tested.get(canonicalize_name(requirement.name))) and number.partition("+")[0] != known:
            other.append(f"{requirement.name} {number} (tested: {known})")
    if bad:
        return Finding("packages", TROUBLE, "; ".join(bad), f"Install them: {INSTALL}.")
    import torchvision.ops  # noqa: F401  a torch and a torchvision that do not fit each other fail here

    if other:
        return Finding("packages", NOTE, "; ".join(other), f"They are allowed; if something fails, {INSTALL}.")
    return Finding("packages", OK, f"{len(needed)} packages in their tested versions")


def _amount(name: str, free: float, limits: tuple[float, float], what: str, advice: str) -> Finding:
    state = TROUBLE if free < limits[0] else NOTE if free < limits[1] else OK
    return Finding(name, state, f"{free:.1f} GiB {what}", "" if state == OK else advice)


def disk(folder: Path) -> Finding:
    """Whether there is room for runs and the cache of images."""
    there = {_existing(place): place for place in (folder, cache_folder())}
    free = min(shutil.disk_usage(place).free for place in there) / GIB
    return _amount(
        "disk",
        free,
        DISK,
        "free",
        "A course run with its cache takes 1 to 2 GiB: make room, or choose --out elsewhere.",
    )


def _existing(place: Path) -> Path:
    place = place.absolute()
    return next(path for path in (place, *place.parents) if path.exists())


def memory() -> Finding:
    """Whether there is memory for a training."""
    import psutil

    free = psutil.virtual_memory().available / GIB
    return _amount("memory", free, MEMORY, "available", "Close other programs, or work with profile='smoke'.")


def writing(folder: Path) -> Finding:
    """Whether runs can be written in `folder`."""
    check_writable(folder)
    return Finding("writing", OK, f"{folder.absolute()} can be written")


def cache() -> Finding:
    """Where decoded images are kept, whether that can be written, and how much lies there."""
    place = cache_folder()
    check_writable(place)
    size = sum(file.stat().st_size for file in place.rglob("*") if file.is_file()) / GIB
    return Finding("cache", OK, f"{size:.1f} GiB in {place}; it may be deleted at any time")


def processor() -> Finding:
    """Cores, and whether they multiply bfloat16 matrices in hardware."""
    from brainssl_utils.compute import hardware

    cores, fast = available_cores(), hardware.precision() == "bf16-mixed"
    found = (
        f"{cores} cores, {hardware.accelerator()}, {'bfloat16' if fast else 'float32, for they have no fast bfloat16'}"
    )
    if cores < 2 or not fast:
        return Finding(
            "processor", NOTE, found, "Lessons take longer than they say, two to four times; results are as good."
        )
    return Finding("processor", OK, found)


def jupyter() -> Finding:
    """Whether JupyterLab is there and its Python kernel is this environment's."""
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    try:
        number = version("jupyterlab")
        command = KernelSpecManager().get_kernel_spec("python3").argv[0]
    except (PackageNotFoundError, NoSuchKernel) as error:
        return Finding("JupyterLab", TROUBLE, f"{error}", "Install it: pip install jupyterlab ipykernel.")
    # A bare "python" is filled in with the interpreter of the server, ours if it is started from here.
    if Path(command).is_absolute() and Path(command).absolute() != Path(sys.executable).absolute():
        advice = f"Its notebooks would run elsewhere: {sys.executable} -m ipykernel install --sys-prefix puts it right."
        return Finding("JupyterLab", TROUBLE, f"{number}, but its kernel is {command}", advice)
    return Finding("JupyterLab", OK, f"{number} with this environment's kernel")


def training(seconds: float = 2.0) -> Finding:
    """Train SimCLR on noise for some seconds, and tell how fast that went."""
    import torch

    from brainssl_utils.compute import hardware
    from brainssl_utils.methods import make_method
    from brainssl_utils.methods.base import step_generator

    method = make_method("simclr", "fair", image_size=64, seed=0)
    images = torch.randint(0, 256, (64, 1, 64, 64), dtype=torch.uint8, generator=step_generator(0, 0))
    optimiser = torch.optim.Adam(method.parameters(), lr=1e-3)
    loss, steps, began = torch.tensor(torch.nan), 0, time.perf_counter()
    for step in range(1_000_000):
        if step == 2:
            steps, began = 0, time.perf_counter()  # the first steps also prepare
        with hardware.autocast():
            views = [method.views(images, step_generator(0, 2 * step + side)) for side in (0, 1)]
            loss = method.pretext_loss([method.encoder(view) for view in views])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        steps += 1
        if step >= 2 and time.perf_counter() - began > seconds:
            break
    speed = steps * len(images) / (time.perf_counter() - began)
    found = f"{speed:.0f} images a second with SimCLR at 64 x 64 pixels, {torch.get_num_threads()} threads"
    if not bool(torch.isfinite(loss)):
        return Finding("training", TROUBLE, f"the loss is {float(loss)}", f"PyTorch computes wrongly here: {INSTALL}.")
    if speed < SLOW * available_cores():
        return Finding(
            "training", NOTE, found, "Slow: close what else keeps the cores busy, or work with profile='smoke'."
        )
    return Finding("training", OK, found)


def lines(findings: Sequence[Finding]) -> list[str]:
    """Findings as lines of text, advice under each that needs some, and a last line for all."""
    shown = []
    for finding in findings:
        shown.append(f"{finding.state:8}{finding.name:12}{finding.found}")
        shown += [f"{'':20}-> {finding.advice}"] if finding.advice else []
    bad = [finding.name for finding in findings if finding.state == TROUBLE]
    shown.append(f"In the way of the course: {', '.join(bad)}." if bad else "The course can run here.")
    return shown
