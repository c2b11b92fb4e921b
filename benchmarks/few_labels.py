"""Three tumour classes, few labels: the second project's question with the baselines it lacked.

    python benchmarks/few_labels.py DATA [--seeds 0 1 2] [--splits published grouped] [--methods ...] [--labels ...] --out DIR

2451 images to pre-train on, 12, 123 or 1235 labelled ones, 490 test images. "published" is the project's own protocol:
by slice, and with its share of each class, nearly half of the images glioma, so that accuracies compare with its own.
"grouped" splits the archives as they are by duplicate group. Every method is pre-trained for as many steps on the same
images and read by a linear probe and nearest neighbours, three of them by fine-tuning too, which averages over a test
image and views of it (`--test-views 0` takes the image alone). "From scratch", a frozen random encoder, nearest
neighbours on pixels and (where their weights are on disk) ImageNet features get the same labels; with `--methods` only
"from scratch" does. A split and seed that is finished is not repeated; the table shows all that DIR holds of the same
settings. With 12 labels the draw of the labels matters more than anything: `--draws 8` compares fine-tuned networks with
the one from scratch on the same further draws.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from common import profile_of, spread
from torch import nn

from brainssl_utils.data.corpus import Corpus, load_corpus
from brainssl_utils.data.sources import SOURCES
from brainssl_utils.data.splits import Split, grouped_split, label_subset, paper_split
from brainssl_utils.errors import CourseError
from brainssl_utils.evaluation import ImageNetEncoder, Pixels, label_curve, random_encoder
from brainssl_utils.files import atomic_path
from brainssl_utils.methods import make_method
from brainssl_utils.settings import Profile
from brainssl_utils.training import Run, fit

CLASSES = ("glioma", "meningioma", "pituitary")
LABELS = (12, 123, 1235)
Tuning = dict[str, object]
SIZES: dict[str, Any] = {"train": 1235, "test": 490, "unlabeled": 2451}
SPLITS = ("published", "grouped")
METHODS = {
    "masked encoder": ("masked_encoder", {}),
    "pairs (a) from labels": ("twin_network", {"pairs": "labels"}),
    "pairs (b) from views": ("twin_network", {"pairs": "views"}),
    "pairs (c) views, no twins": ("twin_network", {"pairs": "views_clean"}),
    "SimCLR": ("simclr", {}),
}
FINE_TUNED = ("masked encoder", "pairs (a) from labels", "SimCLR")


def drawn(corpus: Corpus, name: str, seed: int) -> tuple[Corpus, Split]:
    """The images and the split called `name`; "published" draws from as many images as have the project's class shares."""
    if name == "grouped":
        return corpus, grouped_split(corpus, seed, classes=CLASSES, **SIZES)
    wanted = np.array([SOURCES["figshare"].counts[title] for title in CLASSES])
    rows = [np.flatnonzero(corpus.labels == corpus.classes.index(title)) for title in CLASSES]
    counts = np.floor(wanted * min(len(own) / count for own, count in zip(rows, wanted))).astype(int)
    rng = np.random.default_rng(seed)
    part = corpus.subset(np.sort(np.concatenate([rng.choice(own, n, replace=False) for own, n in zip(rows, counts)])))
    return part, paper_split(part, seed, classes=CLASSES, **SIZES)


def pretrained(
    corpus: Corpus, split: Split, split_name: str, seed: int, methods: list[str], profile: Profile, out: Path
) -> dict[str, Run]:
    """Pre-train the methods on one split, or take them from `out` where they are finished."""
    few = label_subset(split, corpus, 123, seed)
    models = {}
    for title in methods:
        name, changes = METHODS[title]
        method = make_method(name, "fair", profile.image_size, seed, len(corpus.classes), **changes)
        tag = f"{changes.get('pairs', 'few')}-{split_name}"
        # Pre-training sees the 2451 images and the 123; from labels (a) it reads the labels of all of them.
        models[title] = fit(method, corpus, split, profile, seed, out, labels=few, tag=tag, probes=(), progress=False)
    return models


def readings(
    corpus: Corpus, split: Split, seed: int, models: dict[str, Run], tuning: Tuning, size: int, labels: list[int]
) -> pd.DataFrame:
    """Read the models on one split with every number of labels, and the baselines (one of them if methods are left out)."""
    curves = [
        label_curve(models, corpus, split, labels, [seed], ("linear", "knn")),
        fine_tuned(models, random_encoder("paper", size, seed), corpus, split, labels, [seed], tuning),
    ]
    if len(models) == len(METHODS):
        curves += baselines(corpus, split, seed, tuning, size, labels)
    return pd.concat(curves)


def twelve_labels(
    corpus: Corpus, split: Split, seed: int, models: dict[str, Run], tuning: Tuning, size: int, draws: int
) -> pd.DataFrame:
    """Fine-tune on `draws` draws of 12 labels, each model and the network from scratch on the same ones."""
    seeds = range(100 * (seed + 1), 100 * (seed + 1) + draws)
    return fine_tuned(models, random_encoder("paper", size, seed), corpus, split, LABELS[:1], seeds, tuning)


def fine_tuned(
    models: dict[str, Run],
    random: nn.Module,
    corpus: Corpus,
    split: Split,
    labels: Sequence[int],
    seeds: Sequence[int],
    tuning: Tuning,
) -> pd.DataFrame:
    """Fine-tune those of the models that are fine-tuned too, and the network from scratch, on the same labels."""
    networks = {**{name: models[name] for name in FINE_TUNED if name in models}, "from scratch": random}
    own = {"from scratch": {"encoder_lr_factor": 1.0}}
    return label_curve(networks, corpus, split, labels, seeds, ("fine_tune",), tuning, own)


def baselines(
    corpus: Corpus, split: Split, seed: int, tuning: Tuning, size: int, labels: list[int]
) -> list[pd.DataFrame]:
    """What else the second project lacked, at the same labels, split, augmentation and number of steps."""
    random = {"random, frozen": random_encoder("paper", size, seed)}
    curves = [
        label_curve(random, corpus, split, labels, [seed], ("linear", "knn")),
        label_curve(random, corpus, split, labels, [seed], ("fine_tune",), {**tuning, "freeze": "all"}),
        label_curve({"pixels": Pixels()}, corpus, split, labels, [seed], ("knn",)),
    ]
    try:
        curves.append(label_curve({"ImageNet, frozen": ImageNetEncoder()}, corpus, split, labels, [seed]))
    except CourseError as error:
        print(f"ImageNet features are left out: {error}")
    return curves


def table(results: pd.DataFrame) -> pd.DataFrame:
    """Mean test accuracy in % and its 95 % t interval over seeds, one row a method and reading."""
    order = list(dict.fromkeys(zip(results["method"], results["kind"])))
    wide = results.pivot_table("accuracy", ["method", "kind"], ["split", "labels"], aggfunc=spread)
    return wide.reindex(order)


def differences(results: pd.DataFrame) -> pd.DataFrame:
    """Fine-tuned methods minus "from scratch" on the same split and labels, in points: mean and 95 % t interval."""
    tuned = results[results["kind"] == "fine_tune"].pivot_table("accuracy", ["split", "labels", "seed"], "method")
    minus = tuned.drop(columns="from scratch").sub(tuned["from scratch"], axis=0)
    return minus.groupby(["split", "labels"]).agg(spread).T


def main() -> None:
    """Train what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help='folder with archives, or "phantoms"')
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--splits", nargs="*", default=list(SPLITS), choices=SPLITS)
    parser.add_argument("--methods", nargs="*", default=list(METHODS), choices=METHODS)
    parser.add_argument("--labels", type=int, nargs="*", default=list(LABELS))
    parser.add_argument("--steps", type=int, default=600, help="of a pre-training")
    parser.add_argument("--tuning-steps", type=int, default=1000, help="of a fine-tuning")
    parser.add_argument(
        "--encoder-rate", type=float, default=1.0, help="the encoder's rate in it, as a share of the head's"
    )
    parser.add_argument("--augmentation", default="contrastive", help="preset of the views it trains on")
    parser.add_argument("--label-smoothing", type=float, default=0.1)
    parser.add_argument("--test-views", type=int, default=8, help="views of a test image that a fine-tuned model sees")
    parser.add_argument(
        "--draws", type=int, default=0, help="fine-tune on this many further draws of 12 labels a split and seed"
    )
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    corpus = load_corpus(arguments.data)
    profile = profile_of(arguments.steps, arguments.image_size)
    folder = arguments.out / "few_labels"
    tuning = {
        "steps": arguments.tuning_steps,
        "encoder_lr_factor": arguments.encoder_rate,
        "augmentation": arguments.augmentation,
        "label_smoothing": arguments.label_smoothing,
        "test_views": arguments.test_views,
    }
    tuned = f"tuned{arguments.tuning_steps}x{arguments.encoder_rate:g}v{arguments.test_views}"
    tuned += f"-{arguments.augmentation}-smoothed{arguments.label_smoothing:g}"
    settings = f"{profile.name}-{profile.image_size}px-{tuned}"
    chosen = [name for name in METHODS if name in arguments.methods]
    if chosen != list(METHODS):
        settings += "-" + "-".join(METHODS[name][0] + METHODS[name][1].get("pairs", "") for name in chosen)
    if arguments.labels != list(LABELS):
        settings += "-" + "-".join(map(str, arguments.labels)) + "labels"
    parts: dict[str, Callable[..., pd.DataFrame]] = {f"{settings}-seed": partial(readings, labels=arguments.labels)}
    if arguments.draws:
        parts[f"{settings}-{arguments.draws}draws-seed"] = partial(twelve_labels, draws=arguments.draws)
    for seed, name in product(arguments.seeds, arguments.splits):
        missing = [part for part in parts if not (folder / f"{name}-{part}{seed}.csv").exists()]
        if not missing:
            continue
        images, split = drawn(corpus, name, seed)
        models = pretrained(images, split, name, seed, chosen, profile, arguments.out)
        for part in missing:
            results = parts[part](images, split, seed, models, tuning, profile.image_size)
            with atomic_path(folder / f"{name}-{part}{seed}.csv") as temporary:
                results.assign(split=name).to_csv(temporary, index=False)
            print(f"{name}-{part}{seed}: done", flush=True)
    for part in parts:
        results = pd.concat(pd.read_csv(path) for path in sorted(folder.glob(f"*-{part}*.csv")))
        print(f"{part}*, accuracy in %:\n{table(results).to_string()}\n")
        if not set(FINE_TUNED).isdisjoint(results["method"]):
            print(f"the same labels, points above the network from scratch:\n{differences(results).to_string()}\n")


if __name__ == "__main__":
    main()
