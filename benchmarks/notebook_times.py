"""Where a run of the course spends its time: seconds a notebook, and how much of it is start-up and imports.

    python benchmarks/notebook_times.py RUN [RUN ...] [--out benchmarks/results]

RUN is a folder that `brainssl course` has filled; lessons that ran side by side had one core each. Start-up lasts until a
notebook's first cell, imports are the cells that do nothing else, and "papermill" is what it spends between cells, mostly on
saving the copy after each.
"""

from __future__ import annotations

import argparse
import ast
import json
from datetime import datetime
from pathlib import Path

import nbformat
import pandas as pd

from brainssl_utils.files import atomic_path


def only_imports(source: str) -> bool:
    """Whether a cell imports and does nothing else."""
    try:
        body = ast.parse(source).body
    except SyntaxError:  # a magic
        return False
    return bool(body) and all(isinstance(line, ast.Import | ast.ImportFrom) for line in body)


def times(run: Path) -> pd.DataFrame:
    """One row a notebook: seconds in all, until its first cell, in import cells, between cells, in cells that work."""
    about = json.loads((run / "run.json").read_text(encoding="utf-8"))
    rows = []
    for name, entry in about["notebooks"].items():
        if entry["status"] != "done":
            continue
        notebook = nbformat.read(run / "notebooks" / f"{name}.ipynb", as_version=4)
        cells = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
        start = moment(cells[0].metadata.papermill.start_time) - moment(notebook.metadata.papermill.start_time)
        imports = sum(cell.metadata.papermill.duration for cell in cells if only_imports(cell.source))
        work = sum(cell.metadata.papermill.duration for cell in cells) - imports
        between = entry["seconds"] - start - imports - work
        rows.append((name, entry["seconds"], start, imports, between, work))
    columns = ["notebook", "seconds", "start-up", "imports", "papermill", "work"]
    table = pd.DataFrame(rows, columns=columns).set_index("notebook")
    table.loc["all"] = table.sum()
    table["start-up and imports, %"] = 100 * (table["start-up"] + table["imports"]) / table["seconds"]
    table.attrs["title"] = f"{about['parameters']['profile']}, {run.name}"
    return table


def moment(text: str) -> float:
    """A time of papermill's as seconds."""
    return datetime.fromisoformat(text).timestamp()


def main() -> None:
    """Print one table a run and keep them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    parts = ["# Seconds a notebook\n"]
    for run in arguments.runs:
        if not (run / "run.json").exists():
            raise SystemExit(f"{run} is not the folder of a run: it has no run.json. Make one with `make course`.")
        table = times(run)
        parts.append(f"{table.attrs['title']}:\n\n```\n{table.round(1).to_string()}\n```\n")
    text = "\n".join(parts)
    with atomic_path(arguments.out / "notebook_times.md") as temporary:
        temporary.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
