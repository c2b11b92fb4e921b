"""Where a result came from: versions, commit and kind of machine, without names or paths."""

from __future__ import annotations

import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from brainssl_utils.compute.machine import available_cores, cpu_features

PACKAGES = (
    "torch", "torchvision", "pytorch-lightning", "lightly",
    "numpy", "pandas", "scikit-learn", "scipy", "nilearn",
)  # fmt: skip


def environment() -> dict[str, str]:
    """Versions of Python, this package and the libraries results depend on; a missing one is left out."""
    import brainssl_utils

    found = {"python": platform.python_version(), "brainssl_utils": brainssl_utils.__version__}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def git_commit() -> str | None:
    """Commit of the course's own repository, with "+changes" if its files differ from it; None outside one."""
    package = Path(__file__).resolve().parents[1]

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(package), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()

    try:
        # Installed inside somebody else's repository (an environment in their project), the commit would be theirs.
        if Path(git("rev-parse", "--show-toplevel")).resolve() != package.parent:
            return None
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "HEAD") + ("+changes" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None


def host() -> dict[str, Any]:
    """Coarse description of the machine: what speed depends on, and nothing that tells whose it is."""
    described: dict[str, Any] = {
        "system": platform.system(),
        "machine": platform.machine(),
        "cpus": available_cores(),
        "cpu_features": cpu_features(),
    }
    torch = sys.modules.get("torch")  # described if in use, never imported for it
    if torch is not None:
        described["threads"] = torch.get_num_threads()
        described["gpu"] = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return described
