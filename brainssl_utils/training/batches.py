"""What a training reads: the corpus as tensors, and an epoch's batches straight from memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from brainssl_utils.data.corpus import Corpus
from brainssl_utils.data.splits.split import Split
from brainssl_utils.methods.base import Batch, Method, TrainingData
from brainssl_utils.sampling import endless
from brainssl_utils.settings import Profile


class Batches:
    """Row numbers are drawn, images gathered, nothing else happens.

    Unlabelled and labelled rows are shuffled anew each epoch from (seed, epoch), so a resumed run sees the same batches.
    Rows that are not in the data's pool are kept from the pretext task; an epoch has as many steps as with them.
    """

    def __init__(self, method: Method, data: TrainingData, unlabeled: Tensor, profile: Profile) -> None:
        self.method, self.data = method, data
        self.unlabeled, self.labeled = unlabeled[torch.isin(unlabeled, data.pool)], data.labeled
        self.size, self.labeled_size = step_sizes(method, profile, len(self.unlabeled), len(self.labeled))
        a_step = min(profile.batch_size, len(unlabeled))
        self.steps = profile.steps_per_epoch or max(1, len(unlabeled) // max(a_step, 1))

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[Batch]:
        generator = torch.Generator().manual_seed(self.data.seed * 1_000_003 + 500_000 + self.method.current_epoch)
        unlabeled = endless(self.unlabeled, self.size, generator)
        labeled = endless(self.labeled, self.labeled_size, generator)
        images = self.data.images
        for _ in range(self.steps):
            labeled_rows = next(labeled)
            rows = labeled_rows[:0]
            if self.method.uses_unlabeled:
                rows = torch.cat([next(unlabeled), labeled_rows[torch.isin(labeled_rows, self.data.pool)]])
            yield Batch(images[rows], images[labeled_rows], self.data.labels[labeled_rows], rows)


def step_sizes(method: Method, profile: Profile, unlabeled: int, labeled: int) -> tuple[int, int]:
    """How many unlabelled and labelled images a step has, of so many that there are."""
    # A method without a pretext task spends the whole step on labelled images instead.
    wanted = profile.labeled_batch_size if method.uses_unlabeled else profile.batch_size
    return min(profile.batch_size, unlabeled), min(wanted, labeled)


def training_data(
    corpus: Corpus, split: Split, profile: Profile, seed: int, labeled: np.ndarray, pool: np.ndarray | None = None
) -> TrainingData:
    """Put the corpus at the profile's size into tensors; `pool` are the rows that may be seen, by default all there are."""
    pool = np.concatenate([split.unlabeled, labeled]) if pool is None else pool
    codes = pd.factorize(pd.Series(corpus.table["patient"]).replace("", None))[0]
    return TrainingData(
        images=torch.from_numpy(np.array(corpus.resized(profile.image_size))),
        labels=torch.from_numpy(np.array(corpus.labels, dtype=np.int64)),
        group=torch.from_numpy(corpus.table["group"].to_numpy(np.int64).copy()),
        patient=torch.from_numpy(codes.astype(np.int64)),
        pool=torch.from_numpy(pool.astype(np.int64)),
        labeled=torch.from_numpy(labeled.astype(np.int64)),
        test=torch.from_numpy(np.array(split.test, dtype=np.int64)),
        validation=torch.from_numpy(np.array(split.validation, dtype=np.int64)),
        seed=seed,
    )
