"""A study goes on from any stop: nothing finished is done again, and a worker's death changes no number."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch
from dask.distributed import Client, LocalCluster

from brainssl_utils import cli
from brainssl_utils.compute.machine import available_cores
from brainssl_utils.errors import CourseError
from brainssl_utils.methods.base import Method
from brainssl_utils.results.records import read_records
from brainssl_utils.studies import run as run_module
from brainssl_utils.studies import tasks
from brainssl_utils.studies.plan import Study, read_study
from brainssl_utils.studies.run import run_study
from brainssl_utils.studies.tasks import Job, Outcome, Source, do

TINY = """
title = "Tiny"
data = "phantoms:60"
profile = "smoke"
seeds = [0, 1]
[sizes]
steps_per_epoch = 1
[[training]]
methods = ["simclr", "supervised"]
split = "grouped"
[[reading]]
of = ["simclr", "from scratch"]
labels = [5, 1000]
draws = { 5 = 4 }
kinds = ["linear", "fine_tune"]
[reading.fine_tuning]
steps = 2
"""


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache that workers find too, and one thread as they have."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BRAINSSL_CACHE", str(tmp_path_factory.mktemp("cache")))
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        yield
        torch.set_num_threads(threads)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY, encoding="utf-8")
    return path


@pytest.fixture
def study(file: Path) -> Study:
    return read_study(file)


def run(study: Study, out: Path, **options: Any) -> tuple[dict[str, str], list[str]]:
    lines: list[str] = []
    return run_study(study, None, out, say=lines.append, **options), lines


def command(*arguments: object) -> int:
    """Call the command in this process; return its exit code."""
    with pytest.raises(SystemExit) as stop:
        cli.main([str(argument) for argument in arguments])
    return int(stop.value.code or 0)


def times(out: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for folder in ("records", "readings") for path in (out / folder).glob("*")}


def test_what_is_finished_is_not_done_again_and_one_seed_comes_after_the_other(study: Study, tmp_path: Path) -> None:
    out = tmp_path / "out"
    failures, lines = run(study, out, seeds=[0])
    assert not failures and "[3/3]" in lines[-1]
    before = times(out)
    readings = pd.concat([pd.read_csv(path) for path in (out / "readings").glob("*.csv")])
    # SimCLR by both kinds, from scratch by fine-tuning alone: 5 labels twice (half of the draws), and all labels once.
    assert len(readings) == 9 and sorted(readings["labels"].unique()) == [5, 9]
    assert readings[readings["labels"] == 9]["draw"].unique() == [0]

    failures, lines = run(study, out)
    assert not failures and lines[0].startswith("6 to do, 3 finished before. About")
    assert all("seed 1" in line for line in lines[1:]) and len(lines) == 4
    assert {path: time for path, time in times(out).items() if path in before} == before
    assert run(study, out)[1] == ["6 to do, 6 finished before."]


def test_new_readings_leave_trainings_and_old_readings_as_they_are(study: Study, tmp_path: Path) -> None:
    out = tmp_path / "out"
    small = replace(study, recipes=study.recipes[:1], baselines=(), seeds=(0,))
    run(small, out)
    before = times(out)
    more = replace(small, readings=(replace(small.readings[0], labels=(5, 6, 1000)),))
    assert len(run(more, out)[1]) == 2
    after = times(out)
    assert len(after) == len(before) + 2
    assert {path: after[path] for path in before if path.parent.name == "readings"}.items() <= before.items()


def test_a_failing_training_is_told_in_one_line_and_the_others_go_on(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fit = tasks.fit

    def failing(method: Method, *arguments: Any, **options: Any) -> Any:
        if method.name == "simclr":
            raise ZeroDivisionError("a bad\nday")
        return fit(method, *arguments, **options)

    call = ("study", "run", file, "--out", tmp_path / "out", "--seeds", 0)
    monkeypatch.setattr(tasks, "fit", failing)
    assert command(*call) == 1
    told = capsys.readouterr()
    assert "failed: SimCLR, fair, grouped, seed 0: ZeroDivisionError: a bad day\n1 failed." in told.err
    assert "Supervised, fair, grouped, seed 0: trained" in told.out and "Traceback" not in told.err
    monkeypatch.setattr(tasks, "fit", fit)
    assert command(*call) == 0
    assert "3 to do, 2 finished before." in capsys.readouterr().out
    assert command("study", "show", file, "--out", tmp_path / "out") == 0
    assert "1 of 2" in capsys.readouterr().out


def test_a_training_that_was_stopped_goes_on_from_its_last_epoch(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Method.training_step

    def pressed(self: Method, *arguments: Any) -> torch.Tensor:
        if self.current_epoch == 1:
            raise KeyboardInterrupt
        return step(self, *arguments)

    small = replace(study, recipes=study.recipes[:1], readings=(), baselines=(), seeds=(0,))
    monkeypatch.setattr(Method, "training_step", pressed)
    with pytest.raises(KeyboardInterrupt):
        run(small, tmp_path)
    monkeypatch.setattr(Method, "training_step", step)
    run(small, tmp_path)
    (record,) = read_records(tmp_path)
    assert record["taken_up_at_epochs"] == [1]


def test_a_worker_with_other_images_says_so(study: Study, tmp_path: Path) -> None:
    outcome = do(Job(study.recipes[0], 0, (0,), (), Source("phantoms:60", 96, "0" * 64), tmp_path))
    assert "are not those the study was started with" in outcome.error and "phantoms:60" in outcome.error


def test_mistakes_are_told_before_anything_runs(study: Study, tmp_path: Path) -> None:
    for options, words in (
        ({"seeds": [7]}, "seeds 0, 1, not 7"),
        ({"workers": 2, "scheduler": "tcp://x:1"}, "workers"),
    ):
        with pytest.raises(CourseError, match=words):
            run(study, tmp_path, **options)
    with pytest.raises(CourseError, match="meant for archives: say where"):
        run(replace(study, data="archives"), tmp_path)
    assert not list(tmp_path.rglob("*.json"))


def die_in_the_middle(job: Job) -> None:
    """Kill this very process as soon as the job's first checkpoint is there."""
    while not list((job.out / "checkpoints").glob("simclr*seed0.*.ckpt")):
        time.sleep(0.005)
    (job.out / "killed").touch()
    os.kill(os.getpid(), signal.SIGKILL)


def do_or_die(job: Job) -> Outcome:
    """What a worker does in place of `do`: the one that trains SimCLR first dies over it."""
    if job.title == "SimCLR, fair, grouped, seed 0" and not (job.out / "killed").exists():
        threading.Thread(target=die_in_the_middle, args=(job,), daemon=True).start()
    return do(job)


def timeless(records: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        record["name"]: (
            [{name: value for name, value in row.items() if name != "seconds"} for row in record["history"]],
            record["test"],
            record["evaluations"],
        )
        for record in records
    }


def test_two_workers_one_of_them_killed_give_the_records_of_an_undisturbed_run(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = replace(study.recipes[0].profile, name="smoke-long", epochs=6)
    recipes = tuple(replace(recipe, profile=long) for recipe in study.recipes)
    study = replace(study, recipes=recipes, readings=(), baselines=())
    run(study, tmp_path / "here")
    monkeypatch.setattr(run_module, "do", do_or_die)
    failures, lines = run(study, tmp_path / "dask", workers=2)
    assert (tmp_path / "dask" / "killed").exists() and not failures
    assert len(lines) == 5 and sum("trained in" in line for line in lines) == 4
    records = read_records(tmp_path / "dask")
    again = [record["name"] for record in records if record["taken_up_at_epochs"]]
    assert len(again) == 1 and again[0].startswith("simclr") and again[0].endswith("seed0")
    assert {record["device"]["threads"] for record in records} == {max(1, available_cores() // 2)}
    assert timeless(records) == timeless(read_records(tmp_path / "here"))
    assert run(study, tmp_path / "dask")[1] == ["4 to do, 4 finished before."]


def wait_for(seconds: float) -> Outcome:
    time.sleep(seconds)
    return Outcome()


def test_no_worker_stands_idle_while_another_is_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def in_threads(stack: ExitStack, workers: int, scheduler: str | None) -> Client:
        options = {"processes": False, "dashboard_address": ":0", "silence_logs": logging.ERROR}
        return stack.enter_context(
            Client(stack.enter_context(LocalCluster(n_workers=workers, threads_per_worker=1, **options)))
        )

    monkeypatch.setattr(run_module, "_client", in_threads)
    monkeypatch.setattr(run_module, "do", wait_for)
    todos = [SimpleNamespace(name=f"job {place}", key="", job=3.0 if place == 1 else 0.1) for place in range(9)]
    done = [todo.name for todo, _ in run_module._on_dask(todos, 2, None, SimpleNamespace())]
    assert done == [f"job {place}" for place in (0, 2, 3, 4, 5, 6, 7, 8, 1)]


def test_a_worker_alone_has_all_cores(study: Study, tmp_path: Path) -> None:
    small = replace(study, recipes=study.recipes[1:], readings=(), baselines=(), seeds=(0,))
    run(small, tmp_path, workers=1)
    assert read_records(tmp_path)[0]["device"]["threads"] == available_cores()
