"""A method is one file: ten lines in a test go through training, record, table and figure, and nothing else is touched."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch.nn.functional as F
from torch import Tensor

from brainssl_utils import grouped_split, plots
from brainssl_utils.data.corpus import Corpus
from brainssl_utils.errors import CourseError
from brainssl_utils.methods import METHODS, make_method, method_colour, method_title
from brainssl_utils.methods.base import Method
from brainssl_utils.results import records
from brainssl_utils.training.run import load_run
from brainssl_utils.training.trainer import fit


class Agreement(Method):
    """Two views agree, and nothing else: it collapses, which does not matter here."""

    name, title, colour, lesson = "agreement", "Agreement", "#123456", "99_agreement"

    def __init__(self, encoder: Any, weight: float = 1.0, **settings: Any) -> None:
        super().__init__(encoder, **settings)

    def pretext_loss(self, features: Sequence[Tensor], context: Any = None) -> Tensor:
        return -self.config["weight"] * F.cosine_similarity(*features).mean()


AGREEMENT = METHODS.pop("agreement")  # the class filed itself; other tests are to see the course's own methods alone


@pytest.fixture(autouse=True)
def filed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS, "agreement", AGREEMENT)


def test_a_class_with_a_name_is_a_method_from_training_to_figure(phantoms: Corpus, tmp_path: Path) -> None:
    method = make_method("agreement", image_size=32, weight=2.0)
    assert method.config["weight"] == 2.0 and method.changes == {"weight": 2.0}
    run = fit(method, phantoms, grouped_split(phantoms), "smoke", out=tmp_path, progress=False)
    again = load_run(tmp_path, records.read_record(tmp_path / "records" / f"{run.name}.json"))
    assert again.method.config == method.config and type(again.method) is Agreement

    made = records.read_records(tmp_path)
    assert records.select(made, "agreement", "fair", "grouped", "weight_2.0") == made
    with pytest.raises(CourseError, match="Run notebook 99_agreement first"):
        records.select(made, "agreement", "fair", "patient")
    assert records.records_table(made)["method"].tolist() == ["Agreement"]
    [axes] = plots.compare_curves({"agreement": run.history}, ["c_loss"], "loss", ["pretext"]).axes
    [line] = axes.lines
    assert line.get_color() == "#123456" and axes.get_legend().texts[0].get_text() == "Agreement"


def test_titles_and_colours_are_found_by_any_spelling() -> None:
    for spelling in ("barlow_twins", "BarlowTwins", "Barlow Twins", "barlow-twins"):
        assert method_title(spelling) == "Barlow Twins"
        assert method_colour(spelling, "red") == METHODS["barlow_twins"].colour
    assert method_title("mine") == "mine" and method_title("mine", "My own") == "My own"
    assert method_colour("mine", "red") == "red"


def test_every_method_says_what_tables_figures_and_lessons_ask() -> None:
    lessons = {path.stem for path in (Path(__file__).parents[2] / "notebooks").glob("*.ipynb")} | {"99_agreement"}
    for name, method in METHODS.items():
        assert method.name == name and method.title and method.lesson in lessons
        assert method.made_by("fair") in lessons
    assert len({method.colour for method in METHODS.values()}) == len(METHODS)


def test_two_files_cannot_take_one_name() -> None:
    with pytest.raises(CourseError, match="'simclr' is there already"):

        class Other(Method):
            name = "simclr"

    assert METHODS["simclr"].__name__ == "SimCLR"


def test_a_method_outside_the_studies_has_no_published_form() -> None:
    with pytest.raises(CourseError, match="no study has a row of Agreement"):
        make_method("agreement", "published", image_size=32)
