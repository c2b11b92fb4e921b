"""What a study's file says: read and checked as a whole, so that a mistake in it is told before anything runs."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from itertools import product
from pathlib import Path
from typing import Any

from brainssl_utils.checks import check_choice, check_number
from brainssl_utils.data.splits.named import split_name
from brainssl_utils.errors import CourseError
from brainssl_utils.evaluation.fine_tuning import FineTuning
from brainssl_utils.evaluation.protocol import PROBES
from brainssl_utils.files import shipped
from brainssl_utils.methods import METHODS, make_method, method_title
from brainssl_utils.settings import Profile, get_profile
from brainssl_utils.training.training import default_tag

FINE_TUNE = "fine_tune"
FROZEN = "untrained, frozen"
BASELINES = {
    "untrained": tuple(PROBES),
    "from scratch": (FINE_TUNE,),
    FROZEN: (FINE_TUNE,),
    "pixels": tuple(PROBES),
}
"""What readings of trained encoders are set against, and how each can be read; of the frozen one the head alone learns."""
MOST_DRAWS = 1000
_TRAINING = ("method", "methods", "protocol", "split", "splits", "tag", "changes", "sizes", "labels")
_READING = ("of", "labels", "draws", "kinds", "fine_tuning")
_COMPARISON = ("against", "splits", "answers")
_STUDY = ("title", "data", "profile", "sizes", "seeds", "training", "reading", "comparison")
TEST = "test"


@dataclass(frozen=True)
class Recipe:
    """A row of a study: a training, but for its seed.

    Attributes:
        method, protocol: as in `make_method`.
        split: the name that the split carries.
        tag: as in `FitOptions`; "" for the protocol's own settings.
        changes: settings of the method that replace the protocol's.
        profile: sizes and lengths; its name tells which of them the study has replaced.
        labels: how many labels it may use, drawn as readings draw theirs; None for all of the split's labelled images.
    """

    method: str
    protocol: str
    split: str
    tag: str
    changes: Mapping[str, Any]
    profile: Profile
    labels: int | None = None

    @property
    def title(self) -> str:
        """How messages and tables call it."""
        return ", ".join(filter(None, (method_title(self.method), self.tag, self.protocol, self.split)))


@dataclass(frozen=True)
class Baseline:
    """What trained encoders are set against, a key of `BASELINES`, on one split."""

    name: str
    split: str
    profile: Profile

    @property
    def title(self) -> str:
        return f"{self.name}, {self.split}"


@dataclass(frozen=True)
class Reading:
    """How encoders are read with few labels.

    Attributes:
        of: methods, tags and baselines; "all" for every training.
        labels: numbers of labels.
        draws: how many times each number of labels is drawn, over all seeds of the study; once a seed where it is not named.
        kinds: "linear", "knn", "fine_tune".
        fine_tuning: settings of "fine_tune".
    """

    of: tuple[str, ...]
    labels: tuple[int, ...]
    draws: Mapping[int, int]
    kinds: tuple[str, ...]
    fine_tuning: FineTuning

    def draws_of(self, labels: int, seed: int, seeds: Sequence[int]) -> int:
        """How many of the draws of so many labels fall to one of the study's seeds: they are dealt out in turn like cards.

        So 20 draws over three seeds are 7, 7 and 6.
        """
        return len(range(seeds.index(seed), self.draws.get(labels, len(seeds)), len(seeds)))

    def kinds_for(self, subject: Recipe | Baseline) -> tuple[str, ...]:
        """The ways in which `subject` is read; none where this reading is not of it."""
        if isinstance(subject, Baseline):
            return tuple(kind for kind in self.kinds if subject.name in self.of and kind in BASELINES[subject.name])
        return self.kinds if {"all", subject.method, subject.tag} & set(self.of) else ()


@dataclass(frozen=True)
class Comparison:
    """Trainings that are compared by pairs, on the images that they were all tested on.

    Attributes:
        against: title of the training that the others are set against.
        splits: names of the splits whose trainings take part; all of them test the same images.
        answers: whose: "test" for each method's own classifier, or a probe.
    """

    against: str
    splits: tuple[str, ...]
    answers: str


@dataclass(frozen=True)
class Study:
    """A study as its file has it.

    Attributes:
        path: the file.
        title: what it is called.
        data: what it is meant for: "archives" or another word, or "phantoms".
        seeds: of splits, weights and batches.
        recipes: its trainings, each for every seed.
        baselines: what its readings set them against.
        readings: with few labels.
        comparisons: of its trainings by pairs.
    """

    path: Path
    title: str
    data: str
    seeds: tuple[int, ...]
    recipes: tuple[Recipe, ...]
    baselines: tuple[Baseline, ...]
    readings: tuple[Reading, ...]
    comparisons: tuple[Comparison, ...] = ()

    @property
    def subjects(self) -> tuple[Recipe | Baseline, ...]:
        """All that is trained or read, in the file's order."""
        return (*self.recipes, *self.baselines)


def read_study(path: str | Path) -> Study:
    """Read and check a study's file.

    Args:
        path: the file; or the name of one that travels with the course, "table2" or "studies/table2.toml".

    Raises:
        CourseError: it cannot be read, or holds an unknown key, method, split or setting, or a value that cannot work;
            the message names the file and the key.
    """
    path = Path(path)
    travels = shipped("studies") / f"{path.name.removesuffix('.toml')}.toml"
    if not path.is_file() and str(path.parent) in (".", "studies") and travels.is_file():
        path = travels
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CourseError(f"{path} cannot be read as a study: {error}.") from error
    with _told_of(str(path)):
        _check_keys(content, _STUDY)
        with _told_of("profile and sizes"):
            profile = _resized(
                get_profile(_entry(content, "profile", str, "paper")), _entry(content, "sizes", dict, {})
            )
        seeds = _numbers("seeds", _entry(content, "seeds", list, [0, 1, 2]), at_least=0)
        recipes: list[Recipe] = []
        for number, table in enumerate(_tables(content, "training"), 1):
            with _told_of(f"training {number}"):
                recipes += _recipes(table, profile)
        if not recipes:
            raise CourseError("no [[training]] in it: give at least one.")
        _check_apart(recipes)
        readings = []
        for number, table in enumerate(_tables(content, "reading"), 1):
            with _told_of(f"reading {number}"):
                readings.append(_reading(table, recipes))
        comparisons = []
        for number, table in enumerate(_tables(content, "comparison"), 1):
            with _told_of(f"comparison {number}"):
                comparisons.append(_comparison(table, recipes))
        title, data = _entry(content, "title", str, path.stem), _entry(content, "data", str, "archives")
    splits = dict.fromkeys(recipe.split for recipe in recipes)
    named = [name for name in BASELINES if any(name in reading.of for reading in readings)]
    baselines = tuple(Baseline(name, split, profile) for name, split in product(named, splits))
    return Study(path, title, data, seeds, tuple(recipes), baselines, tuple(readings), tuple(comparisons))


def _recipes(table: dict[str, Any], profile: Profile) -> Iterator[Recipe]:
    """The rows that one [[training]] stands for: every method on every split."""
    _check_keys(table, _TRAINING)
    methods = list(METHODS) if table.get("methods") == "all" else _names(table, "method")
    splits = [split_name(split) for split in _names(table, "split")]
    protocol, tag = _entry(table, "protocol", str, "fair"), _entry(table, "tag", str, "")
    changes, labels = _entry(table, "changes", dict, {}), table.get("labels")
    if labels is not None:
        check_number("labels", labels, at_least=2, whole=True)
    with _told_of("sizes"):
        profile = _resized(profile, _entry(table, "sizes", dict, {}))
    for method, split in product(methods, splits):
        with _told_of(f"method '{method}'"):
            made = make_method(method, protocol, profile.image_size, **changes)
        yield Recipe(method, protocol, split, tag or default_tag(made), changes, profile, labels)


def _resized(profile: Profile, sizes: Mapping[str, Any]) -> Profile:
    """The profile with other sizes, under a name that tells of them: records of both can lie in one folder."""
    _check_keys(sizes, [field.name for field in fields(Profile) if field.name != "name"])
    for name, value in sizes.items():
        check_number(name, value, at_least=1, whole=True)
    changed = {name: value for name, value in sizes.items() if value != getattr(profile, name)}
    return replace(
        profile, name="-".join([profile.name, *(f"{key}_{value}" for key, value in changed.items())]), **changed
    )


def _reading(table: dict[str, Any], recipes: Sequence[Recipe]) -> Reading:
    _check_keys(table, _READING)
    given = table.get("of", "all")
    of = _strings("of", [given] if isinstance(given, str) else given)
    known = [
        "all",
        *BASELINES,
        *dict.fromkeys(name for recipe in recipes for name in (recipe.method, recipe.tag) if name),
    ]
    for name in of:
        check_choice("of", name, known)
    labels = _numbers("labels", _entry(table, "labels", list), at_least=1)
    draws = {}
    for key, value in _entry(table, "draws", dict, {}).items():
        if key not in map(str, labels):
            raise CourseError(f"draws: {key} is none of the numbers in labels.")
        check_number(f"draws.{key}", value, at_least=1, at_most=MOST_DRAWS, whole=True)
        draws[int(key)] = value
    kinds = _strings("kinds", _entry(table, "kinds", list, ["linear"]))
    for kind in kinds:
        check_choice("kinds", kind, [*PROBES, FINE_TUNE])
    for name in set(of) & set(BASELINES):
        if not set(kinds) & set(BASELINES[name]):
            raise CourseError(f"of: '{name}' can be read by {', '.join(BASELINES[name])} alone; add one to kinds.")
    with _told_of("fine_tuning"):
        settings = _entry(table, "fine_tuning", dict, {})
        _check_keys(settings, [field.name for field in fields(FineTuning) if field.name != "seed"])
        widths = {"widths": tuple(settings["widths"])} if isinstance(settings.get("widths"), list) else {}
        fine_tuning = FineTuning(**{**settings, **widths})
    return Reading(of, labels, draws, kinds, fine_tuning)


def _comparison(table: dict[str, Any], recipes: Sequence[Recipe]) -> Comparison:
    _check_keys(table, _COMPARISON)
    splits = {recipe.title: recipe.split for recipe in recipes}
    against, answers = _entry(table, "against", str), _entry(table, "answers", str, TEST)
    check_choice("against", against, list(splits))
    check_choice("answers", answers, [TEST, *PROBES])
    taking_part = [split_name(split) for split in _strings("splits", table.get("splits", [splits[against]]))]
    for split in taking_part:
        check_choice("splits", split, list(dict.fromkeys(splits.values())))
    return Comparison(against, tuple(taking_part), answers)


def _check_apart(recipes: Sequence[Recipe]) -> None:
    """Refuse two rows whose records would have one name."""
    seen = set()
    for recipe in recipes:
        name = (recipe.method, recipe.protocol, recipe.split, recipe.tag, recipe.profile.name)
        if name in seen:
            raise CourseError(f"two trainings are called '{recipe.title}': give one of them a `tag`, or leave it out.")
        seen.add(name)


@contextmanager
def _told_of(place: str) -> Iterator[None]:
    """Put the place in the file before what is wrong there."""
    try:
        yield
    except (TypeError, ValueError) as error:  # CourseError is one; a setting of another type fails where it is used
        raise CourseError(f"{place}: {error}") from error


def _check_keys(table: Mapping[str, Any], known: Sequence[str]) -> None:
    """Refuse names that are not in `known`."""
    if unknown := [name for name in table if name not in known]:
        raise CourseError(f"unknown key {', '.join(unknown)}. There are: {', '.join(known)}.")


_KINDS: dict[type, str] = {str: "text", list: "a list", dict: "a table"}


def _entry(table: Mapping[str, Any], key: str, kind: type, otherwise: Any = None) -> Any:
    """`table[key]`, which must be of a kind; `otherwise` where it is not there."""
    value = table.get(key, otherwise)
    if not isinstance(value, kind):
        raise CourseError(f"`{key}` is {'missing' if value is None else repr(value)}: expected {_KINDS[kind]}.")
    return value


def _tables(content: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    tables = _entry(content, key, list, [])
    if not all(isinstance(table, dict) for table in tables):
        raise CourseError(f"`{key}`: write each as a table, [[{key}]].")
    return tables


def _names(table: Mapping[str, Any], one: str) -> tuple[str, ...]:
    """Names under a key in the singular (one of them) or in the plural (a list)."""
    if (one in table) == (f"{one}s" in table):
        raise CourseError(f"give either `{one}` or `{one}s`.")
    return (_entry(table, one, str),) if one in table else _strings(f"{one}s", _entry(table, f"{one}s", list))


def _strings(key: str, values: Any) -> tuple[str, ...]:
    if not isinstance(values, list) or not values or not all(isinstance(value, str) for value in values):
        raise CourseError(f"`{key}` is {values!r}: expected a list of names.")
    return tuple(dict.fromkeys(values))


def _numbers(key: str, values: list[Any], at_least: int) -> tuple[int, ...]:
    if not values:
        raise CourseError(f"`{key}` is empty: give at least one number.")
    for value in values:
        check_number(key, value, at_least=at_least, whole=True)
    return tuple(dict.fromkeys(values))
