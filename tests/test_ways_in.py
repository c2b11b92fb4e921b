"""Binder, dev container and workflows call what is there, and the wheel carries what the course reads."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest
import yaml

from brainssl_utils import cli, files, setup
from brainssl_utils.course.plan import find_notebooks, read_course

ROOT = Path(__file__).parents[1]
TARGETS = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def commands(workflow: Path) -> list[str]:
    jobs = yaml.safe_load(workflow.read_text(encoding="utf-8"))["jobs"].values()
    return [line for job in jobs for step in job["steps"] for line in step.get("run", "").splitlines()]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_call_targets_and_commands_that_there_are(workflow):
    text = "\n".join([*commands(workflow), ""])
    assert set(re.findall(r"\bmake (\w+)", text)) <= set(TARGETS)
    known = {command.name or command.callback.__name__ for command in cli.app.registered_commands}
    assert set(re.findall(r"\bbrainssl (\w+)", text)) <= known
    content = yaml.safe_load(workflow.read_text(encoding="utf-8"))
    assert content["permissions"] == {"contents": "read"}, "more only for the job that needs it"
    assert all("timeout-minutes" in job or "needs" in job for job in content["jobs"].values())


def test_there_are_workflows_for_tests_site_newest_versions_and_release():
    assert [workflow.stem for workflow in WORKFLOWS] == ["release", "site", "tests", "weekly"]
    release = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8"))["jobs"]
    assert release["pypi"]["permissions"] == {"id-token": "write"} and "with" not in release["pypi"]["steps"][-1]


def test_binder_installs_the_tested_versions_without_cuda():
    folder = ROOT / ".binder"
    lines = [line for line in (folder / "requirements.txt").read_text().splitlines() if not line.startswith("#")]
    assert f"--extra-index-url {setup.CPU_BUILD}" in lines and lines[-1] == "."
    [constraints] = [line.split()[1] for line in lines if line.startswith("--constraint")]
    assert (folder / constraints).resolve() == ROOT / "constraints.txt"  # pip reads it from the file's own folder
    assert (folder / "runtime.txt").read_text().strip() == "python-3.11"
    assert (folder / "postBuild").read_text().startswith("#!/bin/bash")


def test_the_dev_container_sets_itself_up_by_make():
    content = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())
    words = content["postCreateCommand"].split()
    assert words[0] == "make" and words[1] in TARGETS and "TORCH=cpu" in words


def test_the_wheel_carries_all_that_the_course_reads_beside_the_package():
    carried = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    for source, target in carried["force-include"].items():
        assert (ROOT / source).exists() and target == f"brainssl_utils/shipped/{source}"
    asked = re.findall(
        r'shipped\("([\w/.]+)"\)', "".join(p.read_text() for p in (ROOT / "brainssl_utils").rglob("*.py"))
    )
    assert asked and set(asked) <= set(carried["force-include"])
    assert (ROOT / "brainssl_utils" / "py.typed").exists()


def test_nothing_leaves_the_package_for_a_file_but_through_shipped():
    own = {"files.py", "setup.py", "results/provenance.py"}  # `shipped` itself; set-up and commit of a checkout
    for path in (ROOT / "brainssl_utils").rglob("*.py"):
        name = path.relative_to(ROOT / "brainssl_utils").as_posix()
        assert name in own or not re.search(r"__file__\)(\.resolve\(\))?\.parent", path.read_text()), name


def test_an_installed_package_finds_its_notebooks_inside_itself(tmp_path, monkeypatch):
    inside = tmp_path / "brainssl_utils" / "shipped"
    inside.mkdir(parents=True)
    monkeypatch.setattr(files, "__file__", str(tmp_path / "brainssl_utils" / "files.py"))
    assert files.shipped("notebooks") == inside / "notebooks"
    inside.rmdir()
    assert files.shipped("notebooks") == tmp_path / "notebooks"
    monkeypatch.undo()
    assert len(read_course(find_notebooks())) >= 8


def test_make_lab_opens_at_the_root_and_as_root():
    recipe = (ROOT / "Makefile").read_text(encoding="utf-8").partition("\nlab:")[2].partition("\n\n")[0]
    assert "--allow-root" in recipe and "notebooks" not in recipe
