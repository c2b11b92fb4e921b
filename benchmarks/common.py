"""What the benchmarks share: a training of a given length, and how a mean over seeds is written."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from brainssl_utils.intervals import t_interval
from brainssl_utils.settings import Profile, get_profile

EPOCHS = 10


def profile_of(steps: int, image_size: int) -> Profile:
    """The `quick` profile's batches for about `steps` optimiser steps at another image size."""
    lengths = {"epochs": EPOCHS, "steps_per_epoch": max(1, steps // EPOCHS)}
    return replace(get_profile("quick"), name=f"{steps}steps", image_size=image_size, **lengths)


def spread(values: pd.Series) -> str:
    """Mean and 95 % t interval over seeds, in percent; the mean alone of one seed."""
    if len(values) < 2:
        return f"{100 * values.mean():.1f}"
    mean, low, high = (100 * np.array(t_interval(values.to_numpy()))).tolist()
    return f"{mean:.1f} [{low:.1f}, {high:.1f}]"
