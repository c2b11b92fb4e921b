"""What a leaking split is worth: the same learners on the random split and on the grouped one, on images and phantoms.

    python benchmarks/leaky_split.py DATA [--seeds 3] [--steps 600] [--image-size 64] [--out DIR]

Notebook 01 asks the question at a length that fits a lesson; this runs it long enough for a network to remember its
training images. Supervised networks are trained with and without augmentation, beside nearest neighbours on pixels.

The two splits test different images. So a second table keeps the test images of the random split and changes the
training images: all of them, without the copies of test images, and without as many others. The last two differ in the
copies alone. A third looks at the test images that have a copy among the labelled images, the only ones that can gain.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from common import profile_of, spread

from brainssl_utils.data.loading import load_corpus
from brainssl_utils.data.splits.draw import grouped_split, paper_split
from brainssl_utils.data.splits.split import Split
from brainssl_utils.evaluation.protocol import pixel_knn
from brainssl_utils.methods import make_method
from brainssl_utils.settings import Profile
from brainssl_utils.training.trainer import fit

LEARNERS = {"supervised, no augmentation": "none", "supervised, augmented": "classification", "kNN on pixels": None}


def right_answers(corpus, split: Split, learner: str, labels, profile: Profile, seed: int, out: Path | None, tag: str):
    """Train on `labels` and return which test images are answered rightly, bool (n_test,)."""
    views, truth = LEARNERS[learner], corpus.labels[split.test]
    if views is None:
        report = pixel_knn(corpus, split, labels=labels, seed=seed)
        return report["correct"] / report["n"]
    method = make_method("supervised", "fair", profile.image_size, seed, classifier_views=views)
    run = fit(method, corpus, split, profile, seed, out, labels=labels, tag=f"{views}-{tag}", probes=(), progress=False)
    images = torch.from_numpy(corpus.resized(profile.image_size)[split.test])
    return run.method.predict(images).numpy() == truth


def main() -> None:
    """Train, score and print the three tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help='folder with archives, or "phantoms"')
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=600, help="optimiser steps of a supervised training")
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--out", type=Path, help="keep the trainings here; a second call takes up what is finished")
    arguments = parser.parse_args()
    corpus = load_corpus(arguments.data)
    profile = profile_of(arguments.steps, arguments.image_size)
    group = corpus.table["group"].to_numpy()
    between, within, by_copy = [], [], []
    for seed in range(arguments.seeds):
        random, grouped = paper_split(corpus, seed), grouped_split(corpus, seed)
        leaks = np.isin(group[random.train], group[random.test])
        others = np.random.default_rng(seed).permutation(np.flatnonzero(~leaks))[: leaks.sum()]
        parts = {
            "all labels": random.train,
            "copies removed": random.train[~leaks],
            "as many others removed": np.delete(random.train, others),
        }
        seen = np.isin(group[random.test], group[random.train])
        for learner in LEARNERS:
            row = {"learner": learner, "seed": seed}
            for split in (random, grouped):
                answers = right_answers(corpus, split, learner, split.train, profile, seed, arguments.out, "all")
                between.append({**row, "split": split.name, "accuracy": np.mean(answers)})
                if split is random and LEARNERS[learner]:
                    for side, mask in (("with a copy", seen), ("without", ~seen)):
                        by_copy.append({**row, "test images": side, "accuracy": answers[mask].mean(), "n": mask.sum()})
            for name, labels in parts.items():
                tag = name.replace(" ", "_").replace("all_labels", "all")
                answers = right_answers(corpus, random, learner, labels, profile, seed, arguments.out, tag)
                within.append({**row, "labels": name, "n labels": len(labels), "accuracy": np.mean(answers)})
            print(f"seed {seed}, {learner}: done", flush=True)
    show("Random split (as published) and grouped split", pd.DataFrame(between), "split", ("as published", "grouped"))
    pair = ("as many others removed", "copies removed")
    show("The random split's test images, other labels", pd.DataFrame(within), "labels", pair)
    show("The random split's models, by test image", pd.DataFrame(by_copy), "test images", ("with a copy", "without"))
    print(
        pd.DataFrame(within).groupby("labels")["n labels"].mean(),
        pd.DataFrame(by_copy).groupby("test images")["n"].mean(),
    )


def show(title: str, table: pd.DataFrame, column: str, pair: tuple[str, str]) -> None:
    """Print one row a learner: accuracy in % with its t interval over seeds, and the paired difference of `pair`."""
    wide = table.pivot(index=["learner", "seed"], columns=column, values="accuracy")
    wide["difference"] = wide[pair[0]] - wide[pair[1]]
    rows = {learner: mine.apply(spread) for learner, mine in wide.groupby("learner", sort=False)}
    print(f"\n{title}; difference: {pair[0]} minus {pair[1]}")
    print(pd.DataFrame(rows).T.to_string())


if __name__ == "__main__":
    main()
