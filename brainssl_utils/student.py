"""A student's copy of the notebooks: the exercises stay, the solutions go."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import nbformat

from brainssl_utils.course_plan import find_notebooks, read_course
from brainssl_utils.errors import CourseError
from brainssl_utils.files import atomic_path, check_writable
from brainssl_utils.notebook_run import read_notebook


def without_solutions(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Return a copy of `notebook` without its cells tagged `solution`, outputs and execution counts."""
    student = copy.deepcopy(notebook)
    student.cells = [cell for cell in student.cells if "solution" not in cell.metadata.get("tags", [])]
    for cell in student.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return student


def write_student_copy(out: str | Path, notebooks_dir: str | Path | None = None) -> Sequence[Path]:
    """Write every notebook of the course without its solutions to the folder `out`; return the files.

    Raises:
        CourseError: `out` holds one of them already (a student's work is never overwritten) or cannot be written.
    """
    lessons = read_course(find_notebooks(notebooks_dir))
    notebooks = [read_notebook(lesson.path) for lesson in lessons]
    folder = check_writable(out)
    files = [folder / lesson.path.name for lesson in lessons]
    if taken := [file.name for file in files if file.exists()]:
        raise CourseError(f"{folder} already holds {', '.join(taken)}. Choose an empty folder.")
    for file, notebook in zip(files, notebooks):
        with atomic_path(file) as temporary:
            nbformat.write(without_solutions(notebook), temporary)
    return files
