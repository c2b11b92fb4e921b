"""The executed copy of a lesson whose text was edited after it ran: the new text with the outputs it has."""

from __future__ import annotations

import copy
from pathlib import Path

import nbformat

from brainssl_utils.course.notebook import INJECTED, read_notebook
from brainssl_utils.files import atomic_path
from brainssl_utils.validity import digest

OF_THE_RUN = ("papermill", "execution")  # metadata that running adds to a cell: its times


def text_digest(notebook: nbformat.NotebookNode) -> str:
    """Digest of what is written in a notebook: kinds, sources and tags of its cells, the one papermill adds aside."""
    cells = _written(notebook)
    return digest([(cell.cell_type, cell.source, sorted(cell.metadata.get("tags", []))) for cell in cells])


def refresh(notebook: nbformat.NotebookNode, target: Path, text: str) -> bool:
    """Give the executed copy at `target` the text of `notebook`, with the outputs it has; nothing runs.

    Args:
        notebook: as read. Its lesson key must be the one the copy was made with: then both have the same code cells in
            the same order, so outputs find their cells by order, whatever became of text, comments and cell ids.
        target: path of the executed copy.
        text: `text_digest` of the notebook that the copy was made of.

    Returns:
        False, and nothing is changed, if the copy was edited since: somebody's work may be in it.
    """
    executed = read_notebook(target)
    if text_digest(executed) != text:
        return False
    fresh = copy.deepcopy(notebook)
    fresh.metadata = {**executed.metadata, **fresh.metadata}
    new, old = ([cell for cell in _written(book) if cell.cell_type == "code"] for book in (fresh, executed))
    for cell, ran in zip(new, old, strict=True):
        cell.outputs, cell.execution_count = ran.outputs, ran.execution_count
        cell.metadata |= {name: ran.metadata[name] for name in OF_THE_RUN if name in ran.metadata}
    after = next(place for place, cell in enumerate(fresh.cells, 1) if "parameters" in cell.metadata.get("tags", []))
    fresh.cells[after:after] = [cell for cell in executed.cells if INJECTED in cell.metadata.get("tags", [])]
    with atomic_path(target) as temporary:
        nbformat.write(fresh, temporary)
    return True


def _written(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if INJECTED not in cell.metadata.get("tags", [])]
