"""The README's figures are those of the records."""

from __future__ import annotations

import dataclasses
import re
import runpy
import shlex
from pathlib import Path

import make_readme_figure as picture
import make_readme_tables as readme
import nbformat
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tiny import full_length_records

from brainssl_utils import cli, validity
from brainssl_utils.data.corpus import Corpus
from brainssl_utils.errors import CourseError
from brainssl_utils.results import records
from brainssl_utils.results.published import PUBLISHED
from brainssl_utils.settings import PROFILES
from brainssl_utils.studies.plan import read_study
from brainssl_utils.studies.show import few_labels, gained, study_tables

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results" / "reference"
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def test_readme_shows_the_records_figures() -> None:
    assert readme.with_results(TEXT, readme.tables(RESULTS)) == TEXT, "run: python docs/make_readme_tables.py"


def test_the_studys_table_is_made_of_the_seeds_there_are(tmp_path: Path) -> None:
    assert readme.study_table(tmp_path) == "None of its 30 trainings is recorded here so far."
    folder = tmp_path / "archives" / "records"
    folder.mkdir(parents=True)
    full_length_records(folder)
    table = readme.study_table(tmp_path)
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line.startswith("|")
    ]
    mine = [row for row in rows if row[0] == "Proposed model"]
    assert [row[1:4] for row in mine] == [
        ["published", "", "99.35"], ["as published", "1 of 3", "98.7"], ["grouped", "1 of 3", "98.5"]
    ]  # fmt: skip
    assert mine[1][-1] == "yes" and not any("[" in cell for cell in mine[1])
    assert "SimCLR" in table and table.endswith("Trainings recorded: 2 of 30.")
    one = min(folder.glob("*.json"))
    one.write_text(re.sub(r'"p_acc": 0\.\d+', '"p_acc": 0.5', one.read_text(encoding="utf-8")), encoding="utf-8")
    assert readme.with_results(TEXT, {"study": readme.study_table(tmp_path)}) != readme.with_results(
        TEXT, {"study": table}
    )


def test_the_studys_records_are_of_the_whole_study() -> None:
    made = [record for record in records.read_records(RESULTS / "archives") if record["protocol"] == "published"]
    assert len(made) >= 18
    for record in made:
        counts = record["data"]["counts"]
        assert (counts["labelled"], counts["test"]) == (1235, 308)
        assert record["sizes"]["image_size"] == 96
        assert [row["epoch"] for row in record["history"]] == list(range(100))
        leak = {(row["threshold"], row["part"]): row["share"] for row in record["leakage"]}
        assert (leak[0.98, "either"] == 0) == (record["split"] == "grouped")


def test_figures_with_few_labels_are_those_of_the_benchmark() -> None:
    table = (ROOT / "benchmarks" / "results" / "few_labels.txt").read_text(encoding="utf-8")
    cells = nbformat.read(ROOT / "notebooks" / "03_masked_encoder.ipynb", 4).cells
    lesson = "\n".join(cell.source for cell in cells if "studies/second_project.toml" in cell.source)
    section = TEXT.split("### The second project, with few labels")[1].split("\n#")[0]
    for text, least in ((section, 28), (lesson, 35)):
        figures = re.findall(r"-?\d+\.\d \[-?\d+\.\d, -?\d+\.\d\]", text)
        assert len(figures) >= least and not [figure for figure in figures if figure not in table]


def test_the_readmes_picture_shows_the_benchmarks_gains() -> None:
    text = (ROOT / "benchmarks" / "results" / "few_labels.txt").read_text(encoding="utf-8")
    table = picture.gains(text)
    assert len(table) == 9
    row = table.set_index(["method", "labels"]).loc[("SimCLR", 12)]
    assert (row.points, row.lo, row.hi) == (2.9, 1.8, 4.1)
    figures = {f"{row.points:.1f} [{row.lo:.1f}, {row.hi:.1f}]" for row in table.itertuples()}
    assert not [figure for figure in figures if figure not in TEXT], "the table beside it says the same"
    [axes] = picture.draw(table).axes
    drawn = [container.lines[0].get_ydata().tolist() for container in axes.containers]
    assert drawn == [part["points"].tolist() for _, part in table.groupby("method", sort=False)]
    assert (ROOT / "docs" / "images" / "few_labels.png").stat().st_size > 10_000 and is_of(table, "few_labels.png")


def is_of(table: pd.DataFrame, name: str) -> bool:
    """Whether a committed picture was drawn from this table: `make_readme_figure.save` has written its digest into it."""
    with Image.open(ROOT / "docs" / "images" / name) as opened:
        return opened.info["Comment"] == validity.digest(table.to_csv(index=False))


def test_the_readmes_first_picture_shows_the_studys_records() -> None:
    points = picture.study_points()
    assert is_of(points, "table2.png"), "run: python docs/make_readme_figure.py"
    assert points["source"].value_counts()["the study"] == 4 and set(points["source"]) == set(picture.SOURCES)
    one = points.set_index(["method", "source", "seed"]).loc[("SimCLR", "grouped", 0)]
    record = records.find(records.read_records(RESULTS / "archives"), "simclr", "published", "grouped", seed=0)
    assert record and one["val_p_acc"] == 100 * record["history"][-1]["val_p_acc"]
    panels = picture.draw_study(points).axes
    for axes, column in zip(panels, picture.PANELS, strict=True):
        drawn = sorted(x for line in axes.lines for x in line.get_xdata())
        assert drawn == sorted(points[column].dropna())


def test_what_the_readme_says_of_the_study_is_what_the_records_say() -> None:
    study = read_study("table2")
    tables = study_tables(study, RESULTS / "archives")
    trained = tables.trainings.set_index(["method", "split"])
    ours = trained.loc[(slice(None), "as published"), :].droplevel("split")
    apart = (100 * ours[list(PUBLISHED.columns)] - PUBLISHED).dropna(how="all").abs()
    baselines = apart.drop("Proposed model")
    assert (apart["c_acc"] < 1).all() and (baselines[["p_acc", "val_p_acc"]] < 3).all(axis=None)
    assert (ours["seeds"] == 3).all() and apart.loc["Proposed model", "val_p_acc"].round(1) == 4.5
    by_reference = 100 * tables.distances.set_index("method")["r_acc, reference's formula"]
    assert by_reference["SimCLR"].round(2) == 0.78 and sorted(by_reference.round(1)) == [0.8, 0.8, 0.8, 1.6]
    said = TEXT.split("On the study's split:")[1].split("\n#")[0]
    assert "0.78 %" in said and "0.8 to 1.6 %, by a guarded one 53 to 88 %" in said
    guarded = 100 * ours.loc[["Barlow Twins", "NNCLR", "Proposed model"], "r_acc"]
    assert (round(guarded.min()), round(guarded.max())) == (53, 88)
    pair = tables.pairs.set_index("model").loc["Proposed model, published, grouped"]
    assert f"{pair.difference:+.1f} points [{pair.lo:.1f}, {pair.hi:.1f}]" in said and pair.seeds == 3
    assert ours.loc["Supervised", "fitted"] == "2 of 3"
    read = study_tables(read_study("readings"), RESULTS / "archives").distances
    both = 100 * read[["r_acc, reference's formula", "r_acc, ours"]]
    assert len(read) == 11 and "Of\n  eleven [readings]" in said and ((both < 2) | (both > 80)).all(axis=None)


def test_what_the_readme_says_of_few_labels_is_what_the_readings_say() -> None:
    gains = gained(study_tables(read_study("few_labels"), RESULTS / "archives").readings)
    said = " ".join(TEXT.split("### All methods with few labels")[1].split("\n\n")[1].split())
    wanted = [("NNCLR", 60), ("SimCLR", 60), ("Barlow Twins", 60)]
    for model, labels in [*wanted, *((model, 12) for model, _ in wanted), ("Masked encoder", 60)]:
        part = gains[(gains["model"] == model) & (gains["labels"] == labels)]
        [figure] = few_labels(part, share=False)[f"grouped, {labels} labels"]
        assert part["seed"].nunique() == 3 and figure in said


def test_readme_without_marks_is_refused() -> None:
    with pytest.raises(CourseError, match="marks"):
        readme.with_results("# title", {"results": "table"})


def test_every_file_the_readme_names_exists() -> None:
    for name in re.findall(r"\]\((?!https?:|#)([^)]+)\)", TEXT):
        assert (ROOT / name).exists(), name


READERS = TEXT.split("## For readers with images of their own")[1].split("\n## ")[0]


def test_the_readers_blocks_are_short() -> None:
    blocks = re.findall(r"```python\n(.*?)```", READERS, re.DOTALL)
    assert len(blocks) >= 3 and all(len(block.strip().splitlines()) <= 12 for block in blocks)


def readers_folders(place: Path, phantoms: Corpus) -> None:
    """A folder whose labels and patients stand in a table, and one of two classes with a pool that has none."""
    (place / "scans").mkdir()
    rows = ["file,label,patient"]
    for row in range(80):
        Image.fromarray(phantoms.images[row, 0]).save(place / "scans" / f"{row}.png")
        rows.append(f"{row}.png,{phantoms.files['class_name'][row]},p{row // 4}")
    (place / "scans" / "labels.csv").write_text("\n".join(rows), encoding="utf-8")
    for number, name in enumerate(("glioma", "no_tumor", "unlabeled")):
        (place / "scans_with_pool" / name).mkdir(parents=True)
        for row in range(100 + 40 * number, 140 + 40 * number if number < 2 else 192):
            Image.fromarray(phantoms.images[row, 0]).save(place / "scans_with_pool" / name / f"{row}.png")


def test_the_readers_blocks_and_commands_run(
    phantoms: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one session, on a folder of class folders, with as little training as there can be."""
    folder = tmp_path / "folder" / "with" / "class" / "folders"
    for row, (image, name) in enumerate(zip(phantoms.images[:, 0], phantoms.files["class_name"])):
        (folder / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / name / f"{row:03d}.png")
    Image.fromarray(phantoms.images[0, 0]).save(tmp_path / "scan.png")
    readers_folders(tmp_path, phantoms)
    tiny = dataclasses.replace(PROFILES["quick"], epochs=1, steps_per_epoch=1, batch_size=10, labeled_batch_size=4)
    monkeypatch.setitem(PROFILES, "quick", tiny)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BRAINSSL_CACHE", str(tmp_path / "cache"))
    commands = re.findall(r"^    brainssl (.*)$", READERS, re.MULTILINE)
    (tmp_path / "blocks.py").write_text("\n".join(re.findall(r"```python\n(.*?)```", READERS, re.DOTALL)))
    done = runpy.run_path("blocks.py", run_name="__main__")
    assert done["run"].record["config"]["encoder"] == "__main__:grey_resnet"
    assert len(done["features"]) == len(done["corpus"]) and "scan.png" in capsys.readouterr().out
    assert done["pooled"].record["data"]["counts"]["unlabelled"] >= (done["mixed"].labels < 0).sum() == 12
    assert done["scans"].table["patient"].nunique() == 20
    assert len(commands) >= 4
    for command in commands:
        words = shlex.split(command)
        try:
            cli.main([*words, "--name", "simclr-fair"] if "runs/mine" in words else words)  # there is a second run
        except SystemExit as end:
            assert not end.code, command
    table = pd.read_parquet("features.parquet")
    assert np.stack(table["features"]).shape == (len(done["corpus"]), 64 * 6 * 6)
