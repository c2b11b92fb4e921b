"""Checkers of handed-in notebooks run as students left them; slides and copies for a class."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pandas as pd
import pytest
from tiny_course import PARAMETERS, write_course

from brainssl_utils import cli
from brainssl_utils.course.marking import mark
from brainssl_utils.course.run import run_course
from brainssl_utils.course.slides import write_slides
from brainssl_utils.errors import CourseError

CHECKERS = (
    "from brainssl_utils.exercises.base import Wrong, checker\n"
    "@checker\ndef check_two(answer):\n    if answer != 2:\n        raise Wrong('it is even')\n    return 'two it is'\n"
    "check_three = check_two"
)


def call(*arguments: object) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main([str(argument) for argument in arguments])
    assert not end.value.code


def hand_in(folder: Path, name: str, *cells: str, tags: tuple[str, ...] = ()) -> Path:
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})]
    notebook.cells += [nbformat.v4.new_code_cell(cell, metadata={"tags": list(tags)}) for cell in cells]
    path = folder / f"{name}.ipynb"
    nbformat.write(notebook, path)
    return path


def test_the_table_says_what_each_checker_says_whatever_fails_before_it(tmp_path, capsys):
    ada = hand_in(tmp_path, "ada", CHECKERS, "check_two(3)", "1 / 0", "check_three(2)", "stop = nothing\ncheck_two(2)")
    bob = hand_in(tmp_path, "bob", CHECKERS, "check_two(...)", "assert profile == 'smoke'\ncheck_three(2)")
    before = ada.read_bytes()
    call("check", ada, bob, "--csv", tmp_path / "marks.csv")
    table = pd.read_csv(tmp_path / "marks.csv")
    assert list(table["notebook"]) == ["ada.ipynb"] * 3 + ["bob.ipynb"] * 2
    assert list(table["answer"]) == ["not right", "correct", "not run", "not yet", "correct"]
    assert table["said"][0] == "it is even" and table["said"][2].startswith("NameError")
    assert "three" in capsys.readouterr().out and ada.read_bytes() == before


def test_a_dead_kernel_leaves_the_rest_not_run(tmp_path):
    path = hand_in(tmp_path, "eve", CHECKERS, "check_two(2)", "import os\nos._exit(1)", "check_three(2)")
    assert list(mark([path], tmp_path / "runs")["answer"]) == ["correct", "not run"]


def test_what_is_no_notebook_of_the_course_is_refused(tmp_path):
    with pytest.raises(CourseError, match="calls no checker"):
        mark([hand_in(tmp_path, "none", "1 + 1")], tmp_path)
    with pytest.raises(CourseError, match="calls no checker"):
        mark([hand_in(tmp_path, "solution", "check_two(2)", tags=("solution",))], tmp_path)
    with pytest.raises(CourseError, match="missing"):
        mark([tmp_path / "absent.ipynb"], tmp_path)


def test_slides_show_each_figure_with_its_caption(tmp_path, capsys):
    figure = "from brainssl_utils import plots\nplots.show(plots.new_figure()[0], 'A < B.', run_dir, 'one')"
    folder = write_course(tmp_path / "notebooks", {"01_first": [figure, figure]})
    run_course("phantoms", "smoke", 0, tmp_path / "run", notebooks_dir=folder)
    assert write_slides(tmp_path / "run", tmp_path / "slides.html", folder) == 2
    text = (tmp_path / "slides.html").read_text()
    assert text.count("<section>") == 3 and text.count("<p>A &lt; B.</p>") == 2 and "http" not in text
    with pytest.raises(CourseError, match="brainssl course"):
        write_slides(tmp_path / "nothing", tmp_path / "slides.html", folder)


def test_student_copies_keep_the_solutions_when_asked(tmp_path):
    call("student", tmp_path / "without")
    call("student", tmp_path / "with", "--solutions")

    def solutions(folder: Path) -> int:
        books = [nbformat.read(path, as_version=4) for path in folder.glob("*.ipynb")]
        return sum("solution" in cell.metadata.get("tags", []) for book in books for cell in book.cells)

    assert solutions(tmp_path / "without") == 0 < solutions(tmp_path / "with")
