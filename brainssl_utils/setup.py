"""Make the environment: `python -m brainssl_utils.setup` in a checkout, with nothing installed yet. `make` calls it too."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from brainssl_utils.errors import CourseError, exit_code

ROOT = Path(__file__).parents[1]
CPU_BUILD = "https://download.pytorch.org/whl/cpu"
"""PyTorch's index of builds without NVIDIA's libraries, by its install page (pytorch.org/get-started/locally)."""


def python_of(environment: Path) -> Path:
    """Path of the Python of a virtual environment."""
    return environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def make_environment(environment: Path, extras: str = "dev", torch: str = "") -> None:
    """Make a virtual environment with the tested versions; one that is there gets what it lacks.

    torch and torchvision go in first and as a pair: resolved alone, torch can pick a build torchvision does not fit.

    Args:
        environment: folder of the environment.
        extras: names of pyproject's optional dependencies, with commas between them.
        torch: "cpu" takes PyTorch's build without CUDA; "" what the package index has.

    Raises:
        CourseError: this is no checkout, `torch` is another word, this Python is too old, or pip could not install.
    """
    if not (ROOT / "constraints.txt").is_file():
        raise CourseError(
            f"{ROOT} is no checkout of the course: there, `pip install brainssl-utils` is all there is to do."
        )
    if torch not in ("", "cpu"):
        raise CourseError(f"torch '{torch}': expected cpu, or nothing for the usual build.")
    if sys.version_info < (3, 11):  # noqa: UP036  whichever Python the user called
        raise CourseError(f"this is Python {sys.version.split()[0]}; the course needs 3.11 or newer.")
    if not python_of(environment).exists():
        _run([sys.executable, "-m", "venv", str(environment)])
    install = [str(python_of(environment)), "-m", "pip", "install", "--quiet", "--constraint", "constraints.txt"]
    index = ["--extra-index-url", CPU_BUILD] if torch == "cpu" else []
    _run([*install, *index, "torch", "torchvision"])
    _run([*install, "--editable", f".[{extras}]"])


def next_steps(environment: Path) -> str:
    """What to do when it is made."""
    activate = f"{environment}\\Scripts\\activate" if os.name == "nt" else f"source {environment}/bin/activate"
    return f"ready. Next: {activate}, then brainssl doctor, then jupyter lab"


def _run(command: Sequence[str]) -> None:
    print("+", " ".join(command), flush=True)
    if subprocess.run(command, cwd=ROOT).returncode:
        raise CourseError("the command above failed; what it said stands there. Calling again goes on.")


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and make the environment."""
    parser = argparse.ArgumentParser(prog="python -m brainssl_utils.setup", description=(__doc__ or "").strip())
    parser.add_argument(
        "--extras", default="dev", help="optional dependencies to install too: dev,docs,browser,medical"
    )
    parser.add_argument("--torch", default="", help="cpu: PyTorch without NVIDIA's libraries (Linux)")
    chosen = parser.parse_args(arguments)
    environment = Path(".venv")
    code = exit_code(lambda: make_environment(ROOT / environment, chosen.extras, chosen.torch))
    if code:
        sys.exit(code)
    print(next_steps(environment))


if __name__ == "__main__":
    main()
