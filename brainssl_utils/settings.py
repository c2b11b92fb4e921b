"""The profiles: one table of sizes. A profile changes sizes and lengths alone, never the code path."""

from __future__ import annotations

from dataclasses import dataclass

from brainssl_utils.errors import CourseError


@dataclass(frozen=True)
class Profile:
    """How large a run is.

    Attributes:
        name: what the user types.
        image_size: side of the square images the networks see, in pixels.
        epochs: passes that make one training; the paper's is 100.
        steps_per_epoch: optimiser steps in an epoch; None means one pass over the unlabelled images.
        batch_size: unlabelled images in a step.
        labeled_batch_size: labelled images in a step.
        supervised_steps: optimiser steps of a fine-tuning or a supervised few-label training.
        seeds: how many seeds a comparison with an interval uses.
        digits_steps: steps of the warm-up on handwritten digits (02).
    """

    name: str
    image_size: int
    epochs: int
    steps_per_epoch: int | None
    batch_size: int
    labeled_batch_size: int
    supervised_steps: int
    seeds: int
    digits_steps: int


# 6128 : 1235 is about 5 : 1, so a step's two batches keep that ratio in every profile.
PROFILES = {
    "smoke": Profile("smoke", 32, 2, 2, 30, 6, 4, 2, 10),
    "quick": Profile("quick", 48, 10, 30, 64, 13, 300, 3, 300),
    "paper": Profile("paper", 96, 100, None, 255, 51, 2000, 5, 1000),
}


def get_profile(name: str | Profile) -> Profile:
    """Return the profile called `name`.

    Raises:
        CourseError: no profile has that name.
    """
    if isinstance(name, Profile):
        return name
    if name not in PROFILES:
        raise CourseError(f"unknown profile '{name}'. Choose one of: {', '.join(PROFILES)}.")
    return PROFILES[name]


def check_seed(seed: int) -> int:
    """Return `seed` if every random generator in use takes it.

    Raises:
        CourseError: it is no whole number from 0 to 4294967295.
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise CourseError(f"seed {seed!r}: a whole number from 0 to {2**32 - 1} is expected.")
    return seed
