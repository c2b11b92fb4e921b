"""Three tumour classes, few labels: the second project's question with the baselines it lacked.

    python benchmarks/few_labels.py DATA [--seeds 0 1 2] [--splits published grouped] [--methods ...] [--steps 600] --out DIR

2451 images to pre-train on, 12, 123 or 1235 labelled ones, 490 test images, split by slice ("published", as the project
did it) or by duplicate group. Every method is pre-trained for as many steps on the same images and read by a linear probe
and nearest neighbours, three of them by fine-tuning too, which averages over a test image and views of it (`--test-views
0` takes the image alone). "From scratch", a frozen random encoder, nearest neighbours on pixels and (where their weights
are on disk) ImageNet features get the same labels; with `--methods` they are left out. A split and seed that is finished
is not repeated; the table shows all that DIR holds of the same settings.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
from common import profile_of, spread

from brainssl_utils.data.corpus import Corpus, load_corpus
from brainssl_utils.data.splits import Split, grouped_split, label_subset, paper_split
from brainssl_utils.errors import CourseError
from brainssl_utils.evaluation import ImageNetEncoder, Pixels, label_curve, random_encoder
from brainssl_utils.files import atomic_path
from brainssl_utils.methods import make_method
from brainssl_utils.settings import Profile
from brainssl_utils.training import fit

CLASSES = ("glioma", "meningioma", "pituitary")
LABELS = (12, 123, 1235)
SPLITS = {"published": paper_split, "grouped": grouped_split}
METHODS = {
    "masked encoder": ("masked_encoder", {}),
    "pairs (a) from labels": ("twin_network", {"pairs": "labels"}),
    "pairs (b) from views": ("twin_network", {"pairs": "views"}),
    "pairs (c) views, no twins": ("twin_network", {"pairs": "views_clean"}),
    "SimCLR": ("simclr", {}),
}
FINE_TUNED = ("masked encoder", "pairs (a) from labels", "SimCLR")


def one_seed(
    corpus: Corpus,
    split_name: str,
    seed: int,
    methods: list[str],
    profile: Profile,
    tuning: dict[str, object],
    out: Path,
) -> pd.DataFrame:
    """Pre-train and read the methods on one split, and the baselines if none is left out."""
    split = SPLITS[split_name](corpus, seed, classes=CLASSES, train=1235, test=490, unlabeled=2451)
    few = label_subset(split, corpus, 123, seed)
    size, models = profile.image_size, {}
    for title in methods:
        name, changes = METHODS[title]
        method = make_method(name, "fair", size, seed, len(corpus.classes), **changes)
        tag = f"{changes.get('pairs', 'few')}-{split_name}"
        # Pre-training sees the 2451 images and the 123; from labels (a) it reads the labels of all of them.
        models[title] = fit(method, corpus, split, profile, seed, out, labels=few, tag=tag, probes=(), progress=False)
    tuned = {name: models[name] for name in FINE_TUNED if name in models}
    curves = [
        label_curve(models, corpus, split, LABELS, [seed], ("linear", "knn")),
        label_curve(tuned, corpus, split, LABELS, [seed], ("fine_tune",), tuning),
    ]
    if len(methods) == len(METHODS):
        curves += baselines(corpus, split, seed, size, tuning)
    return pd.concat(curves).assign(split=split_name)


def baselines(corpus: Corpus, split: Split, seed: int, size: int, tuning: dict[str, object]) -> list[pd.DataFrame]:
    """What the second project lacked, at the same labels, split, augmentation and number of steps."""
    random = random_encoder("paper", size, seed)
    own = {"from scratch": {"encoder_lr_factor": 1.0}, "random, frozen": {"freeze": "all"}}
    curves = [
        label_curve({"random, frozen": random}, corpus, split, LABELS, [seed], ("linear", "knn")),
        label_curve(dict.fromkeys(own, random), corpus, split, LABELS, [seed], ("fine_tune",), tuning, own),
        label_curve({"pixels": Pixels()}, corpus, split, LABELS, [seed], ("knn",)),
    ]
    try:
        curves.append(label_curve({"ImageNet, frozen": ImageNetEncoder()}, corpus, split, LABELS, [seed]))
    except CourseError as error:
        print(f"ImageNet features are left out: {error}")
    return curves


def table(results: pd.DataFrame) -> pd.DataFrame:
    """Mean test accuracy in % and its 95 % t interval over seeds, one row a method and reading."""
    order = list(dict.fromkeys(zip(results["method"], results["kind"])))
    wide = results.pivot_table("accuracy", ["method", "kind"], ["split", "labels"], aggfunc=spread)
    return wide.reindex(order)


def main() -> None:
    """Train what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help='folder with archives, or "phantoms"')
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--splits", nargs="*", default=list(SPLITS), choices=SPLITS)
    parser.add_argument("--methods", nargs="*", default=list(METHODS), choices=METHODS)
    parser.add_argument("--steps", type=int, default=600, help="of a pre-training")
    parser.add_argument("--tuning-steps", type=int, default=600, help="of a fine-tuning")
    parser.add_argument(
        "--encoder-rate", type=float, default=1.0, help="the encoder's rate in it, as a share of the head's"
    )
    parser.add_argument("--test-views", type=int, default=8, help="views of a test image that a fine-tuned model sees")
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    corpus = load_corpus(arguments.data)
    profile = profile_of(arguments.steps, arguments.image_size)
    folder = arguments.out / "few_labels"
    tuning = {
        "steps": arguments.tuning_steps,
        "encoder_lr_factor": arguments.encoder_rate,
        "test_views": arguments.test_views,
    }
    tuned = f"tuned{arguments.tuning_steps}x{arguments.encoder_rate:g}v{arguments.test_views}"
    settings = f"{profile.name}-{profile.image_size}px-{tuned}"
    chosen = [name for name in METHODS if name in arguments.methods]
    if chosen != list(METHODS):
        settings += "-" + "-".join(METHODS[name][0] + METHODS[name][1].get("pairs", "") for name in chosen)
    for seed in arguments.seeds:
        for name in arguments.splits:
            path = folder / f"{name}-{settings}-seed{seed}.csv"
            if not path.exists():
                with atomic_path(path) as temporary:
                    one_seed(corpus, name, seed, chosen, profile, tuning, arguments.out).to_csv(temporary, index=False)
                print(f"{path.name}: done", flush=True)
    found = sorted(folder.glob(f"*-{settings}-seed*.csv"))
    print(table(pd.concat(pd.read_csv(path) for path in found)).to_string())


if __name__ == "__main__":
    main()
