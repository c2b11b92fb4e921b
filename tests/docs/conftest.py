"""What the tests in a browser share: Chromium as it is installed, and the built site."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--no-first-run",
)  # fmt: skip


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium without a window; the tests are skipped where it, or Playwright, is not installed."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs the extra `browser`: make browse")
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("needs Chromium: install the package chromium of your system")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=program, args=list(FLAGS))
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def site() -> Path:
    """The folder of the built site: $BRAINSSL_SITE, or where `make site` puts it."""
    folder = Path(os.environ.get("BRAINSSL_SITE") or ROOT / "build" / "site" / "html")
    if not (folder / "index.html").is_file():
        pytest.skip(f"no site in {folder}: make site")
    return folder.resolve()
