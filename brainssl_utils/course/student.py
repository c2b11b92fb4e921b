"""Copies of the notebooks for a class: without outputs, and without solutions unless they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import nbformat
from nbconvert.preprocessors import ClearOutputPreprocessor, TagRemovePreprocessor

from brainssl_utils.course.notebook import read_notebook
from brainssl_utils.course.plan import find_notebooks, read_course
from brainssl_utils.errors import CourseError
from brainssl_utils.files import atomic_path, check_writable


def write_student_copy(
    out: str | Path, notebooks_dir: str | Path | None = None, solutions: bool = False
) -> Sequence[Path]:
    """Write every notebook of the course to the folder `out`, without its cells tagged `solution`; return the files.

    Args:
        out: folder for the copies.
        notebooks_dir: folder of the notebooks and `course.toml`; the course's own by default.
        solutions: keep the solutions.

    Raises:
        CourseError: `out` holds one of them already (a student's work is never overwritten) or cannot be written.
    """
    lessons = read_course(find_notebooks(notebooks_dir))
    notebooks = [read_notebook(lesson.path) for lesson in lessons]
    folder = check_writable(out)
    files = [folder / lesson.path.name for lesson in lessons]
    if taken := [file.name for file in files if file.exists()]:
        raise CourseError(f"{folder} already holds {', '.join(taken)}. Choose an empty folder.")
    removed = set() if solutions else {"solution"}
    steps = (TagRemovePreprocessor(remove_cell_tags=removed), ClearOutputPreprocessor())
    for file, notebook in zip(files, notebooks):
        for step in steps:
            notebook, _ = step.preprocess(notebook, {})
        with atomic_path(file) as temporary:
            nbformat.write(notebook, temporary)
    return files
