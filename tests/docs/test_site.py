"""The site is made of executed lessons, records and docstrings; whatever leads nowhere ends its build."""

from __future__ import annotations

import tomllib
from pathlib import Path

import make_site
import nbformat
import pictures
import pytest
from bs4 import BeautifulSoup
from tiny_course import PARAMETERS

from brainssl_utils.course.plan import read_course
from brainssl_utils.course.run import run_course
from brainssl_utils.errors import CourseError

ROOT = Path(__file__).parents[2]
FIGURE = (
    "from brainssl_utils import plots\n"
    "plots.show(plots.new_figure()[0], 'An empty figure.', run_dir, 'empty')\n"
    "print('kept in', run_dir)"
)


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(notebooks, run): one lesson of a formula, a figure and a folded solution, executed; the others are the course's."""
    place = tmp_path_factory.mktemp("site")
    folder = place / "notebooks"
    folder.mkdir()
    names = [lesson.path.name for lesson in read_course(ROOT / "notebooks")]  # the pages link to them
    entries = []
    for name in names:
        notebook = nbformat.v4.new_notebook()
        notebook.cells = [
            nbformat.v4.new_markdown_cell(f"# {name}\n\n> a box\n\nThe loss is $\\mathcal{{L}} = \\|h\\|^2$."),
            nbformat.v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}),
            nbformat.v4.new_code_cell(FIGURE),
            nbformat.v4.new_code_cell("1 + 1", metadata={"tags": ["solution", "hide-cell"]}),
            nbformat.v4.new_code_cell("'for Colab'", metadata={"tags": ["colab", "remove-cell"]}),
        ]
        nbformat.write(notebook, folder / name)
        entries.append(f'[[notebook]]\nfile = "{name}"\ntitle = "{name}"\nneeds = []\n')
    (folder / "course.toml").write_text("\n".join(entries))
    run_course("phantoms", "smoke", 0, place / "run", only=names[:1], notebooks_dir=folder)
    executed = place / "run" / "notebooks"
    for name in names[1:]:
        (executed / name).write_text((executed / names[0]).read_text().replace(names[0], name))
    return folder, place / "run"


def test_the_site_is_built_without_a_warning_and_every_link_leads_somewhere(course, tmp_path):
    pytest.importorskip("sphinx", reason="needs the extra `docs`: make site")
    notebooks, run = course
    index = make_site.make_site(run, tmp_path / "site", notebooks)
    html = index.parent
    lesson = BeautifulSoup((html / "lessons" / "04_simclr.html").read_text(), "html.parser")
    pictures_shown = lesson.select("article .cell_output img")
    assert [picture["alt"] for picture in pictures_shown] == ["An empty figure."]
    assert pictures_shown[0]["src"].startswith("data:image/png;base64,")
    [folded] = lesson.select("details.hide")
    assert not folded.has_attr("open") and "Show the solution" in folded.summary.text
    assert "for Colab" not in lesson.text
    everything = "".join(
        path.read_text(errors="ignore") for path in html.rglob("*") if path.suffix in (".html", ".ipynb")
    )
    assert str(run) not in everything and "kept in runs/course" in everything
    scripts = [
        tag["src"]
        for page in html.rglob("*.html")
        for tag in BeautifulSoup(page.read_text(), "html.parser")("script", src=True)
    ]
    assert scripts and not [source for source in scripts if "//" in source]
    with pytest.raises(CourseError, match="pages were built"):
        make_site.check_pages(html, len(list(html.rglob("*.html"))))


def test_a_lesson_that_did_not_finish_is_not_shown(course):
    executed = nbformat.read(course[1] / "notebooks" / "04_simclr.ipynb", as_version=4)
    executed.cells[-1].execution_count = None
    with pytest.raises(CourseError, match="brainssl course"):
        make_site.lesson_page(executed, "04_simclr", course[1])


def test_a_link_that_leads_nowhere_is_named(tmp_path):
    (tmp_path / "index.html").write_text('<p id="here"><a href="#here">a</a> <a href="b.html#there">b</a></p>')
    (tmp_path / "b.html").write_text('<p id="there"><a href="https://elsewhere.example/">c</a></p>')
    make_site.check_pages(tmp_path, 2)
    (tmp_path / "b.html").write_text('<p id="gone"><img src="no.png"></p>')
    with pytest.raises(CourseError, match=r"b\.html: no\.png; index\.html: b\.html#there"):
        make_site.check_pages(tmp_path, 2)


def test_the_house_has_the_rooms_of_the_import_contract():
    floors = pictures.rooms(ROOT / "pyproject.toml")
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]
    drawn = BeautifulSoup(pictures.house(floors), "html.parser")
    names = [text.text for text in drawn("text")]
    package = {
        path.stem for path in (ROOT / "brainssl_utils").iterdir() if path.stem[0] != "_" and path.suffix != ".typed"
    }
    assert set(names) - {"imports"} == package and len(floors) == len(contract["layers"])


def test_results_are_made_of_the_records():
    page = make_site.results_page(ROOT / "results" / "reference")
    assert "| 72.40 |" in page and "### archives" in page and page.count("\n| ") > 10
