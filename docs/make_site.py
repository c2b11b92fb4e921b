"""Build the site: `python docs/make_site.py --run runs/course --out build/site`.

The pages in `docs/` are laid out beside what is made here: the lessons as the course run executed them, the study's
results from records, a page of reference a room of the package, two drawings. Sphinx builds it, and any warning ends the
build. At last every page must be there and every link inside the site must lead somewhere.
"""

from __future__ import annotations

import argparse
import pkgutil
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

import make_readme_tables
import nbformat
import pictures
from bs4 import BeautifulSoup

from brainssl_utils.course.notebook import INJECTED, first_problem, read_notebook
from brainssl_utils.course.plan import Lesson, find_notebooks, read_course
from brainssl_utils.errors import CourseError, exit_code
from brainssl_utils.results import records
from brainssl_utils.results.overview import overview, with_intervals
from brainssl_utils.results.published import PUBLISHED

DOCS = Path(__file__).parent
ROOT = DOCS.parent
TITLES = {"study": "Beside ours, 100 epochs"}  # of the README's tables
MADE_BY_SPHINX = {"genindex.html", "search.html", "py-modindex.html"}


def lesson_page(executed: nbformat.NotebookNode, name: str, run: Path) -> nbformat.NotebookNode:
    """Return an executed lesson as the site shows it: without papermill's cell, its times, and this machine's paths.

    Raises:
        CourseError: a cell did not run to its end.
    """
    if problem := first_problem(executed, name):
        raise CourseError(f"{problem}. The site shows finished lessons: run `brainssl course` first.")
    executed.cells = [cell for cell in executed.cells if INJECTED not in cell.metadata.get("tags", [])]
    executed.metadata.pop("papermill", None)
    for cell in executed.cells:
        cell.metadata.pop("papermill", None)
    text = nbformat.writes(executed)
    for place in sorted({str(run), str(run.resolve())}, key=len, reverse=True):
        text = text.replace(place, "runs/course")
    return nbformat.reads(text, as_version=4)


def lessons_index(lessons: Sequence[Lesson]) -> str:
    """Return the page that lists the lessons: their titles and minutes, in the course's order."""
    hours = sum(lesson.learn for lesson in lessons) / 60
    lines = ["# Lessons", "", f"In the course's order. To learn them all takes about {hours:.0f} hours, exercises and"]
    lines += [
        "discussions included. Minutes of machine are those at `quick`, on two cores, with the synthetic images.",
        "",
    ]
    lines += ["| lesson | about | minutes to learn | of machine |", "|---|---|---|---|"]
    for lesson in lessons:
        minutes = lesson.minutes.get("quick", "-")
        lines.append(f"| [{lesson.name}]({lesson.path.name}) | {lesson.title} | {lesson.learn or '-'} | {minutes} |")
    return "\n".join([*lines, "", "```{toctree}", ":hidden:", "", *(lesson.name for lesson in lessons), "```", ""])


def results_page(reference: Path) -> str:
    """Return the page of results, all of it made from the records in `reference`: one folder a run."""
    lines = [
        "# Results",
        "",
        "Made from the records in `results/reference`; none of these numbers is written by hand.",
        "",
    ]
    lines += [
        "## Published",
        "",
        "The study's Table 2 {cite:p}`firildak2024`, in %.",
        "",
        _markdown(PUBLISHED.map("{:.2f}".format).reset_index()),
    ]
    for name, table in make_readme_tables.tables(reference).items():
        lines += ["", f"## {TITLES.get(name, name.capitalize())}", "", table]
    lines += ["", "Test accuracy in %, 95 % intervals in brackets.", "", "## All trainings", ""]
    lines += ["Shares with 95 % intervals: over the test images for one training, over seeds for a mean."]
    for folder in sorted(path for path in reference.iterdir() if path.is_dir()):
        shown = with_intervals(overview(records.read_records(folder), say=lambda note: None))
        lines += ["", f"### {folder.name}", "", _markdown(shown)]
    return "\n".join(lines) + "\n"


def _markdown(table) -> str:
    cells = [[f"{value:.3f}" if isinstance(value, float) else str(value) for value in row] for row in table.to_numpy()]
    lines = [list(map(str, table.columns)), ["---"] * len(table.columns), *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write_reference(folder: Path, floors: Sequence[Sequence[str]]) -> None:
    """Write a page a room of the package, from docstrings, and the page that lists them from the top floor down."""
    import brainssl_utils

    folder.mkdir(parents=True, exist_ok=True)
    found = sorted(module.name for module in pkgutil.walk_packages(brainssl_utils.__path__, "brainssl_utils."))
    names = [name.strip() for floor in floors for name in floor]
    lines = ["# Reference", "", "From docstrings, by room, from the top floor of [the house](../house.md) down.", ""]
    lines += ["```{toctree}", ":maxdepth: 1", "", *names, "```", ""]
    (folder / "index.md").write_text("\n".join(lines), encoding="utf-8")
    for name in names:
        home = f"brainssl_utils.{name}"
        page = [f"# {name}", ""]
        for module in [other for other in found if other == home or other.startswith(f"{home}.")]:
            heading = [] if module == home else [f"## {module.removeprefix('brainssl_utils.')}", ""]
            page += [*heading, "```{eval-rst}", f".. automodule:: {module}", "```", ""]
        (folder / f"{name}.md").write_text("\n".join(page), encoding="utf-8")


def assemble(run: Path, source: Path, notebooks: Path, reference: Path) -> int:
    """Lay the site's sources out in `source`, which is made anew; return how many pages they are.

    Raises:
        CourseError: a lesson has no executed copy in `run`, or did not finish.
    """
    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(DOCS, source, ignore=shutil.ignore_patterns("__pycache__", "make_*.py", "pictures.py"))
    lessons = read_course(notebooks)
    (source / "lessons").mkdir()
    for lesson in lessons:
        page = lesson_page(read_notebook(run / "notebooks" / lesson.path.name), lesson.name, run)
        nbformat.write(page, source / "lessons" / lesson.path.name)
    (source / "lessons" / "index.md").write_text(lessons_index(lessons), encoding="utf-8")
    (source / "results.md").write_text(results_page(reference), encoding="utf-8")
    floors = pictures.rooms(ROOT / "pyproject.toml")
    write_reference(source / "api", floors)
    (source / "images" / "house.svg").write_text(pictures.house(floors), encoding="utf-8")
    (source / "images" / "data_flow.svg").write_text(pictures.data_flow(), encoding="utf-8")
    return sum(len(list(source.rglob(kind))) for kind in ("*.md", "*.ipynb"))


def build(source: Path, html: Path) -> None:
    """Run Sphinx; what it warns of is an error, and so is a name that leads nowhere.

    Raises:
        CourseError: it warned.
    """
    command = [sys.executable, "-m", "sphinx", "-n", "-W", "--keep-going", "-q", "-b", "html", str(source), str(html)]
    if subprocess.run(command).returncode:
        raise CourseError("Sphinx warned; its lines stand above.")


def check_pages(html: Path, expected: int) -> None:
    """Hold the site to its number of pages, and every link and picture in it to a file and an anchor that are there.

    Raises:
        CourseError: pages are missing or too many, or links lead nowhere.
    """
    pages = {
        path: BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser") for path in sorted(html.rglob("*.html"))
    }
    pages = {path: page for path, page in pages.items() if "_static" not in path.relative_to(html).parts}
    own = [path for path in pages if path.relative_to(html).as_posix() not in MADE_BY_SPHINX]
    if len(own) != expected:
        raise CourseError(f"{len(own)} pages were built of {expected} sources in {html}.")
    anchors = {path.resolve(): {tag["id"] for tag in page.find_all(id=True)} for path, page in pages.items()}
    broken = []
    for path, page in pages.items():
        targets = {tag.get("href") or tag.get("src") for tag in page.find_all(["a", "img", "script", "link"])} - {None}
        broken += [f"{path.relative_to(html)}: {link}" for link in targets if not _leads_somewhere(link, path, anchors)]
    if broken:
        raise CourseError(f"links that lead nowhere: {'; '.join(sorted(broken))}")


def _leads_somewhere(link: str, page: Path, anchors: dict[Path, set[str]]) -> bool:
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return True  # another host: not asked
    target = (page.parent / unquote(parts.path)).resolve() if parts.path else page.resolve()
    if not target.exists():
        return False
    return not parts.fragment or target not in anchors or unquote(parts.fragment) in anchors[target]


def make_site(
    run: Path, out: Path, notebooks: Path | None = None, reference: Path = ROOT / "results" / "reference"
) -> Path:
    """Build the site from the run in `run` into `out / "html"`; return the path of its first page."""
    expected = assemble(run, out / "source", find_notebooks(notebooks), reference)
    shutil.rmtree(out / "html", ignore_errors=True)
    build(out / "source", out / "html")
    check_pages(out / "html", expected)
    print(f"{expected} pages: {out / 'html' / 'index.html'}")
    return out / "html" / "index.html"


def main() -> None:
    """Read the command line and build."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--run", type=Path, default=Path("runs/course"), help="folder of a finished course run")
    parser.add_argument("--out", type=Path, default=Path("build/site"), help="folder for the site")
    chosen = parser.parse_args()
    sys.exit(exit_code(lambda: make_site(chosen.run, chosen.out)))


if __name__ == "__main__":
    main()
