"""The student's copy of the notebooks: without solutions and outputs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import nbformat
from nbconvert.preprocessors import ClearOutputPreprocessor, TagRemovePreprocessor

from brainssl_utils.course.notebook import read_notebook
from brainssl_utils.course.plan import find_notebooks, read_course
from brainssl_utils.errors import CourseError
from brainssl_utils.files import atomic_path, check_writable


def write_student_copy(out: str | Path, notebooks_dir: str | Path | None = None) -> Sequence[Path]:
    """Write every notebook of the course without its cells tagged `solution` to the folder `out`; return the files.

    Raises:
        CourseError: `out` holds one of them already (a student's work is never overwritten) or cannot be written.
    """
    lessons = read_course(find_notebooks(notebooks_dir))
    notebooks = [read_notebook(lesson.path) for lesson in lessons]
    folder = check_writable(out)
    files = [folder / lesson.path.name for lesson in lessons]
    if taken := [file.name for file in files if file.exists()]:
        raise CourseError(f"{folder} already holds {', '.join(taken)}. Choose an empty folder.")
    steps = (TagRemovePreprocessor(remove_cell_tags={"solution"}), ClearOutputPreprocessor())
    for file, notebook in zip(files, notebooks):
        for step in steps:
            notebook, _ = step.preprocess(notebook, {})
        with atomic_path(file) as temporary:
            nbformat.write(notebook, temporary)
    return files
