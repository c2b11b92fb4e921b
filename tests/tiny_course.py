"""Courses of tiny notebooks, for the tests of what runs them."""

from __future__ import annotations

import json
from pathlib import Path

import nbformat

PARAMETERS = 'data = "phantoms"\nprofile = "quick"\nseed = 0\nrun_dir = "../runs/notebook"'


def write_course(folder: Path, cells: dict[str, list[str]], needs: dict[str, list[str]] | None = None) -> Path:
    """Write notebooks with a parameters cell and the given code cells, and their course.toml."""
    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    for name, sources in cells.items():
        notebook = nbformat.v4.new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})
        notebook.cells = [nbformat.v4.new_markdown_cell(f"# {name}")]
        first, *rest = sources if sources and "run_dir =" in sources[0] else [PARAMETERS, *sources]
        notebook.cells.append(nbformat.v4.new_code_cell(first, metadata={"tags": ["parameters"]}))
        notebook.cells += [nbformat.v4.new_code_cell(source) for source in rest]
        nbformat.write(notebook, folder / f"{name}.ipynb")
        needed = json.dumps((needs or {}).get(name, []))
        entries.append(f'[[notebook]]\nfile = "{name}.ipynb"\ntitle = "{name}"\nneeds = {needed}\n')
    (folder / "course.toml").write_text("\n".join(entries))
    return folder
