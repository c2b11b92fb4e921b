"""Fixtures shared by the tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from brainssl_utils.data.corpus import Corpus
from brainssl_utils.data.loading import load_corpus

LONGEST = ("test_notebooks.py", "test_other_data.py", "test_ddp.py", "test_benchmarks.py")
"""Files that take minutes: they begin first, so that no core waits for the other at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


@pytest.fixture(scope="session")
def archives() -> Path:
    """The folder with the three archives; the test is skipped where there is none."""
    folder = Path(os.environ.get("BRAINSSL_ARCHIVES") or Path(__file__).parents[2] / "shared" / "data")
    if not list(folder.glob("*.zip")):
        pytest.skip(f"no archives in {folder}: set BRAINSSL_ARCHIVES to a folder that holds the three zips")
    return folder


@pytest.fixture(scope="session")
def archives_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder for the archives, shared by the tests of one run."""
    return tmp_path_factory.mktemp("archives-cache")


@pytest.fixture(scope="session")
def real_corpus(archives: Path, archives_cache: Path) -> Corpus:
    """The merge of the three archives, loaded once a run."""
    return load_corpus(archives, cache_dir=archives_cache, progress=False)


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """A small corpus of phantoms."""
    return load_corpus("phantoms:240", cache_dir=tmp_path_factory.mktemp("phantoms-cache"), progress=False)
