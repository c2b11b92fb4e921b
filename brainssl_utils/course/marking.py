"""What a class hands in: the checkers of a student's notebook run, and what each of them says."""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd

from brainssl_utils.course.notebook import own_kernel, read_notebook
from brainssl_utils.errors import CourseError
from brainssl_utils.settings import get_profile

ANSWERS = ("correct", "not right", "not yet")
NOT_RUN = "not run"
CALL = re.compile(r"^(check_\w+)\(", re.MULTILINE)


def mark(
    notebooks: Sequence[str | Path],
    run_dir: str | Path,
    data: str = "phantoms:240",
    profile: str = "smoke",
    timeout: int = 900,
) -> pd.DataFrame:
    """Run students' notebooks, each in a process of its own, and collect what the checkers of their exercises say.

    A cell that fails does not keep later ones from running. The files are read and never written. Students' code runs
    with the rights of the user.

    Args:
        notebooks: the files.
        run_dir: where the notebooks' records and figures go, a folder each.
        data: images they run on.
        profile: their sizes.
        timeout: seconds that one cell may take.

    Returns:
        one row an exercise: notebook, exercise (the checker's name), answer ("correct", "not right", "not yet" or
        "not run"), and what the checker or the error said.

    Raises:
        CourseError: a file is missing, is no notebook, has no parameters cell or calls no checker.
    """
    get_profile(profile)
    read = {Path(path): read_notebook(Path(path)) for path in notebooks}
    for path, notebook in read.items():
        if not _exercises(notebook):
            raise CourseError(f"{path} calls no checker (check_...): is it a notebook of the course?")
        if not any("parameters" in cell.metadata.get("tags", []) for cell in notebook.cells):
            raise CourseError(
                f"{path} has no cell tagged `parameters`: let the student take a fresh copy and fill it in."
            )
    rows = []
    for number, (path, notebook) in enumerate(read.items()):
        place = Path(run_dir) / f"{number:03d}-{path.stem}"
        given: dict[str, Any] = {"data": data, "profile": profile, "seed": 0, "run_dir": str(place.resolve())}
        rows += [{"notebook": path.name, **row} for row in _answers(_executed(notebook, given, path.parent, timeout))]
    return pd.DataFrame(rows, columns=["notebook", "exercise", "answer", "said"])


def _exercises(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    """Cells that call a checker and are no solution; by their code, since students lose tags."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code" and CALL.search(cell.source)]
    return [cell for cell in cells if "solution" not in cell.metadata.get("tags", [])]


def _executed(
    notebook: nbformat.NotebookNode, parameters: dict[str, Any], folder: Path, timeout: int
) -> nbformat.NotebookNode:
    """Run a copy of the notebook; cells after a dead kernel stay as they are, without a count."""
    from nbclient import NotebookClient
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from nbconvert.preprocessors import ClearOutputPreprocessor

    cleared, _ = ClearOutputPreprocessor().preprocess(notebook, {})  # answers that were stored count for nothing
    filled = copy.deepcopy(cleared)
    after = next(place for place, cell in enumerate(filled.cells, 1) if "parameters" in cell.metadata.get("tags", []))
    filled.cells.insert(
        after, nbformat.v4.new_code_cell("\n".join(f"{name} = {parameters[name]!r}" for name in parameters))
    )
    client = NotebookClient(
        filled,
        allow_errors=True,
        timeout=timeout,
        kernel_manager_class=own_kernel(),
        resources={"metadata": {"path": str(folder.resolve())}},
    )
    with suppress(CellTimeoutError, DeadKernelError):  # what has not run says so
        client.execute()
    return filled


def _answers(notebook: nbformat.NotebookNode) -> list[dict[str, str]]:
    return [row for cell in _exercises(notebook) for row in _of_cell(cell)]


def _of_cell(cell: nbformat.NotebookNode) -> list[dict[str, str]]:
    """One row a checker that the cell calls, in their order."""
    printed = "".join(output.text for output in cell.outputs if output.output_type == "stream").splitlines()
    spoken = [line for line in printed if line.partition(":")[0] in ANSWERS]
    failed = [f"{output.ename}: {output.evalue}" for output in cell.outputs if output.output_type == "error"]
    rows = []
    for place, name in enumerate(CALL.findall(cell.source)):
        if place < len(spoken):
            answer, _, said = spoken[place].partition(": ")
        else:
            answer, said = NOT_RUN, " ".join(failed[:1]).split("\n")[0]
        rows.append({"exercise": name.removeprefix("check_"), "answer": answer, "said": said})
    return rows
