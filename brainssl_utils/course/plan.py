"""What a run is asked to do: the course's notebooks in order, the ones picked, the data checked."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from brainssl_utils.data.description import Images, describe
from brainssl_utils.data.phantoms.word import phantom_files
from brainssl_utils.data.reading.archives import scan
from brainssl_utils.data.reading.classes import UNLABELLED
from brainssl_utils.data.reading.gather import gather
from brainssl_utils.data.reading.tables import table_bytes
from brainssl_utils.data.splits.draw import check_divisible
from brainssl_utils.errors import CourseError
from brainssl_utils.files import shipped
from brainssl_utils.validity import digest

COURSE = "course.toml"  # the lessons in their order


@dataclass(frozen=True)
class Lesson:
    """One notebook of `course.toml`: its path, title, the lessons whose records it reads, minutes per profile.

    `learn`: minutes to learn it, 0 where nobody has said.
    """

    path: Path
    title: str
    needs: tuple[str, ...] = ()
    minutes: Mapping[str, float] = field(default_factory=dict)
    learn: int = 0

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def number(self) -> int | None:
        """4 of "04_simclr"; None of a name that does not begin with a number."""
        head = self.name.partition("_")[0]
        return int(head) if head.isdecimal() else None


def find_notebooks(folder: str | Path | None = None) -> Path:
    """Return the folder that holds `course.toml`: `folder`, or the course's own or the working folder's `notebooks`.

    Raises:
        CourseError: there is none.
    """
    candidates = [shipped("notebooks"), Path("notebooks")] if folder is None else [Path(folder)]
    for candidate in candidates:
        if (candidate / COURSE).is_file():
            return candidate.resolve()
    looked = " and ".join(str(candidate) for candidate in candidates)
    raise CourseError(f"no course.toml in {looked}. Run from the project's folder or name the notebooks' folder.")


def read_course(notebooks_dir: Path) -> list[Lesson]:
    """Read `course.toml`: the lessons in their order.

    Raises:
        CourseError: the file is malformed, or a lesson needs one that does not come before it.
    """
    path = notebooks_dir / COURSE
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8"))["notebook"]
        lessons = [
            Lesson(
                notebooks_dir / entry["file"],
                entry["title"],
                tuple(entry["needs"]),
                entry.get("minutes", {}),
                entry.get("learn", 0),
            )
            for entry in entries
        ]
    except (tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise CourseError(f"{path} is malformed ({error}): each [[notebook]] has file, title and needs.") from error
    before: set[str] = set()
    for lesson in lessons:
        if lesson.name in before:
            raise CourseError(f"{path} lists {lesson.name} twice.")
        if unknown := sorted(set(lesson.needs) - before):
            raise CourseError(f"{path}: {lesson.name} needs {', '.join(unknown)}, not listed before it.")
        before.add(lesson.name)
    return lessons


def pick(lessons: Sequence[Lesson], only: Sequence[str] | None) -> list[Lesson]:
    """Return the lessons named in `only` in the course's order; None: all.

    A lesson goes by its name, its number or how its name starts: "04_simclr", "04", "4" or "04_s".

    Raises:
        CourseError: a name fits no lesson or more than one.
    """
    if only is None:
        return list(lessons)
    picked: set[str] = set()
    for wanted in only:
        stem = wanted.strip().removesuffix(".ipynb")
        fitting = [lesson.name for lesson in lessons if lesson.name == stem]
        if not fitting and stem.isdecimal():
            fitting = [lesson.name for lesson in lessons if lesson.number == int(stem)]
        fitting = fitting or [lesson.name for lesson in lessons if stem and lesson.name.startswith(stem)]
        if len(fitting) != 1:
            problem = f"fits {' and '.join(fitting)}" if fitting else "is not a notebook of the course"
            raise CourseError(f"'{wanted}' {problem}. Choose from: {', '.join(lesson.name for lesson in lessons)}.")
        picked.add(fitting[0])
    if not picked:
        raise CourseError("no notebook picked: name at least one, or leave the choice out to run all.")
    return [lesson for lesson in lessons if lesson.name in picked]


def check_data(data: str) -> tuple[str, str]:
    """Check that `data` can be loaded, without decoding an image.

    Returns:
        `data` as every notebook can use it ("phantoms" or "phantoms:N" as it is, a folder, zip or description as
        an absolute path) and a digest of what lies there: it changes when a file does.

    Raises:
        CourseError: the number of phantoms cannot work, the place cannot be read or holds no class folder with images,
            or the images cannot be divided: one class, or too few.
    """
    images = describe(data)
    if phantom_files(images.place) is not None:
        return data, data
    listing = scan(images.place)
    if not any(entry.place and entry.path.lower().endswith(".zip") for entry in listing.entries):
        # Zips inside zips are left to load_corpus: looking into them means reading them whole.
        names = [item.class_name for item in gather(listing, **images.choices).items]
        if None not in names:  # figshare's files tell their class inside
            check_divisible(f"data {data}", [str(name) for name in names if name != UNLABELLED])
    place = listing.root if images.place == data else Path(data)
    if images == Images(images.place):
        return str(place.resolve()), listing.key()
    return str(place.resolve()), digest(listing.key(), images.choices, table_bytes(images.table).decode("latin-1"))
