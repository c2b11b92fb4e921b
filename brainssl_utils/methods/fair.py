"""What the fair protocol chose, and why, in one table: the course's own lessons hold for its own trainings."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import pandas as pd

from brainssl_utils.methods.base import describe
from brainssl_utils.methods.make import make_method, method_title
from brainssl_utils.settings import Profile, get_profile


class Choice(NamedTuple):
    """A setting of the fair protocol with its reason.

    Attributes:
        setting: what a reader calls it.
        methods: those that have it; () for all.
        key: where its value stands, in `Method.config` or in the profile.
        reason: why this value; the number of a lesson says where it is shown.
    """

    setting: str
    methods: tuple[str, ...]
    key: str
    reason: str


CHOICES = (
    Choice("encoder", (), "encoder", "the study's convolutions, flat: nothing but the method differs between rows"),
    Choice(
        "projection head", ("simclr", "nnclr", "barlow_twins", "proposed_model"), "head_widths",
        "the study's widths; no ReLU at its end but in the proposed model, which keeps its own (05: it hinders decorrelation)",
    ),
    Choice("temperature", ("simclr", "nnclr", "proposed_model"), "temperature",
           "the study's and the reference's, one for all rows, never tuned; 04: so low, most of the push falls on the nearest "
           "negatives, copies among them, which is why one image a group is tried as well"),
    Choice("off-diagonal weight", ("barlow_twins",), "off_diagonal_weight",
           "05: it belongs to a width. The reference's 10 between means is 10 / (D - 1) between sums, here for 64 projections"),
    Choice("queue length", ("nnclr",), "queue_size",
           "06: a queue as long as the pool returns the scan itself; a tenth, as the reference had on its own data"),
    Choice("the neighbour's gradient reaches the view it replaces", ("nnclr",), "straight_through",
           "06: as in the reference, which has no prediction head; in 300 steps the paper's form, a head and no such gradient, "
           "learned nothing to be measured"),
    Choice("projections without negatives: hidden, output", ("simsiam", "byol"), "head_widths",
           "09: their heads bring batch norms, which the study's lacks; as wide at the end as the other rows'"),
    Choice("predictor's hidden width, narrow", ("simsiam",), "predictor_width",
           "09: a quarter of the projections, as in its paper; BYOL's is as wide as its head's hidden layer, as in its own"),
    Choice("teacher's momentum at the start", ("byol",), "momentum",
           "09: the paper's 0.996 would leave much of a random start in the teacher after so few steps; it rises to 1"),
    Choice("views", ("simclr", "nnclr", "barlow_twins", "simsiam", "byol", "proposed_model"), "views",
           "04: with flips alone half of the pairs are the same picture twice"),
    Choice("gradient of the classifier reaches the encoder", ("simclr", "nnclr", "barlow_twins", "simsiam", "byol"), "joint",
           "07: the features must not know the labels they are read with; the proposed model and supervised training are "
           "defined by the opposite"),
    Choice("one image a group of copies in pre-training", (), "one_per_group",
           "04: copies are false negatives; studies/one_per_group.toml measures what leaving them out changes"),
    Choice("learning rate", (), "learning_rate", "the reference's; one for all rows, so that none was tuned more than another"),
    Choice("unlabelled images a step", (), "batch_size",
           "hundreds of negatives an image; the study's two parts are about 5 : 1, and so are a step's: an epoch passes once "
           "through both"),
    Choice("labelled images a step", (), "labeled_batch_size", "see above; without unlabelled images (supervised) a step is as "
           "large as the unlabelled part here"),
    Choice("epochs", (), "epochs", "fixed beforehand, the same for every row: none is stopped where its test accuracy is best"),
    Choice("steps an epoch", (), "steps_per_epoch", "the same for every row; \"all\" is one pass over the unlabelled images"),
)  # fmt: skip


def fair_table(profile: str | Profile = "paper", epochs: int | None = None) -> pd.DataFrame:
    """Return the choices of the fair protocol: setting, methods, value, reason. Values are read from built methods.

    Args:
        profile: whose sizes are shown.
        epochs: of the study that is shown, in place of the profile's.

    Raises:
        CourseError: no profile has that name.
    """
    profile = get_profile(profile)
    profile = replace(profile, epochs=epochs or profile.epochs)
    configs = {
        name: make_method(name, "fair", profile.image_size).config for name in {m for c in CHOICES for m in c.methods}
    }
    common = make_method("simclr", "fair", profile.image_size).config
    rows = []
    for choice in CHOICES:
        found = [configs[name].get(choice.key) for name in choice.methods] or [
            common[choice.key] if choice.key in common else getattr(profile, choice.key)
        ]
        rows.append({
            "setting": choice.setting,
            "methods": ", ".join(map(method_title, choice.methods)) or "all",
            "value": " / ".join(dict.fromkeys("all" if value is None else describe(value) for value in found)),
            "reason": choice.reason,
        })  # fmt: skip
    return pd.DataFrame(rows).set_index("setting")
