"""The `brainssl` command. Each command imports what it needs when it is called, so that --help answers at once."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from brainssl_utils.errors import CourseError, exit_code

if TYPE_CHECKING:
    import pandas as pd

    from brainssl_utils.training.run import Run

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="A course on self-supervised learning for brain-MRI tumour images with few labels. Not for diagnosis.",
)
data_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Look at the images before any training.")
app.add_typer(data_app, name="data")
study_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Grids of trainings, each written in one file."
)
app.add_typer(study_app, name="study")

Data = Annotated[
    str, typer.Option(help="phantoms, a folder with archives or class folders, or a .toml that describes one.")
]
Table = Annotated[str | None, typer.Option(help="File of labels and patients, such as metadata.csv.")]
Classes = Annotated[
    str | None, typer.Option(help="Folders that are classes: yes=tumor,no=no_tumor, or yes,no, or a depth such as 1.")
]
Every = Annotated[int, typer.Option(help="Take every so many-th slice of a volume; 0 the middle one alone.")]
Profile = Annotated[str, typer.Option(help="Size of the run: smoke, quick or paper.")]
Seed = Annotated[int, typer.Option(help="A whole number; the same seed gives the same run.")]
Name = Annotated[str, typer.Option(help="The record to take, or a part of its name, where the run has several.")]
Notebooks = Annotated[Path | None, typer.Option(help="Folder of the notebooks; the project's own by default.")]


def _version(wanted: bool) -> None:
    if wanted:
        from brainssl_utils import __version__

        typer.echo(f"brainssl {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def course(
    data: Data = "phantoms",
    profile: Profile = "quick",
    seed: Seed = 0,
    out: Annotated[Path, typer.Option(help="Folder of the run; call again with it to go on.")] = Path("runs/course"),
    only: Annotated[str | None, typer.Option(help="Notebooks to run, by number or name: 4,5.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Remove what an earlier run made in --out first.")] = False,
    notebooks: Notebooks = None,
    at_once: Annotated[
        int | None,
        typer.Option(
            help="How many notebooks to run side by side; by default 2 on two cores or more with 6 GiB of free memory."
        ),
    ] = None,
) -> None:
    """Run the notebooks, each after those it needs; goes on after a stop."""
    from brainssl_utils.course.at_once import as_many_as_fit
    from brainssl_utils.course.notebook import NotebookError
    from brainssl_utils.course.run import run_course

    picked = None if only is None else [name for name in only.split(",") if name.strip()]
    try:
        number = as_many_as_fit() if at_once is None else at_once
        run_course(data, profile, seed, out, picked, fresh, notebooks_dir=notebooks, at_once=number)
    except NotebookError as error:
        copy = out / "notebooks" / f"{error.notebook}.failed.ipynb"
        typer.echo(f"error: {error}", err=True)
        if copy.exists():
            typer.echo(f"What ran up to there, with the full error: {copy}", err=True)
        typer.echo(f"The same command goes on with {error.notebook}.", err=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        typer.echo("interrupted: the same command goes on with what was running.", err=True)
        raise typer.Exit(130) from None


@data_app.command()
def prepare(
    data: Annotated[str, typer.Argument(metavar="DIR", help="A folder with the archives or class folders.")],
    size: Annotated[int, typer.Option(help="Side of the square images, pixels.")] = 96,
    seed: Seed = 0,
    table: Table = None,
    classes: Classes = None,
    every: Every = 0,
    save: Annotated[
        Path | None,
        typer.Option(help="Also write DIR and these choices to this .toml, for --data of the other commands."),
    ] = None,
) -> None:
    """Read, merge and cache the images; report problems, copies and what they do to a split."""
    if not 16 <= size <= 1024:
        raise CourseError(f"--size {size}: a side of 16 to 1024 pixels is expected; the course uses 96.")
    from brainssl_utils.settings import check_seed

    check_seed(seed)
    from brainssl_utils.data.description import describe, write_description

    choices = _choices(table, classes, every)
    images = describe(data, **choices)
    if save is not None:
        write_description(images, save)
        typer.echo(f"written: {save}")
    from brainssl_utils.data.conflicts import overlap_table
    from brainssl_utils.data.loading import load_corpus
    from brainssl_utils.data.splits.draw import default_split, grouped_split, paper_split
    from brainssl_utils.data.splits.leakage import leakage

    corpus = load_corpus(data, size, **choices)
    groups = corpus.table["group"].nunique()
    typer.echo(f"{corpus.name}: {len(corpus)} images in {groups} groups of copies, {size} x {size} pixels.")
    _show("Images by class and source", corpus.summary())
    if len(corpus.problems):
        _show(f"Problems ({len(corpus.problems)})", corpus.problems, index=False)
    else:
        typer.echo("\nProblems: none")
    _show("Images of a source that have a copy, by where the copy is", overlap_table(corpus))
    drawn = [make(corpus, seed=seed) for make in (paper_split, grouped_split, default_split)]
    for split in {split.name: split for split in drawn}.values():  # the default is one of the others on most corpora
        sizes = f"{len(split.train)} labelled, {len(split.unlabeled)} unlabelled, {len(split.test)} test"
        _show(f"Split {split.name} ({sizes}): test images with a copy", leakage(corpus, split), index=False)


@app.command()
def train(
    method: Annotated[str, typer.Argument(help="A method by name, such as simclr; a wrong name lists them all.")],
    data: Data = "phantoms",
    profile: Profile = "quick",
    seed: Seed = 0,
    out: Annotated[Path, typer.Option(help="Folder for the record and the checkpoint.")] = Path("runs/train"),
    protocol: Annotated[str, typer.Option(help="published (each row as in the study) or fair (one for all).")] = "fair",
    split: Annotated[
        str,
        typer.Option(
            help="default (patients apart where known, copies apart elsewhere), grouped, published or patient."
        ),
    ] = "default",
    epochs: Annotated[
        int | None, typer.Option(help="How many, in place of the profile's; a shorter finished run goes on.")
    ] = None,
    devices: Annotated[int, typer.Option(help="GPUs of this machine to train on, or processes where it has none.")] = 1,
    strategy: Annotated[
        str, typer.Option(help="How several devices train together: ddp, or auto, which is the same.")
    ] = "auto",
    num_nodes: Annotated[int, typer.Option(help="Machines, on each of which this command is given.")] = 1,
) -> None:
    """Train one method and score it once; goes on after a stop."""
    from dataclasses import asdict

    from brainssl_utils.checks import check_number
    from brainssl_utils.compute.processes import is_first
    from brainssl_utils.data.splits.named import make_split, split_name
    from brainssl_utils.files import check_writable
    from brainssl_utils.settings import check_seed, get_profile

    sizes = get_profile(profile)
    check_seed(seed)
    if epochs is not None:
        check_number("--epochs", epochs, at_least=1, whole=True)
    if split != "default":
        split_name(split)
    check_writable(out)
    from brainssl_utils.data.loading import load_corpus
    from brainssl_utils.methods import make_method
    from brainssl_utils.training.devices import Devices
    from brainssl_utils.training.trainer import fit

    make_method(method, protocol, sizes.image_size)  # a wrong name is told before the images are read
    where = Devices(devices, strategy, num_nodes)
    corpus = load_corpus(data, progress=is_first())
    model = make_method(method, protocol, sizes.image_size, seed=seed, n_classes=len(corpus.classes))
    try:
        run = fit(model, corpus, make_split(split, corpus, seed), sizes, seed, out, epochs=epochs, **asdict(where))
    except KeyboardInterrupt:
        if is_first():
            typer.echo("interrupted: the same command goes on from the last whole epoch.", err=True)
        raise typer.Exit(130) from None
    if is_first():  # any other process only helped
        _show_test(run, corpus.synthetic)


def _show_test(run: Run, synthetic: bool) -> None:
    low, high = run.test["ci95"]
    note = " (synthetic images)" if synthetic else ""
    typer.echo(
        f"{run.name}: {run.test['correct']} of {run.test['n']} test images right{note}, "
        f"{run.test['accuracy']:.1%} [{low:.1%}, {high:.1%}]"
    )
    typer.echo(f"record: {run.path}")


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of runs, or record files.")],
    csv: Annotated[Path | None, typer.Option(help="Also write the table to this file.")] = None,
    each: Annotated[bool, typer.Option("--each", help="One row a training, even where seeds repeat it.")] = False,
) -> None:
    """Print one row a trained model, or its mean over seeds where there are several, from the records of runs."""
    from brainssl_utils.files import atomic_path
    from brainssl_utils.results.overview import overview, with_intervals
    from brainssl_utils.results.records import read_records

    def note(message: str) -> None:
        typer.echo(f"note: {message}", err=True)

    table = overview(read_records(runs, skip=note), each, note)
    typer.echo(_text(with_intervals(table), index=False))
    if "seeds" in table:
        typer.echo("Means over seeds with 95 % t intervals; a single seed has none. --each: one row a training.")
    if csv is not None:
        with atomic_path(csv) as temporary:
            table.to_csv(temporary, index=False)
        typer.echo(f"written: {csv}")


StudyFile = Annotated[Path, typer.Argument(metavar="FILE", help="The study's file, or a name such as table2.")]


@study_app.command("run")
def study_run(
    file: StudyFile,
    out: Annotated[Path, typer.Option(help="Folder for records, checkpoints and readings.")],
    data: Annotated[str | None, typer.Option(help="phantoms, or a folder with the archives or class folders.")] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes of a Dask cluster here; 0 works without one.")] = 0,
    scheduler: Annotated[str | None, typer.Option(help="A running Dask cluster, such as tcp://host:8786.")] = None,
    seeds: Annotated[str | None, typer.Option(help="Which of the study's seeds: 0,1.")] = None,
) -> None:
    """Train and read what is not done yet; goes on after a stop."""
    from brainssl_utils.studies.plan import read_study
    from brainssl_utils.studies.run import run_study

    chosen = None if seeds is None else _seeds("--seeds", seeds)
    study = read_study(file)
    try:
        failures = run_study(study, data, out, workers, scheduler, chosen, typer.echo)
    except KeyboardInterrupt:
        typer.echo("interrupted: the same command goes on; a training from its last whole epoch.", err=True)
        raise typer.Exit(130) from None
    for title, reason in failures.items():
        typer.echo(f"failed: {title}: {reason}", err=True)
    if failures:
        typer.echo(f"{len(failures)} failed. The same command tries these again, and nothing else.", err=True)
        raise typer.Exit(1)
    typer.echo(f"done: {out}")


@study_app.command("show")
def study_show(
    file: StudyFile,
    out: Annotated[
        Path | None, typer.Option(help="The study's folder; by default what travels with the course.")
    ] = None,
    records: Annotated[Path | None, typer.Option(help="Folder of records to read instead of the one in --out.")] = None,
    csv: Annotated[Path | None, typer.Option(help="Also write the tables' numbers to this file.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Also write the tables to this file, as Markdown.")] = None,
    figures: Annotated[Path | None, typer.Option(help="Also draw figures into this folder.")] = None,
) -> None:
    """Print the tables of what is done so far."""
    from brainssl_utils.studies.plan import read_study
    from brainssl_utils.studies.ship import kept
    from brainssl_utils.studies.show import study_tables, write_tables

    study = read_study(file)
    tables = study_tables(study, out or kept(study), records)
    typer.echo(tables.text())
    for path in write_tables(tables, csv, markdown, figures):
        typer.echo(f"written: {path}")


@study_app.command("ship")
def study_ship(
    file: StudyFile,
    out: Annotated[Path, typer.Option(help="The study's folder.")],
    to: Annotated[
        Path | None, typer.Option(help="Where to; by default results/reference, archives or phantoms.")
    ] = None,
    encoders: Annotated[str, typer.Option(help="Seeds whose trained encoders go along: 0,1; or none.")] = "0",
) -> None:
    """Copy finished trainings to where they travel with the course: records, readings, encoders."""
    from brainssl_utils.studies.plan import read_study
    from brainssl_utils.studies.ship import ship_study

    chosen = [] if encoders == "none" else _seeds("--encoders", encoders)
    written = ship_study(read_study(file), out, to, chosen, typer.echo)
    typer.echo(
        f"{len(written)} files written, the first of them {written[0]}" if written else "nothing is finished yet"
    )


def _seeds(option: str, text: str) -> list[int]:
    if not all(part.strip().isdigit() for part in text.split(",")):
        raise CourseError(f"{option} {text}: expected whole numbers with commas between them, such as 0,1.")
    return [int(part) for part in text.split(",")]


@app.command()
def predict(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder, or a record's file in it.")],
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Pictures, in any common format.")],
    name: Name = "",
    form: Annotated[str, typer.Option("--format", help="text, csv or json.")] = "text",
) -> None:
    """Classify new pictures with a finished run. Not for diagnosis."""
    from brainssl_utils.checks import check_choice

    check_choice("--format", form, ("text", "csv", "json"))
    from brainssl_utils.training import use

    found = use.predict(run, images, name)
    if form == "text":
        for line in use.as_lines(found):
            typer.echo(line)
    else:
        typer.echo(
            use.as_json(found) if form == "json" else found.to_csv(index=False, lineterminator="\n").rstrip("\n")
        )
    unread = found[found["problem"] != ""]
    for image, problem in zip(unread["image"], unread["problem"]):
        typer.echo(f"error: {image}: {problem}", err=True)
    typer.echo(use.REMINDER, err=form != "text")  # what reads a table expects nothing else there
    if len(unread):
        raise typer.Exit(1)


@app.command()
def embed(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder, or a record's file in it.")],
    data: Annotated[str, typer.Argument(metavar="DATA", help="phantoms, or a folder with archives or class folders.")],
    out: Annotated[Path, typer.Option(help="The file to write; it ends in .parquet.")],
    name: Name = "",
    table: Table = None,
    classes: Classes = None,
    every: Every = 0,
) -> None:
    """Write the features of every image under a finished run's encoder."""
    import warnings

    from brainssl_utils.training import use

    use.check_ending(out)  # before the images are read
    found = use.find_run(run, name)
    from brainssl_utils.data.loading import load_corpus

    corpus = load_corpus(data, use.stored_size(found.record), **_choices(table, classes, every))
    if note := use.other_classes(found.record, corpus):
        typer.echo(f"warning: {note}", err=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # said above, on a line of its own
        features = use.embed(found, corpus)
    use.write_features(features, out)
    typer.echo(f"{len(features)} images, {len(features['features'].iloc[0])} features each: {out}")


@app.command()
def student(
    out: Annotated[Path, typer.Argument(help="Folder for the copy; nothing in it is overwritten.")],
    notebooks: Notebooks = None,
    solutions: Annotated[bool, typer.Option("--solutions", help="Keep the solutions.")] = False,
) -> None:
    """Copy the notebooks without their solutions."""
    from brainssl_utils.course.student import write_student_copy

    files = write_student_copy(out, notebooks, solutions)
    typer.echo(f"{len(files)} notebooks {'with' if solutions else 'without'} solutions: {out}")


@app.command()
def check(
    notebooks: Annotated[list[Path], typer.Argument(metavar="NOTEBOOK...", help="What students handed in.")],
    csv: Annotated[Path | None, typer.Option(help="Write the table to this file, for several notebooks.")] = None,
    data: Data = "phantoms:240",
    profile: Profile = "smoke",
) -> None:
    """Run the checkers of students' notebooks and print what they say. Runs their code as you."""
    import tempfile

    from brainssl_utils.course.marking import mark
    from brainssl_utils.files import atomic_path

    with tempfile.TemporaryDirectory(prefix="brainssl-check-", ignore_cleanup_errors=True) as place:
        table = mark(notebooks, place, data, profile)
    typer.echo(_text(table, index=False))
    if csv is not None:
        with atomic_path(csv) as temporary:
            table.to_csv(temporary, index=False, lineterminator="\n")
        typer.echo(f"written: {csv}")


@app.command()
def slides(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a course run.")],
    out: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write, such as slides.html.")],
) -> None:
    """Write the figures of a course run as slides, one file for any browser."""
    from brainssl_utils.course.slides import write_slides

    typer.echo(f"{write_slides(run, out)} figures: {out}")


@app.command()
def doctor(
    out: Annotated[Path, typer.Option(help="Folder where runs are to be written.")] = Path("."),
    seconds: Annotated[float, typer.Option(min=0.1, max=60, help="How long the training on trial lasts.")] = 2.0,
) -> None:
    """Say whether the course can run here, and what to do where it cannot; exit code 1 if it cannot."""
    from brainssl_utils.course import doctor as looks

    findings = looks.examine(out, seconds)
    for line in looks.lines(findings):
        typer.echo(line)
    if any(finding.state == looks.TROUBLE for finding in findings):
        raise typer.Exit(1)


def _choices(table: str | None, classes: str | None, every: int) -> dict[str, Any]:
    """How images are to be read, as `load_corpus` takes it."""
    from brainssl_utils.data.description import classes_word

    return {"table": table, "classes": None if classes is None else classes_word(classes), "every": every}


def _show(title: str, table: pd.DataFrame, index: bool = True) -> None:
    typer.echo(f"\n{title}\n{_text(table, index)}")


def _text(table: pd.DataFrame, index: bool = True) -> str:
    return table.to_string(index=index, na_rep="-", float_format=lambda value: f"{value:.3f}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; a user's mistake is one line on stderr and exit code 2."""
    code = exit_code(lambda: app(args=None if arguments is None else list(arguments), prog_name="brainssl"))
    if code:
        sys.exit(code)


if __name__ == "__main__":
    main()
