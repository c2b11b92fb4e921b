"""The command: it does what it says, and a user's mistake is one line and exit code 2."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tiny_course import write_course

from brainssl_utils import cli
from brainssl_utils.files import write_json


def run(*arguments: object) -> int:
    """Call the command in this process; return its exit code."""
    try:
        cli.main([str(argument) for argument in arguments])
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def assert_one_error(capsys: pytest.CaptureFixture[str], *words: str) -> None:
    output = capsys.readouterr()
    lines = output.err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: "), output.err
    assert all(word in lines[0] for word in words), lines[0]


def test_course_runs_picked_notebooks_and_reports_a_failing_one(tmp_path, capsys):
    folder = write_course(tmp_path / "notebooks", {"01_first": ["a = 1"], "02_second": ["raise KeyError('b')"]})
    out = tmp_path / "run"
    course = ("course", "--profile", "smoke", "--out", out, "--notebooks", folder)
    assert run(*course, "--only", "1") == 0
    assert "[1/1] 01_first: done" in capsys.readouterr().out
    assert json.loads((out / "run.json").read_text())["status"] == "done"
    assert run(*course) == 1
    error = capsys.readouterr().err
    assert "error: 02_second stopped at cell 3 (raise KeyError('b')): KeyError: 'b'" in error
    assert "02_second.failed.ipynb" in error and "goes on with 02_second" in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("course", "--profile", "fast"), ("unknown profile 'fast'", "smoke, quick, paper")),
        (("course", "--seed", "-1"), ("seed -1",)),
        (("course", "--at-once", "0"), ("at_once is 0", "at least 1")),
        (("course", "--data", "no/such/folder"), ("no/such/folder", "does not exist")),
        (("course", "--notebooks", "no/such/folder"), ("no course.toml",)),
        (("course", "--data", "phantoms:30"), ("phantoms:30", "60 or more")),
        (("data", "prepare", "no/such/folder"), ("no/such/folder",)),
        (("data", "prepare", "phantoms:240", "--seed", "-1"), ("seed -1",)),
        (("train", "simclr", "--profile", "smoke", "--data", "phantoms:240", "--seed", "-1"), ("seed -1",)),
        (("data", "prepare", "phantoms:240", "--size", "0"), ("--size 0",)),
        (("data", "prepare", "phantoms:240", "--size", "15"), ("--size 15", "16 to 1024")),
        (("train", "simclr", "--profile", "fast"), ("unknown profile 'fast'",)),
        (("train", "simclr", "--split", "random"), ("unknown split 'random'", "grouped, published")),
        (("train", "simclear"), ("unknown method 'simclear'", "simclr")),
        (("train", "simclr", "--protocol", "best"), ("unknown protocol 'best'",)),
        (("report", "no/such/run"), ("no/such/run",)),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(tmp_path, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == 2
    assert_one_error(capsys, *words)


def test_folder_that_cannot_be_written_is_a_mistake_told_in_one_line(tmp_path, capsys):
    (tmp_path / "file").touch()
    folder = write_course(tmp_path / "notebooks", {"01_first": ["a = 1"]})
    assert run("course", "--notebooks", folder, "--out", tmp_path / "file") == 2
    assert_one_error(capsys, "is a file")
    if not hasattr(os, "geteuid") or os.geteuid() == 0:
        pytest.skip("root may write anywhere, and Windows has other rules")
    (tmp_path / "closed").mkdir(mode=0o500)
    assert run("course", "--notebooks", folder, "--out", tmp_path / "closed" / "run") == 2
    assert_one_error(capsys, "closed")


def test_operating_system_errors_name_the_path(capsys, monkeypatch):
    def refuse(**options: object) -> None:
        raise PermissionError(13, "Permission denied", "a/closed/folder")

    monkeypatch.setattr(cli, "app", refuse)
    assert run("course") == 2
    assert_one_error(capsys, "a/closed/folder: Permission denied")


def test_unknown_option_is_refused(capsys):
    assert run("course", "--seeds", "1") == 2
    assert "--seeds" in capsys.readouterr().err


def test_help_loads_nothing_heavy():
    program = (
        "import sys\nfrom brainssl_utils import cli\n"
        "try:\n    cli.main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print('heavy:', {'torch', 'papermill', 'pandas', 'nbformat', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "heavy: set()" in done.stdout
    assert all(name in done.stdout for name in ("course", "data", "train", "report", "student"))


def test_a_run_of_the_course_loads_no_nbconvert():
    """Only the student's copy needs it, and it takes a while to load."""
    program = "import sys, papermill\nfrom brainssl_utils.course import run\nprint('nbconvert' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "False\n"


def test_student_copy_has_exercises_but_no_solutions_and_overwrites_nothing(tmp_path, capsys):
    folder = write_course(tmp_path / "notebooks", {"01_first": ["exercise = 1", "solution = 2"]})
    notebook = nbformat.read(folder / "01_first.ipynb", as_version=4)
    question = "**Discuss.** Why?\n\n<details><summary>An answer</summary>\n\nBecause.\n\n</details>"
    asked = nbformat.v4.new_markdown_cell(question, metadata={"tags": ["discussion"]})
    notebook.cells.insert(len(notebook.cells) - 2, asked)
    notebook.cells[-2].metadata["tags"] = ["exercise"]
    notebook.cells[-2].update(execution_count=3, outputs=[nbformat.v4.new_output("stream", text="seen")])
    notebook.cells[-1].metadata["tags"] = ["solution", "hide-cell"]
    nbformat.write(notebook, folder / "01_first.ipynb")
    out = tmp_path / "class"
    assert run("student", out, "--notebooks", folder) == 0
    copy = nbformat.read(out / "01_first.ipynb", as_version=4)
    nbformat.validate(copy)
    assert [cell.source for cell in copy.cells[-1:]] == ["exercise = 1"]
    assert [cell.id for cell in copy.cells] == [cell.id for cell in notebook.cells[:-1]]
    assert [cell.metadata.get("tags") for cell in copy.cells] == [None, ["parameters"], ["discussion"], ["exercise"]]
    assert copy.cells[-2].source == "**Discuss.** Why?"
    assert (out / "course.toml").read_text() == (folder / "course.toml").read_text()
    assert copy.cells[-1].outputs == [] and copy.cells[-1].execution_count is None
    capsys.readouterr()
    assert run("student", out, "--notebooks", folder) == 2
    assert_one_error(capsys, "already holds 01_first.ipynb")


def test_data_prepare_prints_summary_problems_copies_and_leakage(capsys):
    assert run("data", "prepare", "phantoms:240") == 0
    output = capsys.readouterr().out
    for words in ("images in", "Images by class and source", "glioma", "Problems", "have a copy"):
        assert words in output
    assert "Split as published" in output and "Split grouped" in output and "threshold" in output


def test_train_writes_a_record_that_report_tabulates(tmp_path, capsys):
    out = tmp_path / "run"
    assert run("train", "simclr", "--data", "phantoms:240", "--profile", "smoke", "--seed", 3, "--out", out) == 0
    output = capsys.readouterr().out
    assert "synthetic" in output and "record:" in output
    (record,) = (out / "records").glob("*.json")
    assert json.loads(record.read_text())["seed"] == 3
    assert run("report", out, "--csv", tmp_path / "table.csv") == 0
    assert "SimCLR" in capsys.readouterr().out
    table = pd.read_csv(tmp_path / "table.csv")
    assert list(table["method"]) == ["SimCLR"] and list(table["seed"]) == [3]


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_output_never_breaks_on_an_encoding(tmp_path, encoding):
    """Redirected on Windows, output is cp1252; class names, folders and tags are of any script."""
    folder = tmp_path / "脑肿瘤"
    rng = np.random.default_rng(0)
    for name in ("胶质瘤", "正常"):
        for number in range(12):
            (folder / name).mkdir(parents=True, exist_ok=True)
            picture = Image.fromarray(rng.integers(0, 255, (6, 6), np.uint8)).resize((64, 64))
            picture.save(folder / name / f"{number}.png")
    course = write_course(tmp_path / "课", {"01_课": ["print('✓ 完成')"], "02_错": ["raise ValueError('错误')"]})
    about = {"method": "simclr", "protocol": "fair", "split": "grouped", "profile": "smoke", "seed": 0, "tag": "温度"}
    write_json(
        tmp_path / "运行" / "records" / "a.json",
        {"schema": 2, **about, "data": {"name": "脑", "fingerprint": "1"}, "config": {}, "history": [], "test": {}},
    )
    (tmp_path / "运行" / "说明.json").write_text("[]")
    cache, settings = tmp_path / "cache", {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0", "LC_ALL": "C.UTF-8"}
    for code, words in {
        0: ("data", "prepare", folder, "--size", "32"),
        1: ("course", "--profile", "smoke", "--notebooks", course, "--out", tmp_path / "课程"),
        2: ("train", "方法", "--data", folder),
        3: ("report", tmp_path / "运行", tmp_path / "运行" / "说明.json"),
    }.items():
        command = [sys.executable, "-m", "brainssl_utils.cli", *map(str, words)]
        environment = {**os.environ, **settings, "BRAINSSL_CACHE": str(cache)}
        done = subprocess.run(command, capture_output=True, env=environment, cwd=Path(__file__).parents[1])
        text = (done.stdout + done.stderr).decode(errors="replace")
        assert done.returncode == code % 3 and "Traceback" not in text, text


def test_command_is_installed():
    assert shutil.which("brainssl", path=Path(sys.executable).parent)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run on phantoms."""
    out = tmp_path_factory.mktemp("trained")
    assert run("train", "simclr", "--data", "phantoms:240", "--profile", "smoke", "--out", out) == 0
    return out


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (80, 70), dtype=np.uint8)).save(tmp_path / "scan.png")
    return tmp_path / "scan.png"


def test_predict_prints_a_line_a_picture_and_the_reminder_once(trained, picture, capsys):
    assert run("predict", trained, picture, picture) == 0
    *lines, reminder = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and reminder.startswith("Not for diagnosis")
    for line in lines:
        assert line.startswith(f"{picture}: ") and line.count("%") == 4
        assert all(name in line for name in ("glioma", "meningioma", "no_tumor", "pituitary"))


def test_predict_names_what_it_cannot_read_and_answers_the_others(trained, picture, tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("no picture")
    assert run("predict", trained, tmp_path / "notes.txt", picture) == 1
    output = capsys.readouterr()
    assert output.err == f"error: {tmp_path / 'notes.txt'}: not an image: a text file\n"
    assert output.out.startswith(f"{picture}: ")


def test_predict_as_json_and_csv_leaves_the_output_to_programs(trained, picture, tmp_path, capsys):
    assert run("predict", trained, picture, tmp_path / "gone.png", "--format", "json") == 1
    output = capsys.readouterr()
    good, gone = json.loads(output.out)
    assert good["probability"] == max(good["probabilities"].values()) and sum(good["probabilities"].values())
    assert gone == {"image": str(tmp_path / "gone.png"), "problem": "no such file"}
    assert "Not for diagnosis" in output.err
    assert run("predict", trained, picture, "--format", "csv") == 0
    table = pd.read_csv(io.StringIO(capsys.readouterr().out))
    assert table["class_name"].tolist() == [good["class"]] and table["probability"].iloc[0] == pytest.approx(
        good["probability"]
    )


def test_embed_writes_features_that_pandas_reads(trained, tmp_path, capsys):
    assert run("embed", trained, "phantoms:240", "--out", tmp_path / "features.parquet") == 0
    assert "1024 features each" in capsys.readouterr().out
    table = pd.read_parquet(tmp_path / "features.parquet")
    assert {"labelled", "unlabelled", "test"} <= set(table["part"]) and np.stack(table["features"]).shape[1] == 1024


def test_choices_of_classes_are_typed_saved_and_taken_up(tmp_path, capsys):
    rng = np.random.default_rng(0)
    for folder in ("yes", "no"):
        (tmp_path / "scans" / folder).mkdir(parents=True)
        for number in range(30):
            pixels = rng.integers(0, 256, (32, 32), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "scans" / folder / f"{number}.png")
    choice = ("--classes", "yes=tumor,no=no_tumor", "--save", tmp_path / "scans.toml")
    assert run("data", "prepare", tmp_path / "scans", *choice) == 0
    said = capsys.readouterr().out
    assert "tumor" in said and f"written: {tmp_path / 'scans.toml'}" in said
    out = tmp_path / "run"
    assert run("train", "simclr", "--data", tmp_path / "scans.toml", "--profile", "smoke", "--out", out) == 0
    [record] = (out / "records").glob("*.json")
    assert json.loads(record.read_text())["config"]["n_classes"] == 2
    assert run("embed", out, tmp_path / "scans", "--classes", "1", "--out", tmp_path / "f.parquet") == 0
    capsys.readouterr()
    assert run("data", "prepare", tmp_path / "scans", "--classes", "yes=") == 2
    assert_one_error(capsys, "--classes yes=", "yes=tumor,no=no_tumor")


def test_a_finished_run_is_trained_longer(tmp_path, capsys):
    train = ("train", "simclr", "--data", "phantoms:240", "--profile", "smoke", "--out", tmp_path)
    assert run(*train) == 0 and run(*train, "--epochs", 3) == 0
    assert "2 epochs were trained earlier; going on to 3" in capsys.readouterr().out
    [record] = (tmp_path / "records").glob("*.json")
    content = json.loads(record.read_text())
    assert content["continued_from"] == [2] and len(content["history"]) == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("predict", "no/such/run", "a.png"), ("no/such/run",)),
        (("predict", "RUN", "a.png", "--name", "nnclr"), ("'nnclr'", "--name", "simclr-fair")),
        (("predict", "RUN", "a.png", "--format", "xml"), ("--format", "text, csv, json")),
        (("embed", "RUN", "phantoms:240", "--out", "features.csv"), ("features.csv", ".parquet")),
        (("embed", "no/such/run", "phantoms:240", "--out", "f.parquet"), ("no/such/run",)),
        (("embed", "RUN", "no/such/folder", "--out", "f.parquet"), ("no/such/folder",)),
        (("train", "simclr", "--epochs", "0"), ("--epochs", "at least 1")),
    ],
)
def test_mistakes_with_a_finished_run_are_one_line(tmp_path, monkeypatch, capsys, trained, arguments, words):
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    assert run(*(trained if part == "RUN" else part for part in arguments)) == 2
    assert_one_error(capsys, *words)
