"""Encoders and augmentation of the user's own: trained, keyed, recorded and found again, or refused before training."""

from __future__ import annotations

import copy
import dataclasses
import functools
import runpy
import sys
import textwrap
from pathlib import Path
from typing import Any

import own_code
import pytest
import torch
from torch import Tensor, nn

from brainssl_utils import grouped_split
from brainssl_utils.data.corpus import Corpus
from brainssl_utils.data.splits.split import Split
from brainssl_utils.encoders import OwnEncoder
from brainssl_utils.errors import CourseError
from brainssl_utils.evaluation.fine_tuning import FineTuning, fine_tune
from brainssl_utils.evaluation.protocol import evaluate
from brainssl_utils.methods import METHODS, make_method
from brainssl_utils.methods.base import Method
from brainssl_utils.networks import PaperEncoder
from brainssl_utils.results import records
from brainssl_utils.settings import PROFILES
from brainssl_utils.training.run import Run, load_run
from brainssl_utils.training.trainer import fit
from brainssl_utils.training.training import Training
from brainssl_utils.views import RECIPES, Recipe, make_views

TINY = dataclasses.replace(PROFILES["smoke"], epochs=2, steps_per_epoch=1, batch_size=10)


@pytest.fixture(scope="module")
def split(phantoms: Corpus) -> Split:
    return grouped_split(phantoms, seed=0)


def make(name: str = "simclr", **changes: Any) -> Method:
    return make_method(name, image_size=32, **changes)


def train(method: Method, corpus: Corpus, split: Split, out: Path | None = None, **options: Any) -> Run:
    return fit(method, corpus, split, TINY, out=out, **{"progress": False, "probes": (), **options})


def key(method: Method, corpus: Corpus, split: Split) -> str:
    return Training(method, corpus, split, TINY, 0, split.train).key


def same_weights(one: Run, other: Run) -> bool:
    pairs = zip(one.method.state_dict().values(), other.method.state_dict().values())
    return all(torch.equal(a, b) for a, b in pairs)


# Encoders ---------------------------------------------------------------------------------------------------------


def test_torchvisions_resnet18_goes_through_training_evaluation_fine_tuning_record_and_reload(
    phantoms: Corpus, split: Split, tmp_path: Path
) -> None:
    short = dataclasses.replace(TINY, epochs=1)
    method = make(encoder=own_code.grey_resnet)
    run = fit(method, phantoms, split, short, out=tmp_path, progress=False, probes=("knn",))
    assert run.record["config"]["encoder"] == "own_code:grey_resnet" and run.record["config"]["features"] == 512
    assert "encoder.layer1.0.conv1.weight" in run.method.state_dict(), "the network's own names"
    again = load_run(tmp_path, records.read_record(run.path))
    assert same_weights(run, again) and again.method.config == method.config
    few = split.train[:12]
    assert 0 <= evaluate(again, phantoms, split, "knn", few)["accuracy"] <= 1
    tuned = fine_tune(again, phantoms, split, few, FineTuning(steps=1, checks=1))
    assert tuned.report["n"] == len(split.test) and same_weights(run, again)


@pytest.mark.parametrize("name", sorted(METHODS))
@pytest.mark.parametrize("encoder", [own_code.Maps, functools.partial(own_code.Maps, width=4), "own_code:Maps"])
def test_every_method_takes_a_class_a_partial_and_a_path(
    phantoms: Corpus, split: Split, tmp_path: Path, name: str, encoder: Any
) -> None:
    run = train(make(name, encoder=encoder), phantoms, split, tmp_path)
    again = load_run(tmp_path, records.read_record(run.path))
    assert same_weights(run, again) and again.method.config == run.method.config
    assert again.record["config"]["encoder"] == "own_code:Maps"


def test_an_encoder_made_for_one_size_is_given_it_and_a_ready_one_is_taken(phantoms: Corpus, split: Split) -> None:
    assert make(encoder=own_code.Flat).encoder.network.dense.in_features == 32 * 32
    ready = METHODS["simclr"](own_code.Flat(32), temperature=0.2)
    assert (ready.encoder.image_size, ready.encoder.out_dim, ready.protocol) == (32, 16, "custom")
    sized = METHODS["simclr"](OwnEncoder(own_code.Maps(), 32))
    assert sized.encoder.map_shape == (8, 8, 8) and sized.encoder.out_dim == 512
    assert train(sized, phantoms, split).record["config"]["encoder"] == "own_code:Maps"


def test_one_handed_over_ready_comes_back_where_its_class_needs_no_arguments_or_by_hand(
    phantoms: Corpus, split: Split, tmp_path: Path
) -> None:
    run = train(make(encoder=own_code.Maps()), phantoms, split, tmp_path)
    assert same_weights(run, load_run(tmp_path, run.record))
    wide = train(make(encoder=own_code.Maps(12)), phantoms, split, tmp_path / "wide")
    with (
        pytest.raises(CourseError, match=r"do not fit encoder own_code:Maps.*encoder=\.\.\."),
        pytest.warns(UserWarning),
    ):
        load_run(tmp_path / "wide", wide.record)
    assert same_weights(wide, load_run(tmp_path / "wide", wide.record, encoder=own_code.Maps(12)))


def test_a_class_that_cannot_be_imported_is_named(phantoms: Corpus, split: Split, tmp_path: Path) -> None:
    class Local(own_code.Maps):
        pass

    run = train(make(encoder=Local), phantoms, split, tmp_path)
    with pytest.raises(CourseError, match=r"<locals>\.Local cannot be imported"):
        load_run(tmp_path, run.record)
    gone = {**run.record, "config": {**run.record["config"], "encoder": "no_such_package.nets:Net"}}
    with pytest.raises(CourseError, match=r"no_such_package.nets:Net cannot be imported: module no_such_package"):
        load_run(tmp_path, gone)
    assert same_weights(run, load_run(tmp_path, run.record, encoder=Local))


def test_weights_arguments_layers_and_code_of_an_encoder_are_in_the_key(
    phantoms: Corpus, split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def of(**changes: Any) -> str:
        return key(make(**changes), phantoms, split)

    assert of(encoder=own_code.Maps) == of(encoder="own_code:Maps")
    layers = [nn.Sequential(nn.Conv2d(1, 4, 3), part, nn.Flatten()) for part in (nn.ReLU(), nn.Tanh())]
    layers[1].load_state_dict(layers[0].state_dict())  # the same weights
    changed = own_code.Maps()
    with torch.no_grad():
        changed.layers[0].bias.add_(1)
    keys = [
        of(encoder="paper"), of(encoder=own_code.Maps), of(encoder=own_code.Maps, seed=1), of(encoder=changed),
        of(encoder=functools.partial(own_code.Maps, width=4)), *(of(encoder=one) for one in layers),
    ]  # fmt: skip
    monkeypatch.syspath_prepend(tmp_path)
    for number, line in enumerate(("images.flatten(1)", "images.flatten(1)  # why", "2 * images.flatten(1)")):
        module = f"own_net_{number}"
        (tmp_path / f"{module}.py").write_text(
            f"from torch import nn\n\nclass Net(nn.Module):\n    def forward(self, images):\n        return {line}\n"
        )
        keys.append(make(encoder=f"{module}:Net").config["encoder_code"])
    *others, code, commented, other = keys
    assert len({*others, code, other}) == len(others) + 2 and commented == code


def test_an_own_encoder_is_copied_whole_and_its_state_has_the_networks_names() -> None:
    network = own_code.Maps()
    encoder = OwnEncoder(network, 32)
    twin = copy.deepcopy(encoder)
    assert list(encoder.state_dict()) == list(network.state_dict())
    with torch.no_grad():
        twin.network.layers[0].weight.zero_()
    assert encoder.network.layers[0].weight.any()
    assert not twin.load_state_dict(network.state_dict()).missing_keys
    images = torch.rand(2, 1, 32, 32)
    assert torch.equal(twin.eval()(images), encoder.eval()(images)) and twin(images).shape == (2, 512)
    with pytest.raises(RuntimeError, match="Missing key"):
        twin.load_state_dict({})


def test_the_trial_leaves_the_network_as_it_is() -> None:
    network = own_code.Maps().train()
    before = copy.deepcopy(network.state_dict())
    torch.manual_seed(0)
    OwnEncoder(network, 32)
    drawn = torch.rand(1)
    torch.manual_seed(0)
    assert torch.equal(drawn, torch.rand(1)) and network.training
    assert all(torch.equal(a, b) for a, b in zip(before.values(), network.state_dict().values()))


def test_encoders_that_cannot_work_are_refused_with_what_is_expected() -> None:
    for encoder, words in (
        (nn.Conv2d(3, 8, 3), "3 channels.*replace the first convolution"),
        (nn.Flatten(0), r"gives torch.float32 \(2048,\).*\(B, D\)"),
        ("own_code", "unknown encoder 'own_code'"),
        ("own_code:Nothing", "has no Nothing"),
        (functools.partial(own_code.Maps, wide=3), "cannot be made: TypeError.*wide"),
        (functools.partial(own_code.Maps, 3), "by keyword"),
        (dict, "made a dict"),
        (3, "class int"),
    ):
        with pytest.raises(CourseError, match=words):
            make(encoder=encoder)
    with pytest.raises(CourseError, match="expected a network"):
        METHODS["simclr"](own_code.Maps)  # type: ignore[arg-type]


def test_a_decoder_needs_maps_and_says_so() -> None:
    with pytest.raises(CourseError, match=r"own_code:Flat gives flat features.*map_shape"):
        make("masked_encoder", encoder=own_code.Flat)
    with pytest.raises(CourseError, match="maps of 30 x 30 for images of 32"):
        make("masked_encoder", encoder=nn.Conv2d(1, 2, 3))
    assert make("masked_encoder", encoder=own_code.Maps).decoder.map_shape == (8, 8, 8)


def test_the_studys_encoder_of_other_widths_comes_back(phantoms: Corpus, split: Split, tmp_path: Path) -> None:
    run = train(METHODS["simclr"](PaperEncoder(32, (4, 8))), phantoms, split, tmp_path)
    again = load_run(tmp_path, records.read_record(run.path))
    assert same_weights(run, again) and run.record["config"]["encoder_arguments"] == {"widths": [4, 8]}


def test_batch_norms_buffers_do_not_make_a_trained_method_another(phantoms: Corpus, split: Split) -> None:
    method = make(encoder=own_code.Maps)
    first, second = train(method, phantoms, split), train(method, phantoms, split)
    assert first.record["key"] == second.record["key"]
    assert first.record["history"][-1]["c_loss"] == second.record["history"][-1]["c_loss"]


# Augmentation -----------------------------------------------------------------------------------------------------

OWN_VIEWS = [
    Recipe(flip=0.5, area=(0.5, 1.0), noise=0.1),
    own_code.darker,
    functools.partial(own_code.darker, least=0.1),
    own_code.Mirror,
    functools.partial(own_code.Mirror, share=1.0),
    own_code.drawn_globally,
    "own_code:darker",
]


@pytest.mark.parametrize("views", OWN_VIEWS)
def test_own_views_are_trained_with_recorded_and_found_again(
    phantoms: Corpus, split: Split, tmp_path: Path, views: Any
) -> None:
    method = make(views=views, classifier_views=views)
    run = train(method, phantoms, split, tmp_path)
    again = load_run(tmp_path, records.read_record(run.path))
    assert same_weights(run, again) and again.method.config == method.config
    images = torch.randint(0, 256, (4, 1, 32, 32), dtype=torch.uint8)
    one, other = (one.views(images, torch.Generator().manual_seed(3)) for one in (method, again.method))
    assert torch.equal(one, other) and one.shape == images.shape
    assert isinstance(method.settings_table().loc["contrastive views", "we chose"], str)


def test_every_kind_of_views_has_a_key_of_its_own(phantoms: Corpus, split: Split) -> None:
    keys = [key(make(views=views), phantoms, split) for views in [*OWN_VIEWS[:-1], "paper", "none"]]
    assert len(set(keys)) == len(keys)
    assert key(make(views=RECIPES["paper"]), phantoms, split) == key(make(views="paper"), phantoms, split)


def test_edited_code_of_a_view_is_another_training(
    phantoms: Corpus, split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    module = tmp_path / "edited_view.py"
    module.write_text("def view(images, generator):\n    return images.float() / 255\n")
    first = train(make(views="edited_view:view"), phantoms, split, tmp_path)
    monkeypatch.delitem(sys.modules, "edited_view")
    module.write_text("def view(images, generator):\n    '''Darker.'''\n    return images.float() / 600  # edited\n")
    second = train(make(views="edited_view:view"), phantoms, split, tmp_path)
    assert not same_weights(first, second) and first.record["key"] != second.record["key"]
    with pytest.warns(UserWarning, match="edited_view:view is not the code"):
        train(make(views="paper"), phantoms, split, tmp_path / "other")
        load_run(
            tmp_path, {**second.record, "config": {**second.record["config"], "views": first.record["config"]["views"]}}
        )


@pytest.mark.parametrize(
    ("views", "words"),
    [
        (lambda images, generator: images.float() / 255, "lambda.*cannot be imported.*top of a module"),
        (own_code.Mirror(0.3), r"object of class Mirror.*functools.partial\(Mirror"),
        (own_code.drawn_by_numpy, "other views of the same generator"),
        (own_code.too_small, r"returned torch.float32 \(2, 1, 16, 16\): expected float \(2, 1, 32, 32\)"),
        (own_code.still_uint8, "returned torch.uint8"),
        (own_code.in_place, "changes the images"),
        (own_code.failing, "fails on two images.*KeyError"),
        (functools.partial(own_code.darker, least=torch.ones(1)), "numbers, text and lists"),
        ("own_code:nothing", "has no nothing"),
        ("strong", "unknown views 'strong'"),
        (None, "unknown views None"),
    ],
)  # fmt: skip
def test_views_that_no_record_could_tell_of_or_that_do_not_work_are_refused(views: Any, words: str) -> None:
    with pytest.raises(CourseError, match=words):
        make(views=views)


def test_a_local_function_is_refused() -> None:
    def local(images: Tensor, generator: torch.Generator | None) -> Tensor:
        return images.float() / 255

    with pytest.raises(CourseError, match=r"classifier_views is .*<locals>\.local"):
        make(classifier_views=local)


@pytest.mark.parametrize("name", ["views", "classifier_views"])
@pytest.mark.parametrize(
    "views", [make_views("none", 32), Recipe(), own_code.darker, lambda images, generator: images, nn.Identity()]
)
def test_views_exchanged_after_the_method_was_built_are_refused_before_training(
    phantoms: Corpus, split: Split, tmp_path: Path, name: str, views: Any
) -> None:
    train(make(), phantoms, split, tmp_path)
    method = make()
    setattr(method, name, views)
    with pytest.raises(CourseError, match=f"method.{name} was changed.*{name}=..."):
        train(method, phantoms, split, tmp_path)


def test_an_encoder_exchanged_after_the_method_was_built_is_refused(phantoms: Corpus, split: Split) -> None:
    method = make()
    method.encoder = nn.Sequential(nn.Flatten(), nn.Linear(32 * 32, 1024))
    with pytest.raises(CourseError, match=r"method\.encoder was exchanged"):
        train(method, phantoms, split)


def test_settings_and_names_that_no_record_can_hold_are_refused_before_training(
    phantoms: Corpus, split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Method, "training_step", None)
    method = make()
    method.config["weights"] = torch.ones(3)
    with pytest.raises(CourseError, match="cannot be kept in a record"):
        train(method, phantoms, split, tmp_path)
    with pytest.raises(CourseError, match="too long for a file's name: shorten the tag"):
        train(make(), phantoms, split, tmp_path, tag="x" * 300)


def test_a_notebooks_own_code_is_trained_and_another_program_is_told_what_is_missing(
    phantoms: Corpus, split: Split, tmp_path: Path
) -> None:
    """A script's names are those of a notebook: module __main__."""
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent("""
        from torch import nn
        from brainssl_utils import fit, records
        from brainssl_utils.methods import make_method
        from brainssl_utils.training.run import load_run

        class Net(nn.Conv2d):
            def __init__(self):
                super().__init__(1, 4, 5, 4)

        def view(images, generator):
            return images.float() / 255

        method = make_method("simclr", encoder=Net, views=view, image_size=32)
        run = fit(method, corpus, split, tiny, out=out, probes=(), progress=False)
        again = load_run(out, records.read_record(run.path)).method
        """)
    )
    given = {"corpus": phantoms, "split": split, "tiny": TINY, "out": tmp_path / "run"}
    found = runpy.run_path(str(script), given, "__main__")
    assert found["again"].config == found["method"].config
    [record] = records.read_records(tmp_path / "run")
    with pytest.raises(CourseError, match="__main__:Net cannot be imported: this notebook or script has no Net"):
        load_run(tmp_path / "run", record)
