"""The scripts around the data: plain arguments in, files or one line of error out."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import merge_datasets
import numpy as np
import pandas as pd
import pytest

from brainssl_utils.data.corpus import Corpus
from brainssl_utils.errors import CourseError, exit_code

SCRIPTS = ("download_figshare", "download_kaggle", "make_phantoms", "merge_datasets")


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_script_says_what_it_does(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "--help"])
    with pytest.raises(SystemExit) as stopped:
        importlib.import_module(name).main()
    assert stopped.value.code == 0
    assert f"data_scripts/{name}.py" in capsys.readouterr().out.replace("\n", " ")


def test_a_wrong_number_of_phantoms_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import make_phantoms

    monkeypatch.setattr(sys, "argv", ["make_phantoms.py", str(tmp_path / "set"), "--files", "7"])
    assert exit_code(make_phantoms.main) == 2
    assert "at least 60" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_an_exported_corpus_is_the_corpus(phantoms: Corpus, tmp_path: Path) -> None:
    arrays, table = merge_datasets.export_corpus(phantoms, tmp_path / "new" / "merged.v1")
    assert [path.name for path in sorted((tmp_path / "new").iterdir())] == ["merged.v1.csv", "merged.v1.npz"]
    with np.load(arrays) as content:
        assert np.array_equal(content["images"], phantoms.images) and content["images"].dtype == np.uint8
        assert np.array_equal(content["labels"], phantoms.labels)
        assert np.array_equal(content["group"], phantoms.table["group"])
        assert content["classes"].tolist() == list(phantoms.classes)
    read = pd.read_csv(table, keep_default_na=False)
    assert list(read.columns) == list(phantoms.table.columns)
    assert read["id"].tolist() == phantoms.table["id"].tolist()


def test_an_export_that_cannot_be_written_is_named(phantoms: Corpus, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CourseError, match=r"cannot write .*merged\.npz"):
        merge_datasets.export_corpus(phantoms, tmp_path / "file" / "merged")
