"""A few numbers of every stage, stored with the stage's version: they may not change without it.

After a change that is meant: raise the stage's version in `brainssl_utils/validity.py`, then store today's numbers with
`python tests/test_stage_numbers.py`.
"""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image, ImageDraw

from brainssl_utils import validity
from brainssl_utils.compute import hardware
from brainssl_utils.data.copies.search import find_groups
from brainssl_utils.data.corpus import Copies, Corpus
from brainssl_utils.data.reading.decode import decode_image
from brainssl_utils.data.splits.draw import grouped_split
from brainssl_utils.evaluation.fine_tuning import FineTuning, fine_tune
from brainssl_utils.evaluation.probes import knn_probe, linear_probe
from brainssl_utils.files import write_json
from brainssl_utils.methods import METHODS, make_method
from brainssl_utils.settings import PROFILES
from brainssl_utils.training.trainer import fit

STORED = Path(__file__).with_name("stage_numbers.json")

STORED_SETTINGS = {"nnclr": {"predictor": True, "straight_through": False}}
"""Settings of the stored numbers that are no longer a method's defaults: another default is no change of the stage."""


def drawing(seed: int, side: int = 96) -> Image.Image:
    """A grey picture of ellipses, the same on every machine: drawn with whole numbers."""
    rng = np.random.default_rng(seed)
    image = Image.new("L", (side, side))
    pen = ImageDraw.Draw(image)
    pen.ellipse((8, 5, side - 8, side - 5), fill=60)
    for _ in range(12):
        x, y, width, height = (int(value) for value in rng.integers(8, side // 2, 4))
        pen.ellipse((x, y, x + width, y + height), fill=int(rng.integers(40, 250)))
    return image


def encoded(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def small_corpus() -> Corpus:
    """60 drawings in two classes, the second kind mirrored in brightness."""
    images = np.stack([np.asarray(drawing(seed, 32)) for seed in range(60)])[:, None]
    labels = np.arange(60) % 2
    images[labels == 1] = 200 - images[labels == 1] // 2
    names = np.array(["no_tumor", "tumor"])[labels]
    files = pd.DataFrame({"id": [f"s/{n}" for n in range(60)], "source": "s", "label": labels, "class_name": names})
    files["patient"] = ""
    copies = Copies(
        pd.DataFrame({"phash": "", "group": np.arange(60)}),
        pd.DataFrame({"a": [], "b": [], "test": [], "value": [], "flipped": []}).astype(
            {"a": int, "b": int, "value": float}
        ),
    )
    return Corpus(images, files, pd.DataFrame(), "f" * 64, "drawings", copies, ("no_tumor", "tumor"))


def reading() -> list[float]:
    """Squares of a grey, a colour, a transparent and a 16-bit picture, at two sizes."""
    grey = drawing(0)
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    clear = grey.convert("RGBA")
    clear.putalpha(drawing(1))
    kinds = [grey, grey.convert("RGB").rotate(15), clear, deep]
    squares = [decode_image(encoded(kind), size).square.astype(float) for kind in kinds for size in (32, 96)]
    return [value for square in squares for value in (square.mean(), square[::7, ::5].std())]


def copies() -> list[float]:
    """Groups and links of drawings, resized, mirrored and darkened copies among them."""
    originals = [drawing(seed) for seed in range(8)]
    changed = [one.resize((60, 60)).resize((96, 96)) for one in originals[:3]]
    changed += [originals[3].transpose(Image.Transpose.FLIP_LEFT_RIGHT), originals[4].point(lambda value: value // 2)]
    images = np.stack([np.asarray(one) for one in (*originals, *changed)])[:, None]
    groups = find_groups(images, [str(n) for n in range(len(images))])
    return [*map(float, groups.group), *groups.links["value"].round(3)]


def training() -> list[float]:
    """Losses of two steps of every method, in float32."""
    corpus = small_corpus()
    split = grouped_split(corpus, test=10, train=20)
    short = dataclasses.replace(PROFILES["smoke"], epochs=1, steps_per_epoch=2)
    losses = []
    for name in sorted(METHODS):
        if not METHODS[name].__module__.startswith("brainssl_utils"):
            continue  # a method that another test defines
        method = make_method(name, image_size=32, n_classes=2, **STORED_SETTINGS.get(name, {}))
        run = fit(method, corpus, split, short, progress=False, probes=())
        losses += [run.record["history"][0][column] or 0.0 for column in ("c_loss", "p_loss")]
    return losses


def evaluation() -> list[float]:
    """Probes on drawn features, and a fine-tuning."""
    rng = np.random.default_rng(0)
    y = np.arange(90) % 3
    x = rng.normal(size=(90, 20)).astype(np.float32) + 0.6 * np.eye(20, dtype=np.float32)[y]
    found = []
    for probe in (linear_probe, knn_probe):
        answer = probe(x[:60], y[:60], x[60:])
        found += [*answer.chosen.values(), *np.bincount(answer.predictions, minlength=3).tolist()]
    corpus = small_corpus()
    split = grouped_split(corpus, test=10, train=20)
    encoder = make_method("simclr", image_size=32, n_classes=2).encoder
    tuned = fine_tune(encoder, corpus, split, split.train, FineTuning(steps=4, checks=2, batch_size=8))
    return [*found, *tuned.history["loss"]]


STAGES: dict[str, tuple[Callable[[], list[float]], float]] = {
    "reading": (reading, 1e-9),
    "copies": (copies, 5e-3),
    "training": (training, 2e-3),
    "evaluation": (evaluation, 2e-3),
}
"""What makes a stage's numbers, and how far they may differ between processors (relative)."""


@pytest.fixture
def float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "has_fast_bfloat16", lambda: False)


@pytest.mark.usefixtures("float32")
@pytest.mark.parametrize("stage", STAGES)
def test_a_stages_numbers_do_not_change_without_its_version(stage: str) -> None:
    stored: dict[str, Any] = json.loads(STORED.read_text())[stage]
    make, tolerance = STAGES[stage]
    now, version = make(), validity.VERSIONS[stage]
    same = len(now) == len(stored["numbers"]) and np.allclose(now, stored["numbers"], rtol=tolerance, atol=tolerance)
    assert version == stored["version"], (
        f"the version of stage '{stage}' was raised to {version}: store today's numbers with "
        "`python tests/test_stage_numbers.py`."
    )
    assert same, (
        f"the numbers of stage '{stage}' changed while validity.VERSIONS['{stage}'] is still {version}, so results made "
        "before would pass for today's. If the change is meant, raise that version and store today's numbers with "
        f"`python tests/test_stage_numbers.py`; if not, find it. Stored {stored['numbers']}, now {now}."
    )


def test_every_stage_has_numbers() -> None:
    assert set(STAGES) == set(validity.VERSIONS) == set(json.loads(STORED.read_text()))


if __name__ == "__main__":
    hardware.has_fast_bfloat16 = lambda: False  # type: ignore[assignment]
    torch.set_num_threads(1)
    numbers = {name: {"version": validity.VERSIONS[name], "numbers": make()} for name, (make, _) in STAGES.items()}
    print(write_json(STORED, numbers))
