"""What a notebook shows: pictures with their text for those who cannot see them, progress and notices without a red box."""

from __future__ import annotations

import re
import sys
import warnings
from base64 import b64encode
from collections.abc import Mapping
from html import escape, unescape
from typing import Any

from tqdm import tqdm

_PICTURE = re.compile(r'<img alt="([^"]*)" src="(data:image/png;base64,[^"]*)"')


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook; nothing is imported to find out."""
    if "ipykernel" not in sys.modules:
        return False
    from IPython import get_ipython

    shell = get_ipython()
    return shell is not None and hasattr(shell, "kernel")


def progress_bar(total: int, title: str, unit: str = "it", show: bool = True) -> tqdm:
    """Return a progress bar: on standard output in a notebook, which colours standard error red, elsewhere on that."""
    stream = sys.stdout if in_notebook() else sys.stderr
    return tqdm(total=total, desc=title, unit=unit, disable=not show, file=stream, ncols=100)


def silent(message: str) -> None:
    """Say nothing: in the place of `print`, where messages are not wanted."""


def notice(text: str, stacklevel: int = 2) -> None:
    """Tell a user something: a printed line in a notebook, a warning elsewhere."""
    if in_notebook():
        print(text)
    else:
        warnings.warn(text, stacklevel=stacklevel + 1)


def picture(png: bytes, text: str) -> str:
    """Return an HTML image that holds a PNG, with `text` for those who do not see it.

    Jupyter's own image output has a place for such a text, which JupyterLab leaves out of the page.
    """
    source = f"data:image/png;base64,{b64encode(png).decode('ascii')}"
    return f'<img alt="{escape(" ".join(text.split()))}" src="{source}" style="max-width: 100%">'


def picture_of(output: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the source and the text of the picture that a notebook's output holds, made by `picture`; None without one."""
    found = _PICTURE.search("".join(output.get("data", {}).get("text/html", "")))
    return None if found is None else (found.group(2), unescape(found.group(1)))
