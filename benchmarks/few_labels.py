"""Three tumour classes, few labels: the second project's question with the baselines it lacked.

    python benchmarks/few_labels.py DATA [--seeds 0 1 2] [--splits published grouped] [--methods ...] [--labels ...] --out DIR

2451 images to pre-train on, 12, 123 or 1235 labelled ones, 490 test images. "published" is the project's own protocol:
by slice, and with its share of each class, nearly half of the images glioma, so that accuracies compare with its own.
"grouped" splits the archives as they are by group of copies. Every method is pre-trained for as many steps on the same
images and read by a linear probe and nearest neighbours, some of them by fine-tuning too, which averages over a test
image and views of it (`--test-views 0` takes the image alone). "From scratch" and the baselines (a frozen random encoder,
nearest neighbours on pixels and, where their weights are on disk, ImageNet features) get the same labels. What is
finished of a method, split and seed is not repeated; the tables show what DIR holds of the same settings. With 12 labels
the draw of the labels matters more than anything: `--draws 8` compares fine-tuned networks with the one from scratch on
the same further draws.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from common import profile_of, spread
from torch import nn

from brainssl_utils.data.corpus import Corpus
from brainssl_utils.data.loading import load_corpus
from brainssl_utils.data.reading.sources import SOURCES
from brainssl_utils.data.splits.draw import grouped_split, paper_split
from brainssl_utils.data.splits.split import Split
from brainssl_utils.data.splits.subsets import label_subset
from brainssl_utils.errors import CourseError
from brainssl_utils.evaluation.baselines import ImageNetEncoder, Pixels, random_encoder
from brainssl_utils.evaluation.fine_tuning import FineTuning
from brainssl_utils.evaluation.protocol import label_curve
from brainssl_utils.files import atomic_path
from brainssl_utils.methods import make_method
from brainssl_utils.settings import Profile
from brainssl_utils.training.run import Run
from brainssl_utils.training.trainer import fit

CLASSES = ("glioma", "meningioma", "pituitary")
LABELS = (12, 123, 1235)
SIZES: dict[str, Any] = {"train": 1235, "test": 490, "unlabeled": 2451}
SPLITS = ("published", "grouped")
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "masked encoder": ("masked_encoder", {}),
    "masked encoder + contrast": ("masked_encoder", {"contrast": 1.0, "share": (0.25, 0.5)}),
    # What of the row above is owed to its stronger views and smaller holes.
    "masked encoder, same views": ("masked_encoder", {"views": "contrastive", "share": (0.25, 0.5)}),
    "pairs (a) from labels": ("twin_network", {"pairs": "labels"}),
    "pairs (b) from views": ("twin_network", {"pairs": "views"}),
    "pairs (c) views, no copies": ("twin_network", {"pairs": "views_clean"}),
    "SimCLR": ("simclr", {}),
}
SCRATCH, BASELINES = "from scratch", "baselines"
FINE_TUNED = (
    "masked encoder", "masked encoder + contrast", "masked encoder, same views", "pairs (a) from labels", "SimCLR", SCRATCH
)  # fmt: skip


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
    title: str, corpus: Corpus, split: Split, split_name: str, seed: int, profile: Profile, out: Path
) -> Run | nn.Module:
    """Pre-train a method on one split, or take it from `out` where it is finished; "from scratch" is a random encoder."""
    if title == SCRATCH:
        return random_encoder("paper", profile.image_size, seed)
    few = label_subset(split, corpus, 123, seed)
    name, changes = METHODS[title]
    method = make_method(name, "fair", profile.image_size, seed, len(corpus.classes), **changes)
    tag = f"{slug(title)}-{split_name}"
    # Pre-training sees the 2451 images and the 123; from labels (a) it reads the labels of all of them.
    return fit(method, corpus, split, profile, seed, out, labels=few, tag=tag, probes=(), progress=False)


def slug(title: str) -> str:
    """A title as a part of a file's name."""
    return "_".join(re.findall(r"\w+", title))


def ways(title: str) -> tuple[str, ...]:
    """How a method is read: an untrained encoder is read frozen among the baselines."""
    frozen = () if title == SCRATCH else ("linear", "knn")
    return (*frozen, "fine_tune") if title in FINE_TUNED else frozen


def baselines(
    corpus: Corpus, split: Split, seed: int, labels: Sequence[int], tuning: FineTuning, size: int
) -> pd.DataFrame:
    """What else the second project lacked, at the same labels, split, augmentation and number of steps."""
    random = {"random, frozen": random_encoder("paper", size, seed)}
    curves = [
        label_curve(random, corpus, split, labels, [seed], ("linear", "knn")),
        label_curve(random, corpus, split, labels, [seed], ("fine_tune",), replace(tuning, freeze="all")),
        label_curve({"pixels": Pixels()}, corpus, split, labels, [seed], ("knn",)),
    ]
    try:
        curves.append(label_curve({"ImageNet, frozen": ImageNetEncoder()}, corpus, split, labels, [seed]))
    except CourseError as error:
        print(f"ImageNet features are left out: {error}")
    return pd.concat(curves)


def table(results: pd.DataFrame) -> pd.DataFrame:
    """Mean test accuracy in % and its 95 % t interval over seeds, one row a method and reading."""
    kinds = ("linear", "knn", "fine_tune")
    order = sorted(dict.fromkeys(zip(results["method"], results["kind"])), key=lambda row: kinds.index(row[1]))
    wide = results.pivot_table("accuracy", ["method", "kind"], ["split", "labels"], aggfunc=spread)
    return wide.reindex(order).fillna("-")


def differences(results: pd.DataFrame) -> pd.DataFrame:
    """Fine-tuned methods minus "from scratch" on the same split and labels, in points: mean and 95 % t interval."""
    tuned = results[results["kind"] == "fine_tune"].pivot_table("accuracy", ["split", "labels", "seed"], "method")
    minus = tuned.drop(columns=SCRATCH).sub(tuned[SCRATCH], axis=0)
    gains = minus.melt(ignore_index=False, value_name="gain").dropna().reset_index()
    return gains.pivot_table("gain", "method", ["split", "labels"], aggfunc=spread).fillna("-")


@dataclass(frozen=True)
class ResultFiles:
    """Where the readings of one corpus after one length of pre-training and one way of fine-tuning lie: a file each.

    A reading is a method's, with so many labels, on one split and seed; `draws` is "" for the split's own draw of labels.
    """

    folder: Path
    corpus: Corpus
    length: str
    tuning: str

    def path(self, title: str, split: str, seed: int | str, labels: Sequence[int], draws: str) -> Path:
        length = "untrained" if title in (SCRATCH, BASELINES) else self.length
        corpus = f"{slug(self.corpus.name)}_{self.corpus.fingerprint[:8]}"
        parts = [corpus, split, length, self.tuning, "+".join(map(str, labels)), draws, slug(title), f"seed{seed}"]
        return self.folder / ("-".join(filter(None, parts)) + ".csv")

    def gather(self, splits: Sequence[str], labels: Sequence[int], draws: str) -> pd.DataFrame:
        """All that the folder holds of the splits, the methods and seeds of other calls too."""
        kinds = product([*METHODS, SCRATCH, BASELINES], splits)
        names = [self.path(title, split, "*", labels, draws).name for title, split in kinds]
        return pd.concat(pd.read_csv(path) for name in names for path in sorted(self.folder.glob(name)))


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help='folder with archives, or "phantoms"')
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--splits", nargs="*", default=list(SPLITS), choices=SPLITS)
    titles = [*METHODS, BASELINES]
    parser.add_argument("--methods", nargs="*", default=titles, choices=titles, help='"from scratch" is always read')
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
    return parser.parse_args()


def main() -> None:
    """Train and read what is missing, and print the tables."""
    arguments = parse()
    corpus = load_corpus(arguments.data)
    size = arguments.image_size
    profile = profile_of(arguments.steps, size)
    tuning = FineTuning(
        steps=arguments.tuning_steps,
        encoder_lr_factor=arguments.encoder_rate,
        augmentation=arguments.augmentation,
        label_smoothing=arguments.label_smoothing,
        test_views=arguments.test_views,
    )
    tuned = f"{size}px-tuned{arguments.tuning_steps}x{arguments.encoder_rate:g}v{arguments.test_views}"
    tuned += f"-{arguments.augmentation}-smoothed{arguments.label_smoothing:g}"
    files = ResultFiles(arguments.out / "few_labels", corpus, profile.name, tuned)
    drawings = {"": arguments.labels} | ({f"{arguments.draws}draws": LABELS[:1]} if arguments.draws else {})
    for seed, name in product(arguments.seeds, arguments.splits):
        paths = {
            (title, draws): files.path(title, name, seed, labels, draws)
            for title in [*arguments.methods, SCRATCH]
            for draws, labels in drawings.items()
            if title in FINE_TUNED or not draws
        }
        missing = {key: path for key, path in paths.items() if not path.exists()}
        if not missing:
            continue
        images, split = drawn(corpus, name, seed)
        networks = {
            title: pretrained(title, images, split, name, seed, profile, arguments.out)
            for title in dict.fromkeys(title for title, _ in missing if title != BASELINES)
        }
        for (title, draws), path in missing.items():
            if title == BASELINES:
                results = baselines(images, split, seed, arguments.labels, tuning, size)
            else:
                seeds = range(100 * (seed + 1), 100 * (seed + 1) + arguments.draws) if draws else [seed]
                kinds = ("fine_tune",) if draws else ways(title)
                own = replace(tuning, encoder_lr_factor=1.0) if title == SCRATCH else tuning
                results = label_curve({title: networks[title]}, images, split, drawings[draws], seeds, kinds, own)
            with atomic_path(path) as temporary:
                results.assign(split=name).to_csv(temporary, index=False)
            print(f"{path.stem}: done", flush=True)
    for draws, labels in drawings.items():
        results = files.gather(arguments.splits, labels, draws)
        print(f"{draws or 'one draw a seed'}, accuracy in %:\n{table(results).to_string()}\n")
        if not set(FINE_TUNED).isdisjoint(set(results["method"]) - {SCRATCH}):
            print(f"the same labels, points above the network from scratch:\n{differences(results).to_string()}\n")


if __name__ == "__main__":
    main()
