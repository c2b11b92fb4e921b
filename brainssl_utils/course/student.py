"""Copies of the notebooks for a class: without outputs, and without solutions and answers unless they are asked for."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import nbformat
from nbconvert.preprocessors import ClearOutputPreprocessor, TagRemovePreprocessor

from brainssl_utils.course.notebook import read_notebook
from brainssl_utils.course.plan import COURSE, find_notebooks, read_course
from brainssl_utils.errors import CourseError
from brainssl_utils.files import atomic_path, check_writable

ANSWER = re.compile(r"\s*<details>.*?</details>", re.DOTALL)  # folded under the question of a discussion


def write_student_copy(
    out: str | Path, notebooks_dir: str | Path | None = None, solutions: bool = False
) -> Sequence[Path]:
    """Write every notebook of the course to the folder `out`, and `course.toml` beside them; return the notebooks' files.

    Cells tagged `solution` are left out, and of cells tagged `discussion` the folded answers.

    Args:
        out: folder for the copies.
        notebooks_dir: folder of the notebooks and `course.toml`; the course's own by default.
        solutions: keep the solutions and the answers.

    Raises:
        CourseError: `out` holds one of them already (a student's work is never overwritten) or cannot be written.
    """
    home = find_notebooks(notebooks_dir)
    lessons = read_course(home)
    notebooks = [read_notebook(lesson.path) for lesson in lessons]
    folder = check_writable(out)
    files = [folder / lesson.path.name for lesson in lessons]
    if taken := [file.name for file in (*files, folder / COURSE) if file.exists()]:
        raise CourseError(f"{folder} already holds {', '.join(taken)}. Choose an empty folder.")
    removed = set() if solutions else {"solution"}
    steps = (TagRemovePreprocessor(remove_cell_tags=removed), ClearOutputPreprocessor())
    for file, notebook in zip(files, notebooks):
        for step in steps:
            notebook, _ = step.preprocess(notebook, {})
        if not solutions:
            _drop_answers(notebook)
        with atomic_path(file) as temporary:
            nbformat.write(notebook, temporary)
    with atomic_path(folder / COURSE) as temporary:
        shutil.copyfile(home / COURSE, temporary)
    return files


def _drop_answers(notebook: nbformat.NotebookNode) -> None:
    for cell in notebook.cells:
        if "discussion" in cell.metadata.get("tags", []):
            cell.source = ANSWER.sub("", cell.source)
