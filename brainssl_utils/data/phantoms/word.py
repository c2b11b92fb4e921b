"""The word that stands for phantoms where a folder could stand: "phantoms", or "phantoms:N" for about N files."""

from __future__ import annotations

from pathlib import Path

from brainssl_utils.errors import CourseError

USUAL_FILES = 1500


def phantom_files(data: str | Path) -> int | None:
    """How many phantom files `data` asks for: 1500 for "phantoms", N for "phantoms:N", None for a folder or a zip.

    Raises:
        CourseError: N is not written in plain digits, or is below the 60 that show every class and source.
    """
    word, colon, number = str(data).partition(":")
    if word != "phantoms":
        return None
    if not colon:
        return USUAL_FILES
    from brainssl_utils.data.phantoms.plan import SMALLEST

    if not (number.isascii() and number.isdigit()) or int(number) < SMALLEST:
        raise CourseError(
            f'data is "{data}": expected "phantoms", "phantoms:N" with N a number of files from {SMALLEST} on, '
            "as in phantoms:1500, or a folder."
        )
    return int(number)
