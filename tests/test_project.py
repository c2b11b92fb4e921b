"""The project's own files agree with each other, and importing the package is free of side effects."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version
from rattler import MatchSpec

ROOT = Path(__file__).parents[1]
CONDA_NAMES = {"pytorch": "torch"}  # conda's name: PyPI's name
HEAVY = "torch torchvision pytorch_lightning lightly sklearn faiss nilearn h5py matplotlib seaborn pandas"


def pyproject() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def requirements(lines: list[str]) -> dict[str, SpecifierSet]:
    return {canonicalize_name(r.name): r.specifier for r in map(Requirement, lines)}


def conda_requirements() -> tuple[dict[str, SpecifierSet], dict[str, SpecifierSet]]:
    """Requirements of environment.yml: those conda installs, by their PyPI names, and those of its pip section."""
    lines = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    conda = {}
    for spec in (MatchSpec(line) for line in lines if isinstance(line, str)):
        name = spec.name.normalized
        conda[canonicalize_name(CONDA_NAMES.get(name, name))] = SpecifierSet(str(spec.version or ""))
    (pip,) = (line["pip"] for line in lines if isinstance(line, dict))
    return conda, requirements([line for line in pip if not line.startswith("-")])


def test_environment_yml_asks_for_what_pyproject_asks_for():
    conda, pip = conda_requirements()
    wanted = requirements(pyproject()["dependencies"])
    wanted["python"] = SpecifierSet(pyproject()["requires-python"])
    assert not set(conda) & set(pip)
    assert {**conda, **pip} == {**wanted, "pip": SpecifierSet()}


def test_constraints_pin_versions_that_pyproject_allows():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").split()
    assert lines == sorted(lines, key=canonicalize_name)
    pins = requirements(lines)
    pinned = {name: Version(str(specifier).removeprefix("==")) for name, specifier in pins.items()}
    assert str(pinned["torch"]) == "2.14.1" and str(pinned["torchvision"]) == "0.29.1"
    project = pyproject()
    wanted = requirements([*project["dependencies"], *project["optional-dependencies"]["dev"]])
    assert not [name for name, allowed in wanted.items() if pinned[name] not in allowed]
    assert not [name for name in pinned if re.match(r"nvidia|cuda|triton", name)]  # torch pins its own


def test_version_is_the_same_everywhere():
    import brainssl_utils

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert brainssl_utils.__version__ == pyproject()["version"] == str(citation["version"])
    assert citation["license"] == pyproject()["license"] == "MIT"


def test_import_is_silent_light_and_opens_no_connection():
    program = (
        "import json, socket, sys\n"
        "def refuse(*arguments, **options):\n    raise AssertionError('a socket was opened')\n"
        "socket.socket.connect = socket.getaddrinfo = socket.create_connection = refuse\n"
        "import brainssl_utils\n"
        "dir(brainssl_utils), brainssl_utils.CourseError\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert len(lines) == 1, "the import printed something"
    assert not set(HEAVY.split()) & set(json.loads(lines[0]))


def test_every_lazy_name_resolves():
    import brainssl_utils

    for name in brainssl_utils.__all__:
        assert getattr(brainssl_utils, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        brainssl_utils.nonsense  # noqa: B018


def test_readme_names_the_two_commands_and_its_limits():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "make course" in text and "make test" in text
    assert re.search(r"not for diagnos", text, re.IGNORECASE)
    assert "/work/" not in text


def test_hooks_are_local_and_name_installed_tools():
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert {repository["repo"] for repository in config["repos"]} == {"local"}
    tools = {hook["entry"].split()[0] for repository in config["repos"] for hook in repository["hooks"]}
    assert tools == {"ruff", "nbstripout", "mypy"}
    assert all((Path(sys.executable).parent / tool).exists() for tool in tools)
