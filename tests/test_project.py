"""The project's own files agree with each other, and importing the package is free of side effects."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from importlib.metadata import packages_distributions
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
UV_LOCK = "made by: uv lock $(sed 's/^/-P /' constraints.txt)"
# Requirements that no line of ours imports, and why they are there nevertheless.
NOT_IMPORTED = {
    "jupyterlab": "`make lab` starts it",
    "nbclient": "papermill hands `on_cell_start` and `coalesce_streams` on to it",
    "pyarrow": "pandas reads and writes Parquet with it",
}


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
    extras = [line for name in ("dev", "docs", "browser") for line in project["optional-dependencies"][name]]
    wanted = requirements([*project["dependencies"], *extras])
    assert not [name for name, allowed in wanted.items() if pinned[name] not in allowed]
    assert not [name for name in pinned if re.match(r"nvidia|cuda|triton", name)]  # torch pins its own


def test_uv_and_pip_install_the_same_versions():
    """uv.lock has more: what other systems and Pythons need, NVIDIA's libraries, the extra `medical`."""
    packages = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))["package"]
    locked: dict[str, set[str]] = {}
    for package in packages:
        locked.setdefault(package["name"], set()).add(package["version"])
        assert package["source"].get("registry", "https://pypi.org/simple") == "https://pypi.org/simple"
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").split()
    pins = {canonicalize_name(name): {number} for name, _, number in (line.partition("==") for line in lines)}
    assert {name: locked.get(name) for name in pins} == pins, UV_LOCK
    project = pyproject()
    [own] = [package["metadata"] for package in packages if package["name"] == project["name"]]
    asked = [*project["dependencies"], *(line for extra in project["optional-dependencies"].values() for line in extra)]
    noted = [line["name"] + line.get("specifier", "") for line in own["requires-dist"]]
    key = lambda line: (canonicalize_name(Requirement(line).name), str(Requirement(line).specifier))  # noqa: E731
    assert sorted(map(key, noted)) == sorted((name, specifier) for name, specifier in map(key, map(plain, asked))), (
        UV_LOCK
    )


def plain(line: str) -> str:
    """A requirement without extras, as uv's list of what a project asks for names it."""
    requirement = Requirement(line)
    return f"{requirement.name}{requirement.specifier}"


def imported_modules() -> set[str]:
    """Top-level modules that the package, its scripts, the notebooks, the benchmarks and the docs import."""
    sources = []
    for folder in ("brainssl_utils", "data_scripts", "notebooks", "benchmarks", "docs"):
        sources += [path.read_text(encoding="utf-8") for path in sorted((ROOT / folder).rglob("*.py"))]
        for path in sorted((ROOT / folder).rglob("*.ipynb")):
            cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
            sources += ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    found = set()
    for node in (node for source in sources for node in ast.walk(ast.parse(source))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(str(node.module).split(".")[0])
    return found


def test_every_requirement_is_imported_or_has_a_reason():
    home = packages_distributions()
    used = {canonicalize_name(name) for module in imported_modules() for name in home.get(module, [])}
    unused = set(requirements(pyproject()["dependencies"])) - used
    assert unused <= set(NOT_IMPORTED)


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
    from brainssl_utils import evaluation

    for package in (brainssl_utils, evaluation):
        for name in package.__all__:
            assert getattr(package, name) is not None
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
    assert all(shutil.which(tool, path=sysconfig.get_path("scripts")) for tool in tools)


def test_continuous_integration_runs_our_tools_on_three_systems_and_three_pythons():
    workflow = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text(encoding="utf-8"))
    [job] = workflow["jobs"].values()
    matrix = job["strategy"]["matrix"]
    assert [system.split("-")[0] for system in matrix["system"]] == ["ubuntu", "macos", "windows"]
    assert matrix["python"] == ["3.11", "3.12", "3.13"]
    assert all(Version(python) in SpecifierSet(pyproject()["requires-python"]) for python in matrix["python"])
    assert not job["strategy"]["fail-fast"]
    commands = [step["run"].split() for step in job["steps"] if "run" in step]
    called = [words[2] if words[:2] == ["python", "-m"] else words[0] for words in commands]
    assert called == ["pip", "pip", "ruff", "ruff", "nbstripout", "mypy", "lint-imports", "pytest"]
    assert all(shutil.which(tool, path=sysconfig.get_path("scripts")) for tool in called)
    steps = (ROOT / "Makefile").read_text(encoding="utf-8").partition("\nlint:")[2].partition("\n\n")[0]
    made = [line.strip().removeprefix("$(BIN)/") for line in steps.splitlines()[1:]]
    assert [" ".join(words) for words in commands[2:-1]] == made, "the checks that `make lint` makes"
    named = [word for words in commands for word in words if word.endswith(".txt")]
    named += job["steps"][1]["with"]["cache-dependency-path"].split()
    assert all((ROOT / name).is_file() for name in named)


def test_no_file_needs_a_module_that_windows_lacks():
    folders = ("brainssl_utils", "benchmarks", "data_scripts", "docs", "tests")
    for path in (path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))):
        names = set()
        for node in ast.parse(path.read_text(encoding="utf-8")).body:  # at its top: inside a function it can be guarded
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names.add(str(node.module))
        assert not names & {"fcntl", "grp", "pwd", "resource", "termios"}, path


def package_nodes() -> list[tuple[str, ast.AST]]:
    """(file:line, node) of every function and statement of the package."""
    found = []
    for path in sorted((ROOT / "brainssl_utils").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        nodes = [node for node in ast.walk(tree) if isinstance(node, ast.stmt)]
        found += [(f"{path.relative_to(ROOT).as_posix()}:{node.lineno}", node) for node in nodes]
    return found


def test_no_function_is_longer_than_60_lines_or_takes_more_than_8_parameters():
    """From `def` to the last line; `self` and `cls` do not count, `*args` and `**options` count as one each.

    A command may have more options than that: nobody calls it but the command line.
    """
    offenders = []
    for place, node in package_nodes():
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = node.end_lineno - node.lineno + 1
            taken = node.args
            names = [
                a.arg for a in (*taken.posonlyargs, *taken.args, taken.vararg, *taken.kwonlyargs, taken.kwarg) if a
            ]
            parameters = len(names) - (names[:1] in (["self"], ["cls"]))
            command = any(ast.unparse(decorator).endswith(".command()") for decorator in node.decorator_list)
            if lines > 60 or (parameters > 8 and not command):
                offenders.append(f"{place} {node.name}: {lines} lines, {parameters} parameters")
    assert not offenders, "\n".join(offenders)


def test_nothing_is_checked_by_an_assert_that_python_may_leave_out():
    offenders = [place for place, node in package_nodes() if isinstance(node, ast.Assert)]
    assert not offenders, "raise CourseError, or narrow the type: " + ", ".join(offenders)
