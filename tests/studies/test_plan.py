"""A study's file is read as a whole, and a mistake in it is told with the file and the place before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from brainssl_utils.errors import CourseError
from brainssl_utils.methods import METHODS
from brainssl_utils.settings import PROFILES
from brainssl_utils.studies.plan import Baseline, read_study

STUDIES = Path(__file__).parents[2] / "studies"
ROW = '[[training]]\nmethod = "simclr"\nsplit = "grouped"\n'


def written(folder: Path, text: str) -> Path:
    path = folder / "study.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "rows", "epochs"),
    [
        ("table2", 10, 100),
        ("fair", len(METHODS), 30),
        ("few_labels", len(METHODS), 30),
        ("phantoms", len(METHODS), 100),
        ("readings", 11, 100),
        ("one_per_group", 6, 30),
        ("leaky_split", 8, 10),
        ("second_project", 14, 10),
        ("second_project_longer", 1, 10),
    ],
)
def test_committed_studies_are_read(name: str, rows: int, epochs: int) -> None:
    study = read_study(STUDIES / f"{name}.toml")
    assert len(study.recipes) == rows
    assert {recipe.profile.epochs for recipe in study.recipes} == {epochs}
    seeds = {"readings": 1, "second_project_longer": 8}
    assert study.seeds == tuple(range(seeds.get(name, 3)))


@pytest.mark.parametrize("name", ["table2", "table2.toml", "studies/table2.toml"])
def test_a_study_that_travels_with_the_course_is_found_from_any_folder(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert read_study(name) == read_study(STUDIES / "table2.toml")
    Path("table2").mkdir()  # an output folder called after the study does not hide it
    assert read_study(name) == read_study(STUDIES / "table2.toml")
    Path("table2.toml").write_text("seeds = 3", encoding="utf-8")
    if not name.startswith("studies/") and name.endswith(".toml"):  # one's own comes first
        with pytest.raises(CourseError, match="seeds"):
            read_study(name)
    with pytest.raises(CourseError, match=r"table3\.toml cannot be read"):
        read_study("table3.toml")


def test_few_labels_reads_the_very_trainings_of_fair() -> None:
    few, fair = (read_study(STUDIES / f"{name}.toml") for name in ("few_labels", "fair"))
    assert few.recipes == fair.recipes
    assert [baseline.name for baseline in few.baselines] == ["untrained", "from scratch", "pixels"]


def test_draws_are_dealt_out_among_the_seeds() -> None:
    (reading,) = read_study(STUDIES / "few_labels.toml").readings
    dealt = {labels: [reading.draws_of(labels, seed, (0, 1, 2)) for seed in (0, 1, 2)] for labels in reading.labels}
    assert dealt == {12: [7, 7, 6], 60: [4, 3, 3], 123: [4, 3, 3], 400: [4, 3, 3], 1235: [1, 1, 1]}
    assert reading.draws_of(12, 5, (5,)) == 20


def test_replaced_sizes_are_told_in_the_profiles_name(tmp_path: Path) -> None:
    text = f'profile = "quick"\n[sizes]\nepochs = 3\n{ROW}sizes = {{ batch_size = 100 }}\n{ROW}'
    first, second = read_study(written(tmp_path, text)).recipes
    assert (first.profile.name, second.profile.name) == ("quick-epochs_3-batch_size_100", "quick-epochs_3")
    assert (first.profile.epochs, first.profile.batch_size) == (3, 100)
    same = read_study(written(tmp_path, f'profile = "quick"\n[sizes]\nepochs = 10\n{ROW}')).recipes[0]
    assert same.profile == PROFILES["quick"]


def test_changed_settings_name_a_row_unless_a_tag_does(tmp_path: Path) -> None:
    text = f'{ROW}changes = {{ temperature = 0.2 }}\n{ROW}changes = {{ temperature = 0.3 }}\ntag = "warm"\n'
    assert [recipe.tag for recipe in read_study(written(tmp_path, text)).recipes] == ["temperature_0.2", "warm"]


def test_a_baseline_is_read_in_the_ways_it_can_be(tmp_path: Path) -> None:
    text = f'{ROW}[[reading]]\nof = ["untrained", "from scratch"]\nlabels = [12]\nkinds = ["linear", "fine_tune"]\n'
    study = read_study(written(tmp_path, text))
    (reading,) = study.readings
    assert [reading.kinds_for(baseline) for baseline in study.baselines] == [("linear",), ("fine_tune",)]
    assert reading.kinds_for(study.recipes[0]) == ()
    assert {baseline.split for baseline in study.baselines if isinstance(baseline, Baseline)} == {"grouped"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ("no [[training]]",)),
        ("title = ", ("cannot be read as a study",)),
        (f"sedes = [0]\n{ROW}", ("unknown key sedes", "seeds")),
        (f"seeds = []\n{ROW}", ("`seeds` is empty",)),
        (f"seeds = [0.5]\n{ROW}", ("seeds is 0.5",)),
        (f'profile = "long"\n{ROW}', ("profile and sizes", "unknown profile 'long'")),
        (f"[sizes]\nepoch = 3\n{ROW}", ("profile and sizes", "unknown key epoch")),
        (f"[sizes]\nepochs = 0\n{ROW}", ("epochs is 0",)),
        (f"{ROW}{ROW.replace('simclr', 'simclear')}", ("training 2", "simclear", "barlow_twins")),
        (ROW.replace("grouped", "random"), ("training 1", "unknown split 'random'")),
        (f'{ROW}protocol = "best"\n', ("training 1", "protocol", "best")),
        (f"{ROW}changes = {{ temprature = 1 }}\n", ("training 1", "no setting temprature")),
        (f"{ROW}changes = {{ temperature = -1 }}\n", ("training 1", "temperature is -1")),
        (f"{ROW}colour = 1\n", ("training 1", "unknown key colour")),
        (f"{ROW}labels = 1\n", ("training 1", "labels is 1")),
        (f"{ROW}labels = [12]\n", ("training 1", "labels is [12]")),
        (f"{ROW}labels = 12\n{ROW}", ("two trainings", "tag")),
        (f'{ROW}methods = ["nnclr"]\n', ("training 1", "either `method` or `methods`")),
        (f"{ROW}{ROW}", ("two trainings", "tag")),
        (f"{ROW}[[reading]]\n", ("reading 1", "`labels` is missing")),
        (f'{ROW}[[reading]]\nof = "nnclr"\nlabels = [12]\n', ("reading 1", "of is 'nnclr'")),
        (f"{ROW}[[reading]]\nlabels = [12]\ndraws = {{ 13 = 2 }}\n", ("reading 1", "draws", "13")),
        (f'{ROW}[[reading]]\nlabels = [12]\nkinds = ["svm"]\n', ("reading 1", "kinds is 'svm'")),
        (f'{ROW}[[reading]]\nlabels = [12]\nof = "from scratch"\n', ("reading 1", "from scratch", "fine_tune")),
        (f"{ROW}[[reading]]\nlabels = [12]\n[reading.fine_tuning]\nstep = 3\n", ("fine_tuning", "unknown key step")),
        (f"{ROW}[[reading]]\nlabels = [12]\n[reading.fine_tuning]\nsteps = 0\n", ("fine_tuning", "steps is 0")),
    ],
)  # fmt: skip
def test_mistakes_name_the_file_and_the_place(tmp_path: Path, text: str, words: tuple[str, ...]) -> None:
    path = written(tmp_path, text)
    with pytest.raises(CourseError) as caught:
        read_study(path)
    message = str(caught.value)
    assert message.startswith(str(path)), message
    assert all(word in message for word in words), message
