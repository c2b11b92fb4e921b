"""Settings of the site. `docs/make_site.py` puts executed lessons, result tables and API pages beside these pages."""

from __future__ import annotations

import os

from sphinx.application import Sphinx

import brainssl_utils

project = "BrainSSL"
author = "The BrainSSL course authors"
project_copyright = "2026, the BrainSSL course authors, MIT licence"
version = release = brainssl_utils.__version__
language = "en"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinxcontrib.bibtex",
]
exclude_patterns = ["*.py"]
default_role = "code"  # docstrings write `name` as Markdown does

# Lessons come with their outputs, and are never run here.
nb_execution_mode = "off"
nb_merge_streams = True
nb_ipywidgets_js = {}  # otherwise pages fetch scripts from another host
nb_code_prompt_show = "Show the solution"
nb_code_prompt_hide = "Hide the solution"
myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
# MathJax lies beside the pages: in one file, with all of TeX's packages, it fetches nothing.
mathjax_path = "mathjax/tex-svg-full.js"
# The formulas' assistive copy is MathML; MathJax's menu would fetch its parts from another host.
mathjax3_config = {"options": {"enableMenu": False}}

bibtex_bibfiles = ["references.bib"]
bibtex_default_style = "unsrt"
bibtex_reference_style = "author_year"

add_module_names = False
autodoc_default_options = {"members": True, "member-order": "bysource", "show-inheritance": True}
autodoc_class_signature = "mixed"
autodoc_inherit_docstrings = False  # Lightning's describe Lightning
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
napoleon_use_rtype = False
napoleon_use_ivar = True
nitpicky = True
# Other projects' names are not looked up, for that needs their sites; ours must all be found.
nitpick_ignore_regex = [("py:.*", r"(?!brainssl_utils\.).*|.*\._\w+")]

html_title = "BrainSSL"
html_theme = "sphinx_book_theme"
html_favicon = "_static/icon.svg"
html_static_path = ["_static"]
html_css_files = ["course.css"]
html_context = {"default_mode": "auto"}
html_theme_options = {
    "use_download_button": True,
    "use_fullscreen_button": True,
    "show_navbar_depth": 1,
    "show_toc_level": 2,
    "navbar_persistent": [],  # the search stands in the side bar
    "extra_footer": "Not for diagnosis. The default images are synthetic.",
}
# Where the project is published, pages lead to the notebooks in Binder and Colab; the workflow that publishes says where.
if repository := os.environ.get("BRAINSSL_REPOSITORY"):
    html_theme_options |= {
        "repository_url": repository,
        "use_repository_button": True,
        "path_to_docs": "notebooks",
        "launch_buttons": {
            "notebook_interface": "jupyterlab",
            "binderhub_url": "https://mybinder.org",
            "colab_url": "https://colab.research.google.com",
        },
    }


def rewrite_tables(app: Sphinx, what: str, name: str, item: object, options: object, lines: list[str]) -> None:
    """Turn a docstring's Markdown tables into those of reStructuredText, in place."""
    written: list[str] = []
    for number, line in enumerate(lines):
        if not line.startswith("|"):
            written.append(line)
            continue
        if not number or not lines[number - 1].startswith("|"):
            written += [".. list-table::", "   :header-rows: 1", ""]
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if set("".join(cells)) - {"-"}:
            written += [f"   {'* -' if not place else '  -'} {cell}" for place, cell in enumerate(cells)]
    lines[:] = written


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", rewrite_tables)
