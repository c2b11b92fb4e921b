"""A lesson in JupyterLab, as a student meets it: Run All, folded solutions, an answer that survives, Stop and go on."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
import requests

from brainssl_utils.course.notebook import first_problem

ROOT = Path(__file__).parents[2]
LESSON = "05_barlow_twins"


class Lab:
    """A JupyterLab on this machine, with a token, and the browser's page in it."""

    def __init__(self, folder: Path, port: int, token: str) -> None:
        self.folder, self.address, self.token = folder, f"http://127.0.0.1:{port}", token

    def ask(self, path: str) -> Any:
        return requests.get(f"{self.address}/api/{path}", params={"token": self.token}, timeout=10).json()

    def notebook(self) -> nbformat.NotebookNode:
        return nbformat.read(self.folder / f"{LESSON}.ipynb", as_version=4)

    def kernel(self) -> dict[str, Any]:
        """The notebook's kernel, {} before there is one."""
        return next((entry["kernel"] for entry in self.ask("sessions") if entry.get("kernel")), {})

    def idle(self) -> bool:
        return self.kernel().get("execution_state") == "idle" and self.kernel().get("connections", 0) > 0


def wait(until: Callable[[], Any], seconds: float, what: str) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(requests.RequestException, ValueError, OSError):
            if until():
                return
        time.sleep(0.5)
    pytest.fail(f"waited {seconds} s: {what}")


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """JupyterLab over a folder that holds one lesson at `smoke`."""
    notebook = nbformat.read(ROOT / "notebooks" / f"{LESSON}.ipynb", as_version=4)
    [parameters] = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    parameters.source = 'data = "phantoms:240"\nprofile = "smoke"\nseed = 0\nrun_dir = "runs"'
    nbformat.write(notebook, tmp_path / f"{LESSON}.ipynb")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(16)
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1"]
    command += [f"--ServerApp.port={port}", f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={tmp_path}"]
    command += ["--LabApp.news_url=", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
    places = {
        name: str(tmp_path / "jupyter" / name)
        for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTERLAB_SETTINGS_DIR")
    }
    environment = {**os.environ, **places, "PYTHONPATH": str(ROOT), "BRAINSSL_CACHE": str(tmp_path / "cache")}
    with open(tmp_path / "lab.log", "w") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        made = Lab(tmp_path, port, token)
        wait(lambda: "version" in made.ask(""), 90, "JupyterLab starts")
        yield made
    finally:
        server.terminate()
        server.wait(20)


def menu(page: Any, name: str, item: str) -> None:
    page.get_by_role("menuitem", name=name, exact=True).first.click()
    page.locator(".lm-Menu-item", has_text=re.compile(rf"^{re.escape(item)}")).first.click()


def interrupted(notebook: nbformat.NotebookNode) -> bool:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return any(output.output_type == "error" and output.ename == "KeyboardInterrupt" for output in outputs)


def test_a_lesson_runs_stops_goes_on_and_keeps_an_answer(browser, lab):
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(f"{lab.address}/lab/tree/{LESSON}.ipynb?token={lab.token}")
    page.locator(".jp-Notebook").first.wait_for(timeout=60_000)
    wait(lab.idle, 90, "the kernel is connected and idle")

    # The student's answer: typed into the first exercise's cell, before anything runs.
    answer = "mine = 'kept'  # a student's answer"
    page.locator(".jp-Notebook .jp-CodeCell").first.locator(".cm-content").click()
    page.keyboard.press("Control+End")
    page.keyboard.type("\n" + answer)

    menu(page, "Run", "Run All Cells")

    def saved() -> nbformat.NotebookNode:
        menu(page, "File", "Save Notebook")
        time.sleep(1)
        return lab.notebook()

    # Past the imports: PyTorch cannot be imported again in a process where its import was stopped.
    wait(lambda: sum(bool(cell.get("execution_count")) for cell in saved().cells) > 8, 120, "the first cells ran")
    menu(page, "Kernel", "Interrupt Kernel")
    wait(lab.idle, 60, "it stops")
    wait(lambda: interrupted(saved()), 30, "the cell that ran says that it was stopped")
    menu(page, "Run", "Run All Cells")
    wait(lambda: first_problem(saved(), LESSON) is None, 300, "every cell ran to its end")
    notebook = saved()
    assert any(answer in cell.source for cell in notebook.cells)
    folded = [cell for cell in notebook.cells if "solution" in cell.metadata.get("tags", [])]
    assert folded and all(cell.metadata.jupyter.source_hidden for cell in folded)
    texts = page.evaluate("[...document.querySelectorAll('.jp-OutputArea-output img')].map(image => image.alt.trim())")
    assert texts and all(texts), "figures carry their text into JupyterLab's page"
    assert page.locator(".jp-CodeCell .jp-Placeholder-content, .jp-Placeholder").count() >= 1
    page.close()
