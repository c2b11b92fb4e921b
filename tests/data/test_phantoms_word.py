"""The word "phantoms" is read by one function, and a count that cannot work is refused at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from brainssl_utils.data.phantoms.word import phantom_files
from brainssl_utils.errors import CourseError


@pytest.mark.parametrize(
    ("data", "files"),
    [
        ("phantoms", 3000),
        ("phantoms:60", 60),
        ("phantoms:2000", 2000),
        ("archives", None),
        ("phantoms2", None),
        ("data/phantoms", None),
        (Path("archives"), None),
    ],
)
def test_count_of_phantoms_is_read_and_other_places_are_left_alone(data, files):
    assert phantom_files(data) == files


@pytest.mark.parametrize("number", ["30", "59", "²", "٣٠٠", "-5", "1.5", "", " 60", "60 ", "many", "9" * 5000])
def test_bad_count_is_refused_with_a_sentence(number):
    with pytest.raises(CourseError, match="number of files, 60 or more"):
        phantom_files(f"phantoms:{number}")
