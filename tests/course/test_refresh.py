"""A finished lesson whose text was edited takes the new text over, without running."""

from __future__ import annotations

from pathlib import Path

import nbformat
import notebook_times
import pytest
from tiny_course import write_course

from brainssl_utils.course.notebook import first_problem
from brainssl_utils.course.run import run_course

COUNT = "import pathlib\nwith open(pathlib.Path(run_dir) / 'count', 'a') as file:\n    print(file.write('x'))"


@pytest.fixture
def course(tmp_path):
    """A course that ran once: its notebook, its executed copy, and a function that runs it again."""
    folder, out = write_course(tmp_path / "notebooks", {"01_first": [COUNT, "'result'"]}), tmp_path / "run"

    def again() -> list[str]:
        lines: list[str] = []
        run_course(profile="smoke", out=out, notebooks_dir=folder, say=lines.append)
        return lines

    again()
    return folder / "01_first.ipynb", out / "notebooks" / "01_first.ipynb", again


def edit(path: Path, change) -> None:
    notebook = nbformat.read(path, as_version=4)
    change(notebook)
    nbformat.write(notebook, path)


def times_run(executed: Path) -> int:
    return len((executed.parents[1] / "count").read_text())


def outputs(path: Path) -> list:
    return [cell.outputs for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def test_edited_text_and_comments_reach_the_executed_copy_without_a_run(course):
    source, executed, again = course
    before, kernel = outputs(executed), nbformat.read(executed, as_version=4).metadata

    def words(notebook):
        notebook.cells[0].source = "# Another title"
        notebook.cells[-1].source = "# said in a comment\n\n'result'"
        notebook.cells[-1].metadata["tags"] = ["solution"]
        notebook.cells[-1].id = "another-id"
        notebook.cells.insert(1, nbformat.v4.new_markdown_cell("A new paragraph."))
        notebook.cells.append(nbformat.v4.new_markdown_cell("The end."))

    edit(source, words)
    lines = again()
    assert "finished earlier" in lines[0] and "new text was taken over" in lines[0]
    assert times_run(executed) == 1
    copy = nbformat.read(executed, as_version=4)
    nbformat.validate(copy)
    wanted = [(cell.id, cell.source) for cell in nbformat.read(source, as_version=4).cells]
    injected = [
        place for place, cell in enumerate(copy.cells) if "injected-parameters" in cell.metadata.get("tags", [])
    ]
    assert injected == [3] and "parameters" in copy.cells[2].metadata["tags"]
    assert [(cell.id, cell.source) for cell in copy.cells if "injected" not in str(cell.metadata)] == wanted
    assert outputs(executed) == before and first_problem(copy, "01_first") is None
    assert copy.metadata == kernel
    assert notebook_times.times(executed.parents[1]).loc["01_first", "work"] >= 0

    stamp = executed.stat().st_mtime_ns
    assert "text" not in again()[0]
    assert executed.stat().st_mtime_ns == stamp

    edit(source, lambda notebook: notebook.cells[-2].metadata.pop("tags"))
    assert "new text was taken over" in again()[0] and "text" not in again()[0]


def test_changed_code_runs_again(course):
    source, executed, again = course
    edit(source, lambda notebook: notebook.cells[-1].update(source="'another result'"))
    assert "started" in again()[0]
    assert times_run(executed) == 2


def test_executed_copy_that_somebody_edited_is_left_alone(course):
    source, executed, again = course
    edit(executed, lambda notebook: notebook.cells[0].update(source="# My notes"))
    content = executed.read_bytes()
    assert "finished earlier" in again()[0]
    edit(source, lambda notebook: notebook.cells[0].update(source="# Another title"))
    assert "edited by hand" in again()[0]
    assert executed.read_bytes() == content and times_run(executed) == 1
