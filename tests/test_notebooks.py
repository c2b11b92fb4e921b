"""Every notebook keeps the conventions and runs from its first cell to its last."""

from __future__ import annotations

import ast
import re
import statistics
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbconvert import HTMLExporter

from brainssl_utils import __version__
from brainssl_utils.course.notebook import first_problem
from brainssl_utils.course.plan import Lesson, find_notebooks, read_course
from brainssl_utils.course.run import run_course
from brainssl_utils.course.student import ANSWER
from brainssl_utils.results import records
from brainssl_utils.showing import picture_of

FOLDER = Path(__file__).parents[1] / "notebooks"
PATHS = sorted(FOLDER.glob("*.ipynb"))
LESSONS = read_course(find_notebooks(FOLDER))
PARAMETERS = ["data", "profile", "seed", "run_dir"]
STUDY = "https://doi.org/10.17798/bitlisfen.1558069"
NO_DISCUSSION = re.compile(r"Setting up|What you work with|Reading, not training|Exercise \d|What to take along")
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def tags(cell: nbformat.NotebookNode) -> list[str]:
    return cell.metadata.get("tags", [])


def lines(cell: nbformat.NotebookNode) -> int:
    return len(cell.source.splitlines())


def code(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def prose(notebook: nbformat.NotebookNode) -> str:
    return "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def sections(notebook: nbformat.NotebookNode) -> list[str]:
    return re.findall(r"^## (.+)$", prose(notebook), re.MULTILINE)


def defined(source: str) -> set[str]:
    """Names that a cell's top level gives a value."""
    names = set()
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.FunctionDef):
            names.add(statement.name)
        elif isinstance(statement, ast.Assign):
            names |= {
                node.id for target in statement.targets for node in ast.walk(target) if isinstance(node, ast.Name)
            }
    return names


def words(notebook: nbformat.NotebookNode) -> int:
    """Words of prose: formulas, code blocks, table rules and folded answers are not counted."""
    text = ANSWER.sub(" ", prose(notebook))
    text = re.sub(r"```.*?```|\$\$.*?\$\$|\$[^$\n]*\$|<[^>]+>", " ", text, flags=re.DOTALL)
    return len(re.findall(r"[A-Za-zÀ-ž][\w'’-]*", text))


@pytest.fixture(params=PATHS, ids=lambda path: path.stem)
def notebook(request: pytest.FixtureRequest) -> nbformat.NotebookNode:
    return nbformat.read(request.param, as_version=nbformat.NO_CONVERT)


def test_course_lists_every_notebook_and_every_listed_notebook_exists():
    assert [lesson.path.name for lesson in LESSONS] == [path.name for path in PATHS]


def test_notebook_is_valid_and_holds_no_outputs(notebook):
    assert (notebook.nbformat, notebook.nbformat_minor) >= (4, 5)
    nbformat.validate(notebook)
    ids = [cell.id for cell in notebook.cells]
    assert len(set(ids)) == len(ids)
    assert notebook.metadata.kernelspec.name == "python3"
    assert not [cell.id for cell in code(notebook) if cell.outputs or cell.execution_count is not None]
    assert not [cell.id for cell in notebook.cells if not cell.source.strip()]


def test_notebook_opens_with_its_title_a_box_and_the_parameters(notebook):
    first = notebook.cells[0]
    assert first.cell_type == "markdown" and re.match(r"# \S", first.source)
    box = "\n".join(cell.source for cell in notebook.cells[:2] if cell.cell_type == "markdown")
    assert re.search(r"^>|^\||<div|:::", box, re.MULTILINE), "no box beside the title"
    assert re.search(r"\bminutes?\b", box), "the box tells no minutes"
    (parameters,) = [cell for cell in notebook.cells if "parameters" in tags(cell)]
    assert parameters is code(notebook)[0]
    assert re.findall(r"^(\w+)\s*(?::[^=]+)?=", parameters.source, re.MULTILINE) == PARAMETERS
    assert 'data = "phantoms"' in parameters.source and 'profile = "quick"' in parameters.source


def test_notebook_closes_with_what_to_take_along(notebook):
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE)[-1] == "What to take along"


def test_notebook_has_the_rhythm_of_a_lesson(notebook):
    cells = [cell for cell in code(notebook) if "colab" not in tags(cell)]
    assert 2000 <= words(notebook) <= 4000
    assert 20 <= len(cells) <= 45
    assert statistics.median(map(lines, cells)) <= 12
    assert not [cell.id for cell in cells if lines(cell) > 40]
    kinds = "".join(cell.cell_type[0] for cell in notebook.cells)
    assert "ccc" not in kinds, "three code cells in a row"
    assert sum("plots." in cell.source for cell in cells) >= 5


def test_every_exercise_is_followed_by_its_solution(notebook):
    cells = notebook.cells
    exercises = [index for index, cell in enumerate(cells) if "exercise" in tags(cell)]
    solutions = [index for index, cell in enumerate(cells) if "solution" in tags(cell)]
    assert len(exercises) >= 2
    assert solutions == [index + 1 for index in exercises]
    for index in solutions:
        assert cells[index].cell_type == "code" and "hide-cell" in tags(cells[index])  # folded on the site
        assert cells[index].metadata.jupyter.source_hidden, "folded in JupyterLab"
        checkers = [set(re.findall(r"\bcheck_\w+", cells[i].source)) for i in (index - 1, index)]
        assert checkers[0] and checkers[0] == checkers[1], "exercise and solution call the same checker"


def test_a_solution_keeps_to_names_of_its_own(notebook):
    """So running all cells replaces nothing that a student wrote, and a copy without solutions lacks nothing."""
    solved = [cell for cell in code(notebook) if "solution" in tags(cell)]
    own = set().union(*(defined(cell.source) for cell in solved))
    assert own and not [name for name in own if not name.startswith("solution_")]
    for cell in solved:
        assert cell.source.startswith("# The course's solution."), "stub and solution differ at a glance"
        assert 'print("Solution:", end=" ")\ncheck_' in cell.source, "and so do their verdicts"
    for cell in notebook.cells:
        if cell not in solved:
            assert not [name for name in own if name in cell.source], cell.id


def test_every_section_ends_with_a_question_and_a_folded_answer(notebook):
    asked, heading = {}, ""
    for cell in notebook.cells:
        if "discussion" in tags(cell):
            assert cell.cell_type == "markdown" and cell.source.startswith("**Discuss.** ")
            assert ANSWER.search(cell.source) and "details" not in ANSWER.sub("", cell.source)
            asked[heading] = cell
        elif cell.cell_type == "markdown":
            heading = ([heading, *re.findall(r"^## (.+)$", cell.source, re.MULTILINE)])[-1]
    assert [name for name in sections(notebook) if not NO_DISCUSSION.match(name)] == list(asked)


def test_the_opening_says_how_long_each_section_takes_to_learn(notebook, request):
    opening = notebook.cells[0].source
    rows = re.findall(r"^\| (.+?) \| (\d+) \| ([\d.]*) *\|$", opening, re.MULTILINE)
    assert [name for name, _, _ in rows] == sections(notebook)
    [told] = re.findall(r"\*\*Takes\*\* about (\d+) minutes to learn", opening)
    [listed] = [lesson.learn for lesson in LESSONS if lesson.name in request.node.name]
    assert sum(int(minutes) for _, minutes, _ in rows) == int(told) == listed


def test_the_study_is_named_where_it_is_first_spoken_of_and_every_source_is_in_the_bibliography(notebook):
    text = prose(notebook)
    first = next(part for part in re.split(r"\n\s*\n|\n>\s*\n", text) if re.search(r"\bstudy\b", part))
    assert STUDY in first and "Limited Brain MRI" in first
    bibliography = (FOLDER.parent / "docs" / "references.bib").read_text(encoding="utf-8")
    kept = set(re.findall(r"\bdoi = \{(.+?)\}", bibliography))
    linked = re.findall(r"https://doi\.org/([^)\s]+)", text)
    assert linked and not set(linked) - kept
    assert not re.findall(r"\b(?:19|20)\d\d\)(?!\()", re.sub(r"\[[^\]]*\]\([^)]*\)", "", text)), (
        "a paper without its link"
    )


def test_cells_can_be_read_aloud(notebook):
    for cell in code(notebook):
        assert "fmt: skip" not in cell.source, cell.id
        for node in ast.walk(ast.parse(cell.source)):
            if isinstance(node, COMPREHENSIONS):
                inner = [other for other in ast.walk(node) if isinstance(other, COMPREHENSIONS)]
                assert len(inner) == len(node.generators) == 1, f"{cell.id}: {ast.unparse(node)}"


def test_every_notebook_has_the_same_hidden_cell_that_fetches_the_course_in_colab_alone(notebook, monkeypatch):
    [cell] = [cell for cell in notebook.cells if "colab" in tags(cell)]
    assert cell.source == next(c.source for c in nbformat.read(PATHS[0], as_version=4).cells if "colab" in tags(c))
    assert "remove-cell" in tags(cell) and cell.metadata.jupyter.source_hidden
    assert code(notebook).index(cell) == 1, "after the parameters, before anything is imported"
    called = []
    monkeypatch.setattr(subprocess, "run", lambda command, check: called.append(command))
    exec(cell.source, {})
    assert not called
    monkeypatch.setitem(sys.modules, "google.colab", object())
    exec(cell.source, {})
    [command] = called
    assert command[:3] == [sys.executable, "-m", "pip"] and command[-1] == f"brainssl-utils=={__version__}"


def test_notebook_installs_nothing_and_names_no_machine(notebook):
    source = "\n".join(cell.source for cell in code(notebook) if "colab" not in tags(cell))
    assert not re.search(r"^\s*[!%]|\bpip3? install|\bget_ipython\b|\bsys\.exit\b", source, re.MULTILINE)
    assert not re.search(r"""["'](/(?!/)\w|~/|[A-Za-z]:\\)""", source), "an absolute path"
    for target in re.findall(r"savefig\(([^)]*)", source):
        assert "run_dir" in target or "figures" in target, "figures belong in the run's folder"


def test_smoke_run_executes_every_notebook(tmp_path_factory):
    """The course itself at its smallest, on few phantoms: what makes the numbers small changes no line of code."""
    present = {path.stem for path in PATHS}
    runnable = [lesson for lesson in LESSONS if {lesson.name, *lesson.needs} <= present]
    assert runnable, "course.toml lists notebooks, the folder holds none of them"
    out = tmp_path_factory.mktemp("smoke")
    record = run_course("phantoms:240", "smoke", 0, out, only=[lesson.name for lesson in runnable])
    assert record["status"] == "done"
    for lesson in runnable:
        assert_executed(lesson, out)
    listed = {name for entry in record["notebooks"].values() for name in entry["records"]}
    assert listed == {file.name for file in (out / "records").glob("*.json")}
    assert list((out / "figures").iterdir())
    for made in records.read_records(out):
        leaks = {row["threshold"]: row["with_copy"] for row in made["leakage"] if row["part"] == "either"}
        if made["split"] in ("grouped", "patient"):
            assert leaks[0.98] == 0, f"{made['name']}: {leaks[0.98]} test images have a copy among those seen"


def test_notebooks_train_on_the_two_named_splits_alone(notebook):
    """They train on `default_split`; the study's random split goes by the name `published_split` wherever it is used."""
    source = "\n".join(cell.source for cell in code(notebook))
    assert re.search(r"\bdefault_split\(corpus, seed", source) or not re.search(r"\bfit\(", source)
    for name in re.findall(r"(\w+)(?:\[[^\]]*\])?\s*=\s*paper_split\(", source):
        assert "published" in name, name


def assert_executed(lesson: Lesson, out: Path) -> None:
    executed = nbformat.read(out / "notebooks" / lesson.path.name, as_version=4)
    assert first_problem(executed, lesson.name) is None
    outputs = [output for cell in code(executed) for output in cell.outputs]
    figures = [picture_of(output) for output in outputs if picture_of(output)]
    assert len(figures) >= 5, f"{lesson.name} shows {len(figures)} figures"
    assert not [output for output in outputs if "image/png" in output.get("data", {})], "a figure without its text"
    page = BeautifulSoup(HTMLExporter().from_notebook_node(executed)[0], "html.parser")
    shown = page.select(".jp-OutputArea-output img")
    assert len(shown) == len(figures) and all(picture["alt"].strip() for picture in shown)
    red = [output.text for output in outputs if output.output_type == "stream" and output.name == "stderr"]
    assert not red, f"{lesson.name} writes to standard error"
    for cell in code(executed):
        if {"exercise", "solution"} & set(tags(cell)):
            assert {output.output_type for output in cell.outputs} == {"stream"}, "the checker's words and nothing else"
    text = "".join(output.text for output in outputs if output.output_type == "stream")
    assert "\nnot yet: " in f"\n{text}" and "Solution: correct: " in text
    assert "Solution: not" not in text, "an untouched exercise says not yet, its solution is correct"
