"""Slides of a course run: a page a figure, with its caption, in one file that any browser shows and prints."""

from __future__ import annotations

import re
from html import escape
from pathlib import Path

from brainssl_utils.course.notebook import read_notebook
from brainssl_utils.course.plan import find_notebooks, read_course
from brainssl_utils.errors import CourseError
from brainssl_utils.files import atomic_path
from brainssl_utils.showing import picture_of

STYLE = """
html { scroll-snap-type: y mandatory; font-family: sans-serif; color: #1f2328; background: #fff; }
body { margin: 0; }
section { box-sizing: border-box; height: 100vh; padding: 3vh 5vw; scroll-snap-align: start; }
section { display: flex; flex-direction: column; }
section img { flex: 1; min-height: 0; object-fit: contain; }
h1 { margin: auto 0; font-size: 7vh; } h2 { margin: 0 0 2vh; font-size: 3.5vh; } p { margin: 2vh 0 0; font-size: 2.6vh; }
@media print { section { break-after: page; } }
"""
# Arrow keys, Page Up and Down and the space bar turn one page.
SCRIPT = """
addEventListener("keydown", event => {
  const step = {ArrowRight: 1, ArrowDown: 1, PageDown: 1, " ": 1, ArrowLeft: -1, ArrowUp: -1, PageUp: -1}[event.key];
  if (!step) return;
  event.preventDefault();
  const pages = [...document.querySelectorAll("section")];
  const now = Math.round(scrollY / innerHeight);
  pages[Math.max(0, Math.min(pages.length - 1, now + step))].scrollIntoView();
});
"""


def write_slides(run: str | Path, target: str | Path, notebooks_dir: str | Path | None = None) -> int:
    """Write the figures of a finished course run as slides to the file `target`; return how many figures they show.

    Each lesson opens with its title; a figure stands under the heading it belongs to, its caption under it.

    Raises:
        CourseError: the run holds no executed lesson, or `target` cannot be written.
    """
    lessons = read_course(find_notebooks(notebooks_dir))
    pages, figures = [], 0
    for lesson in lessons:
        copy = Path(run) / "notebooks" / lesson.path.name
        if copy.is_file():
            made = _pages(copy)
            pages += [f"<section><h1>{escape(lesson.title)}</h1></section>", *made]
            figures += len(made)
    if not figures:
        raise CourseError(f"{run} holds no executed lessons: run `brainssl course --out {run}` first.")
    head = f'<meta charset="utf-8"><title>BrainSSL</title><style>{STYLE}</style>'
    with atomic_path(target) as temporary:
        body = "\n".join(pages)
        text = (
            f'<!doctype html><html lang="en"><head>{head}</head><body>{body}<script>{SCRIPT}</script></body></html>\n'
        )
        temporary.write_text(text, encoding="utf-8")
    return figures


def _pages(copy: Path) -> list[str]:
    heading, pages = "", []
    for cell in read_notebook(copy).cells:
        if cell.cell_type == "markdown":
            found = re.findall(r"^#{1,3} (.+)$", cell.source, re.MULTILINE)
            heading = found[-1] if found else heading
        for output in cell.get("outputs", []):
            if shown := picture_of(output):
                source, caption = shown[0], escape(shown[1])
                pages.append(
                    f'<section><h2>{escape(heading)}</h2><img src="{source}" alt="{caption}"><p>{caption}</p></section>'
                )
    return pages
