"""The word that stands for the synthetic images: "phantoms", or "phantoms:N" for about N files of them."""

from __future__ import annotations

import re
from pathlib import Path

from brainssl_utils.errors import CourseError

DEFAULT_FILES = 3000  # a fifth tests: 600 images of 300 patients, enough to see a gain of six points
SMALLEST = 60  # fewer files do not show every class in every source


def phantom_files(data: str | Path) -> int | None:
    """Return how many files of phantoms `data` asks for; None if `data` is not the word "phantoms" but a place.

    Raises:
        CourseError: what follows "phantoms:" is no whole number of 60 or more.
    """
    word, colon, number = str(data).partition(":")
    if word != "phantoms":
        return None
    if not colon:
        return DEFAULT_FILES
    if not re.fullmatch("[0-9]{1,9}", number) or int(number) < SMALLEST:
        raise CourseError(
            f"data '{data}': after 'phantoms:' comes a number of files, {SMALLEST} or more, as in phantoms:600."
        )
    return int(number)
