"""One notebook through papermill: its parameters checked, its progress shown, its executed copy kept and read."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import nbformat

from brainssl_utils.errors import CourseError
from brainssl_utils.files import refusal

NOT_RUN = "NotRun"
ERROR_MARKER = "papermill-error-cell-tag"  # papermill adds cells with this tag to a failed notebook
INJECTED = "injected-parameters"  # papermill adds one cell with this tag, after the one tagged `parameters`


class NotebookError(RuntimeError):
    """A notebook stopped before its last cell.

    Attributes:
        notebook: its name.
        cell: position of the cell in the notebook as written, counted from 1 over all cells; None if none is to blame.
        error: the error's name.
        reason: the error's message.
    """

    def __init__(self, notebook: str, cell: int | None, error: str, reason: str, source: str = ""):
        self.notebook, self.cell, self.error, self.reason = notebook, cell, error, reason
        place = "" if cell is None else f" at cell {cell}"
        line = next((line.strip() for line in source.splitlines() if line.strip()), "")
        quoted = f" ({line[:60]})" if line else ""
        super().__init__(f"{notebook} stopped{place}{quoted}: {error}" + (f": {reason}" if reason else ""))


@dataclass(frozen=True)
class NotebookResult:
    """Seconds of a notebook that ran to its end: in all, and those its kernel took to start."""

    seconds: float
    kernel_seconds: float | None


class Stopped(Exception):
    """A notebook was stopped because the run that it is part of ends."""


@dataclass(frozen=True)
class Beside:
    """What a notebook is given that runs beside others, in a thread of its own.

    Attributes:
        env: environment variables for its kernel, beside those of this process.
        stop: once it is set, the kernel is killed within a second or two.
    """

    env: Mapping[str, str]
    stop: threading.Event


class Progress:
    """Shows on a terminal, on one line that rewrites itself, which cell runs and the last thing it printed.

    nbclient calls `cell` before each cell and papermill writes all that the cells print to the object. Nothing is
    shown where the output is not a terminal (a log keeps its one line a notebook), nor if `shown` is False.
    """

    def __init__(self, label: str, cells: int, stream: TextIO | None = None, shown: bool = True):
        self.label, self.cells, self.stream = label, cells, stream or sys.stdout
        self.shown = shown and self.stream.isatty()
        self.where, self.last = "", ""
        self.index: int | None = None  # the cell that started last

    def cell(self, cell: Any = None, cell_index: int = 0) -> None:
        self.index = cell_index
        self.where = f"cell {cell_index + 1}/{self.cells}"
        self.flush()

    def write(self, text: str) -> int:
        lines = [line.strip() for line in text.replace("\r", "\n").splitlines() if line.strip()]
        if lines:
            self.last = lines[-1]
        return len(text)

    def flush(self) -> None:
        if self.shown:
            self.stream.write(f"\r\033[K{self.label} {self.where} {self.last}"[:110])
            self.stream.flush()

    def close(self) -> None:
        if self.shown:
            self.stream.write("\r\033[K")
            self.stream.flush()


def read_notebook(path: Path) -> nbformat.NotebookNode:
    """Read a notebook; one whose metadata name no kernel is a Python notebook.

    Raises:
        CourseError: the file is missing or is not a notebook.
    """
    try:
        notebook = nbformat.read(path, as_version=4)
    except FileNotFoundError:
        raise CourseError(f"notebook {path} is missing: restore the file or take it out of course.toml.") from None
    except Exception as error:  # nbformat raises whatever its JSON reader or validator does
        raise CourseError(f"{path} is not a readable notebook ({_one_line(str(error))}).") from error
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook.metadata["kernelspec"] = {**kernel, **notebook.metadata.get("kernelspec", {})}
    return notebook


def check_parameters(notebook: nbformat.NotebookNode, name: str, parameters: Sequence[str]) -> None:
    """Hold a notebook's `parameters` cell to `parameters`; papermill itself would only log a name it does not know.

    Raises:
        CourseError: the cell lacks one of the names or has others.
    """
    import papermill

    known = set(papermill.inspect_notebook(notebook))
    if not known:
        raise CourseError(f"{name}: no parameters found. Tag the cell that sets {', '.join(parameters)}.")
    problems = [f"unknown parameter {other}" for other in sorted(known - set(parameters))]
    problems += [f"no parameter {missing}" for missing in sorted(set(parameters) - known)]
    if problems:
        raise CourseError(
            f"{name}: {' and '.join(problems)} in its parameters cell. It sets {', '.join(parameters)} and no others."
        )


def run_notebook(
    notebook: nbformat.NotebookNode,
    name: str,
    target: Path,
    parameters: Mapping[str, Any],
    cwd: Path,
    label: str = "",
    beside: Beside | None = None,
) -> NotebookResult:
    """Execute `notebook` with papermill and keep the executed copy at `target`.

    While it runs, the copy is `NAME.running.ipynb` beside the target; it takes the target's place when it is whole. One
    that stopped stays as `NAME.failed.ipynb`, and an earlier target stays what it was.

    Args:
        notebook: the notebook as read; it is executed in `cwd` by the interpreter that runs this function.
        name: how messages call it.
        target: path of the executed copy.
        parameters: values for its `parameters` cell.
        cwd: folder its cells run in.
        label: start of the progress line.
        beside: it runs beside others: no progress line is shown, which theirs would overwrite.

    Raises:
        NotebookError: a cell raised, or was never run.
        CourseError: the disk refuses the copy, because it is full for instance.
        KeyboardInterrupt: the user stopped it; the copy stays as `NAME.running.ipynb`.
        Stopped: `beside.stop` was set before it came to its end; the copy stays likewise.
    """
    running, failed = (target.with_name(f"{name}.{state}.ipynb") for state in ("running", "failed"))
    target.parent.mkdir(parents=True, exist_ok=True)
    running.unlink(missing_ok=True)  # of a run that was killed
    progress = Progress(label or name, len(notebook.cells) + 1, shown=beside is None)
    started = time.perf_counter()
    trouble = _execute(notebook, running, parameters, cwd, progress, beside)
    seconds = time.perf_counter() - started
    if trouble is not None and beside is not None and beside.stop.is_set():
        raise Stopped(name) from trouble
    if trouble is not None and (told := refusal(target, trouble)):
        raise told from trouble
    executed = nbformat.read(running, as_version=4) if running.exists() else nbformat.v4.new_notebook()
    problem = first_problem(executed, name)
    if trouble is not None and (problem is None or problem.error == NOT_RUN):  # a dead kernel leaves no error output
        problem = _blame(executed, name, progress.index, trouble)
    if problem is not None:
        if running.exists():
            running.replace(failed)
        raise problem
    running.replace(target)
    failed.unlink(missing_ok=True)
    return NotebookResult(seconds, _kernel_seconds(executed))


def _execute(
    notebook: nbformat.NotebookNode,
    copy_at: Path,
    parameters: Mapping[str, Any],
    cwd: Path,
    progress: Progress,
    beside: Beside | None,
) -> Exception | None:
    """Run papermill, which saves the copy after each cell; return what it raised, if anything."""
    import papermill

    logging.getLogger("papermill").addHandler(logging.NullHandler())  # what it would log is in NotebookError
    try:
        papermill.execute_notebook(
            notebook,
            str(copy_at).replace("{", "{{").replace("}", "}}"),  # papermill formats the path with the parameters
            parameters=dict(parameters),
            kernel_name="python3",
            kernel_manager_class=own_kernel(beside),
            progress_bar=False,
            resources={"metadata": {"path": str(cwd)}},  # papermill's `cwd` would move this process, and all threads
            coalesce_streams=True,
            stdout_file=progress,
            stderr_file=progress,
            on_cell_start=progress.cell,
        )
    except Exception as error:  # the cells say what happened; papermill's own words serve only if they do not
        return error
    finally:
        progress.close()
    return None


def first_problem(executed: nbformat.NotebookNode, name: str) -> NotebookError | None:
    """Return what stopped an executed notebook, or None if every cell with code ran without an error.

    papermill may report success after sys.exit(0) in a cell, a dead kernel or a cell timeout: the cells are asked.
    """
    position = 0
    for cell in executed.cells:
        tags = cell.metadata.get("tags", [])
        if ERROR_MARKER in tags:
            continue
        position += INJECTED not in tags
        if cell.cell_type != "code" or not cell.source.strip():
            continue
        for output in cell.outputs:
            if output.output_type == "error":
                return NotebookError(name, position, output.ename, _one_line(output.evalue), cell.source)
        if cell.execution_count is None:
            return NotebookError(name, position, NOT_RUN, "the cell was not run", cell.source)
    return None


def _blame(executed: nbformat.NotebookNode, name: str, index: int | None, trouble: Exception) -> NotebookError:
    """Say that the cell at `index`, the last that started, met `trouble`."""
    reason = _one_line(str(trouble))
    if type(trouble).__name__ == "DeadKernelError":
        reason += " (often: out of memory)"
    if index is None or index >= len(executed.cells):
        return NotebookError(name, None, type(trouble).__name__, reason)
    before = executed.cells[: index + 1]
    position = sum(INJECTED not in cell.metadata.get("tags", []) for cell in before)
    return NotebookError(name, position, type(trouble).__name__, reason, before[-1].source)


def _one_line(text: str) -> str:
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    return lines[0] + (" ..." if len(lines) > 1 else "") if lines else ""


def _kernel_seconds(executed: nbformat.NotebookNode) -> float | None:
    """Seconds from papermill's start to the first cell's."""
    from datetime import datetime

    try:
        times = (executed.metadata.papermill.start_time, executed.cells[0].metadata.papermill.start_time)
        first, second = (datetime.fromisoformat(value) for value in times)
        return round((second - first).total_seconds(), 2)
    except (AttributeError, IndexError, TypeError, ValueError):
        return None


def own_kernel(beside: Beside | None = None) -> type:
    """A kernel manager that starts this interpreter, whatever kernels called python3 are installed on the machine.

    Where the installed libraries can, its messages are encrypted: on a shared machine the port is open to others.

    Args:
        beside: what the kernel is given to run beside others.
    """
    import zmq
    from ipykernel.kernelspec import get_kernel_dict
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager
    from traitlets import default

    class OwnKernel(AsyncKernelManager):
        @property
        def kernel_spec(self) -> KernelSpec:
            # Its own logs are silenced: they report a shutdown, after a failed cell or during an answer, as an error.
            quiet = "__import__('logging').getLogger('tornado').setLevel('CRITICAL')"
            spec = get_kernel_dict(["--log-level=CRITICAL", f"--IPKernelApp.exec_lines={quiet}"])
            env = {} if beside is None else {name: value.replace("$", "$$") for name, value in beside.env.items()}
            return KernelSpec(**{**spec, "env": {**spec.get("env", {}), **env}})

        async def _async_is_alive(self) -> bool:
            # nbclient asks this every second while a cell runs, and gives up on a kernel that is dead.
            if beside is not None and beside.stop.is_set() and self.provisioner is not None:
                await self.provisioner.kill()
            return await super()._async_is_alive()

        @default("transport_encryption")
        def _encrypt(self) -> str:
            return "auto" if zmq.has("curve") else "disabled"

    return OwnKernel
