"""What every method shares: drawing views, one pass through the encoder, the classifier, metrics, history, checkpoints.

A method file adds what makes it that method: its pretext loss, and, where it needs one, another way to draw its views.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, is_dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from brainssl_utils import metrics, validity
from brainssl_utils.augmentation import views_of
from brainssl_utils.checks import check_number
from brainssl_utils.compute import hardware
from brainssl_utils.compute.processes import shared_out
from brainssl_utils.encoders import as_encoder
from brainssl_utils.errors import CourseError
from brainssl_utils.networks import Classifier
from brainssl_utils.views import to_float

R_ACC_CASES = 512
VIEWS = ("views", "classifier_views")
LATER: dict[str, Any] = {"one_per_group": False, "classifier_reads": "features", "metrics_on": "features"}
"""Settings younger than the first records, with the value under which a training is what it was without them: its key names
them only where they differ, so records made before them stay valid."""
METHODS: dict[str, type[Method]] = {}
"""Every method by name. A class that names itself is in it as soon as it is defined."""


class Batch(NamedTuple):
    """One training step's images, as the corpus keeps them."""

    images: Tensor  # uint8 (B, 1, S, S): unlabelled images, then the labelled ones
    labeled: Tensor  # uint8 (L, 1, S, S): the labelled ones again
    labels: Tensor  # int64 (L,)
    rows: Tensor  # int64 (B,): the corpus rows of `images`


class Pretext(NamedTuple):
    """What a pretext task compares in one step.

    Attributes:
        views: the batches to encode, each float (B, 1, S, S).
        context: what the loss must know of how they were drawn (masks, which pairs belong together); None without.
    """

    views: Sequence[Tensor]
    context: Any = None


@dataclass
class TrainingData:
    """All a method may look at while it trains.

    Attributes:
        images: uint8 (N, 1, S, S), the whole corpus at the training size.
        labels: int64 (N,); only those of `labeled` rows may be read by a self-supervised method.
        group: int64 (N,), the group of copies of each row.
        patient: (N,) integer codes of patients, -1 where unknown.
        pool: rows whose images may be seen (unlabelled and labelled).
        labeled: rows whose labels may be seen.
        test: rows for the curve of val_p_acc and the final report.
        validation: rows for choices; may be empty.
        seed: seeds batches and views.
    """

    images: Tensor
    labels: Tensor
    group: Tensor
    patient: Tensor
    pool: Tensor
    labeled: Tensor
    test: Tensor
    validation: Tensor
    seed: int


class Setting(NamedTuple):
    """A row of the table "paper says / reference does / we chose"; `key` is the setting's place in `Method.config`."""

    setting: str
    paper: str
    reference: str
    key: str


def step_generator(seed: int, step: int) -> torch.Generator:
    """Return the random generator of one training step: a resumed run draws what an uninterrupted one would have."""
    return torch.Generator().manual_seed(seed * 1_000_003 + step)


class Method(pl.LightningModule):
    """A way to train an encoder: self-supervised on all images, with a classifier on the labelled ones beside it.

    A subclass that sets `name` is a method of the course: `make_method`, `brainssl train`, records, tables and figures
    know it from then on.

    Args:
        encoder: maps images (B, 1, S, S) in 0..1 to features (B, D): one of the course's, or any network (see
            `encoders.OwnEncoder`, which it is wrapped in).
        n_classes: classes of the labelled images, 2 or more.
        views: the views that the pretext task compares: a preset's name ("paper" flips only), a `views.Recipe`, or a
            function of the user's own (see `augmentation`).
        classifier_views: the labelled images' views, likewise.
        classifier_widths: hidden layers of the classifier; () is a linear probe.
        joint: True lets the classification loss train the encoder too; False stops its gradient at the features.
        learning_rate: of Adam, above 0.
        one_per_group: the pretext task sees one image of each group of copies, a labelled one where there is one. Two
            copies in a batch are pushed apart as if they were two patients' images. An epoch keeps its number of steps.

    Attributes:
        config: everything chosen, as plain values; the record keeps it.
        history: one dict an epoch.
        protocol: the name under which the result is filed ("published", "fair", or "custom" for a class built by hand).
        changes: settings in which the method differs from its protocol.

    Raises:
        CourseError: a setting that cannot work; the message names it.
    """

    name: ClassVar[str] = ""
    title: ClassVar[str] = ""
    colour: ClassVar[str] = "#8A8A8A"
    """Of its lines and bars in every figure; apart from the others' with any common colour blindness."""
    lesson: ClassVar[str] = ""
    """The notebook that teaches it and makes its records."""
    published: ClassVar[dict[str, Any] | None] = None
    """Settings, `encoder` among them, with which its study had it; None where the studies have no such row."""
    uses_unlabeled: ClassVar[bool] = True
    """Whether a step shows it unlabelled images; without, it is given a whole batch of labelled ones."""
    plans_length: ClassVar[bool] = False
    """Whether something is planned for a training's length, as a schedule is: a finished one is not taken further then."""
    two_views: bool = True
    """Whether the encoded views are two of one image each, which c_acc and r_acc compare."""
    classifier_reads: str = "features"
    """What the classifier is given: the encoder's features, unless a method says otherwise."""

    SETTINGS: ClassVar[Sequence[Setting]] = ()
    COMMON_SETTINGS: ClassVar[Sequence[Setting]] = (
        Setting("image size", "96 x 96", "96 x 96", "image_size"),
        Setting("optimiser", "Adam, rate not given", "Adam, 1e-3", "learning_rate"),
        Setting(
            "contrastive views", "section 2.2.1: crop and blur; section 3: flip", "flip, crop, jitter 0.5", "views"
        ),
        Setting("classifier's views", "not given", "flip, crop, jitter 0.2", "classifier_views"),
        Setting(
            "encoder",
            "3 x [2 conv 3x3 + pool], 16-32-64, three dense layers",
            "4 conv 3x3 stride 2, 128, dense 128",
            "encoder",
        ),
        Setting("widths of the encoder's dense layers", "three, widths not given", "one, 128", "dense_widths"),
        Setting("one image a group of copies in pre-training", "not said", "no", "one_per_group"),
    )

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        if not cls.__dict__.get("name"):
            return  # a base of several methods, or a variant without a name of its own
        taken = METHODS.get(cls.name)
        if taken is not None and taken.__module__ != cls.__module__:
            raise CourseError(
                f"a method called '{cls.name}' is there already ({taken.__module__}): choose another name."
            )
        METHODS[cls.name] = cls

    def __init__(
        self,
        encoder: nn.Module,
        n_classes: int = 4,
        views: Any = "contrastive",
        classifier_views: Any = "classification",
        classifier_widths: Sequence[int] = (),
        joint: bool = False,
        learning_rate: float = 1e-3,
        one_per_group: bool = False,
    ) -> None:
        super().__init__()
        check_number("n_classes", n_classes, at_least=2, whole=True)
        check_number("learning_rate", learning_rate, above=0)
        self.save_hyperparameters(ignore=["encoder"], logger=False)  # the settings of the subclass are among them
        self.encoder = encoder = as_encoder(encoder)
        self.joint = joint
        self.classifier = Classifier(encoder.out_dim, n_classes, classifier_widths)
        self.views = views_of(views, encoder.image_size)
        self.classifier_views = views_of(classifier_views, encoder.image_size, "classifier_views")
        chosen = {name: plain(value) for name, value in self.hparams.items()}
        drawn = {name: getattr(self, name).setting for name in VIEWS}
        self.config: dict[str, Any] = {**encoder.about, **chosen, **drawn}
        self.protocol = "custom"
        self.changes: dict[str, Any] = {}
        self.history: list[dict[str, float | int | None]] = []
        self.views_seen = 0
        self.data: TrainingData | None = None
        self.prepared: Any = None
        self._sums: dict[str, list[float]] = {}
        self._first: FirstWeights | None = None
        self._weights_seed: int | None = None
        self._versions: list[int] = []

    @classmethod
    def made_by(cls, protocol: str) -> str:
        """The notebook that makes its records under a protocol."""
        return cls.lesson

    # What a method fills in ---------------------------------------------------------------------------------------

    def prepare(self, data: TrainingData) -> Any:
        """Return what the method draws once before training (a list of pairs, fixed masks); it is `self.prepared` then."""
        return None

    def pretext_views(self, batch: Batch, generator: torch.Generator) -> Pretext:
        """Return the views to encode: two independent draws of each image unless overridden."""
        return Pretext([self.views(batch.images, generator), self.views(batch.images, generator)])

    def pretext_loss(self, features: Sequence[Tensor], context: Any = None) -> Tensor:
        """Return the pretext loss, a scalar, of the encoded views, each (B, D); `context` is that of `pretext_views`."""
        raise NotImplementedError

    def labeled_views(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Return the views of the labelled images that the classifier learns from, (L, 1, S, S)."""
        return self.classifier_views(batch.labeled, generator)

    def for_classifier(self, images: Tensor) -> Tensor:
        """Return what the classifier reads of float images (B, 1, S, S): their features (B, D) unless overridden."""
        return self.encoder(images)

    def compared(self, features: Sequence[Tensor]) -> Sequence[Tensor]:
        """Return what c_acc and r_acc are taken on, given the encoded views: these themselves unless overridden."""
        return features

    def chance_loss(self, images: Tensor, n: int) -> float | None:
        """Return the pretext loss of the best answer that is the same for every image; None where that is not known.

        Args:
            images: uint8 (B, 1, S, S), some of those that training may see.
            n: images in a step.
        """
        return None

    # The step -----------------------------------------------------------------------------------------------------

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        generator = step_generator(self.training_data.seed, self.global_step)
        pretext = self.pretext_views(batch, generator)
        labeled = self.labeled_views(batch, generator)
        sizes = [len(view) for view in pretext.views]
        if self.joint and self.classifier_reads == "features":
            # One pass through the encoder for all views: large batches keep both cores busy.
            features = shared_out(self.encoder, torch.cat([*pretext.views, labeled]))
            *encoded, probe = features.split([*sizes, len(labeled)])
        else:
            encoded = shared_out(self.encoder, torch.cat(list(pretext.views))).split(sizes) if sizes else ()
            # Where the gradient stops at what the classifier reads, none need be carried back through the encoder.
            with torch.set_grad_enabled(self.joint):
                probe = shared_out(self.for_classifier, labeled)
        self.views_seen += sum(sizes) + len(labeled)

        scores = self.classifier(probe).float()
        p_loss = F.cross_entropy(scores, batch.labels)
        self.note("p_loss", p_loss)
        self.note("p_acc", (scores.argmax(1) == batch.labels).float().mean())
        if not sizes:
            return p_loss
        c_loss = self.pretext_loss(encoded, pretext.context)
        self.note("c_loss", c_loss)
        if self.two_views:
            h1, h2 = (view.detach().float() for view in self.compared(encoded))
            self.note_agreement(h1, h2, batch_idx)
        return c_loss + p_loss

    def in_float32(self) -> torch.autocast:
        """A context without autocast: losses divide by a small temperature, which magnifies bfloat16's rounding."""
        return torch.autocast(self.device.type, enabled=False)

    def note(self, name: str, value: Tensor | float) -> None:
        """Add a step's value to the epoch's mean."""
        self._sums.setdefault(name, []).append(value.detach() if isinstance(value, Tensor) else value)  # type: ignore[arg-type]

    def note_agreement(self, h1: Tensor, h2: Tensor, step: int) -> None:
        """Note c_acc at every step, and r_acc too unless features are so wide (D x D) that a sample must stand for all.

        The sample is `R_ACC_CASES` of the features at the first, middle and last step of an epoch, each compared with all.
        Of features that need no sample, r_acc is noted by the reference's formula as well, flaw included: published figures
        are made by it.
        """
        steps = int(self.trainer.num_training_batches)
        self.note("c_acc", metrics.contrastive_accuracy(h1, h2))
        if h1.shape[1] <= R_ACC_CASES or step in {0, steps // 2, steps - 1}:
            self.note("r_acc", metrics.correlation_accuracy(h1, h2, cases=R_ACC_CASES))
            self.note("dead_features", metrics.dead_features(h1, h2))
        if h1.shape[1] <= R_ACC_CASES:
            self.note("r_acc_reference", metrics.reference_correlation_accuracy(h1, h2))

    def close_epoch(self, seconds: float) -> dict[str, float | int | None]:
        """Average the epoch's notes, add the accuracies on test and validation images, and append the row to `history`."""
        data = self.training_data
        row: dict[str, float | int | None] = {"epoch": self.current_epoch}
        columns = ("c_loss", "c_acc", "r_acc", "p_loss", "p_acc", "dead_features")
        for name in (*columns, *(extra for extra in self._sums if extra not in columns)):
            values = self._sums.get(name)
            row[name] = float(sum(float(value) for value in values) / len(values)) if values else None
        # The published curves follow the test images through training; nothing is ever chosen on this column.
        row["val_p_acc"] = self.accuracy_on(data.test)
        if len(data.validation):
            row["validation_acc"] = self.accuracy_on(data.validation)
        row["seconds"] = seconds
        self.history.append(row)
        self._sums = {}
        return row

    # Prediction ---------------------------------------------------------------------------------------------------

    def predict(self, images: Tensor, batch_size: int = 512) -> Tensor:
        """Return the predicted class, int64 (B,), of images uint8 or float in 0..1, (B, 1, S, S), not augmented."""
        return self._scores(images, batch_size).argmax(1)

    def probabilities(self, images: Tensor, batch_size: int = 512) -> Tensor:
        """Return each class's probability, float32 (B, n_classes), as the classifier's softmax has it; images as above."""
        return self._scores(images, batch_size).float().softmax(1)

    @torch.inference_mode()
    def _scores(self, images: Tensor, batch_size: int) -> Tensor:
        was_training = self.training
        self.eval()
        scores = []
        with hardware.autocast():
            for part in images.split(batch_size):
                scores.append(self.classifier(self.for_classifier(to_float(part.to(self.device)))))
        self.train(was_training)
        return torch.cat(scores).cpu()

    def accuracy_on(self, rows: Tensor) -> float | None:
        """Accuracy of the classifier on rows of the training data's corpus; None without rows."""
        if not len(rows):
            return None
        data = self.training_data
        return float((self.predict(data.images[rows]) == data.labels[rows]).float().mean())

    # Data and weights over a training's life ----------------------------------------------------------------------

    @property
    def training_data(self) -> TrainingData:
        """The data while a training lasts.

        Raises:
            CourseError: no training is under way.
        """
        if self.data is None:
            raise CourseError(f"{self.name or type(self).__name__} has no data: they are there while `fit` trains it.")
        return self.data

    def setup_data(self, data: TrainingData) -> None:
        """Receive the data before training starts."""
        self.data, self.prepared = data, self.prepare(data)

    def release(self) -> None:
        """Let go of data and trainer once training is over: a trained method keeps its weights and its history alone."""
        self.data = self.prepared = self._trainer = None
        self._sums = {}
        self._versions = _versions(self)

    def drawn_with(self, seed: int) -> None:
        """Note that the weights are as drawn with `seed`, by which a key may call them."""
        self._weights_seed, self._versions = seed, _versions(self)

    def check_unchanged(self) -> None:
        """Pass if encoder and views are those that `config`, and so the key and the record, tells of.

        Raises:
            CourseError: one of them was exchanged after the method was built.
        """
        about = getattr(self.encoder, "about", None)
        if about is None or any(self.config.get(name) != value for name, value in about.items()):
            raise CourseError(
                "method.encoder was exchanged after the method was built, and its record would tell of the old one: build it "
                "with encoder=..."
            )
        for name in VIEWS:
            if getattr(getattr(self, name), "setting", None) != self.config[name]:
                raise CourseError(
                    f"method.{name} was changed after the method was built, and its record would tell of the old ones: build "
                    f"it with {name}=..., which takes a preset's name, a Recipe or a function."
                )
            if getattr(self, name).size != self.encoder.image_size:
                raise CourseError(f"method.{name} gives views of another size than the encoder takes.")

    @property
    def first_weights(self) -> FirstWeights:
        """The weights before training, remembered at the first look; new ones where somebody else has changed them since."""
        # While it has data, training is what changes them: buffers of a batch normalisation, above all.
        changed = self.data is None and self._versions != _versions(self)
        if self._first is None or changed:
            self._first = FirstWeights(self, None if changed else self._weights_seed)
            self._versions = _versions(self)
        return self._first

    def start_over(self) -> None:
        """Go back to the first weights, with an empty history."""
        self.first_weights.restore(self)
        self.train()  # a trained method is left in evaluation mode, and Lightning leaves modes as they are
        self.history, self.views_seen, self._sums = [], 0, {}
        self._versions = _versions(self)

    # Lightning ----------------------------------------------------------------------------------------------------

    def configure_optimizers(self) -> torch.optim.Optimizer:
        # Adam keeps its moments a parameter, so one optimiser equals the reference's two as long as gradients are stopped.
        learning = [parameter for parameter in self.parameters() if parameter.requires_grad]
        return torch.optim.Adam(learning, lr=self.config["learning_rate"], fused=True)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["course"] = {"history": self.history, "views_seen": self.views_seen}
        checkpoint["hyper_parameters"] = self.config  # plain values, which a checkpoint is read with

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.history = checkpoint["course"]["history"]
        self.views_seen = checkpoint["course"]["views_seen"]

    # Telling ------------------------------------------------------------------------------------------------------

    def settings_table(self) -> pd.DataFrame:
        """Return a table: setting, "paper says", "reference does", "we chose", the last taken from `config`."""
        rows = [
            {
                "setting": row.setting,
                "paper says": row.paper,
                "reference does": row.reference,
                "we chose": describe(self._chosen(row.key)),
            }
            for row in (*self.COMMON_SETTINGS, *self.SETTINGS)
        ]
        return pd.DataFrame(rows).set_index("setting")

    def _chosen(self, key: str) -> Any:
        """A setting of the config, or one that the encoder's name stands for there."""
        return self.config[key] if key in self.config else getattr(self.encoder, key, "its own")

    @property
    def deciding(self) -> dict[str, Any]:
        """The config as a key has it: without the younger settings (`LATER`) at the value that changes nothing."""
        return {name: value for name, value in self.config.items() if name not in LATER or value != LATER[name]}


class FirstWeights:
    """A copy of a method's parameters and buffers before training, and what they are called in a key.

    `label` is "seed N" for weights as `make_method` drew them with that seed: the same on every machine. Weights of any
    other origin are called by their content.
    """

    def __init__(self, method: Method, seed: int | None) -> None:
        self.seed = seed
        self._tensors = {name: tensor.detach().clone() for name, tensor in _tensors(method).items()}
        if seed is None:
            # What is saved, and no more: a loss without a memory bank has buffers that nobody ever fills or reads.
            saved = sorted(method.state_dict().items())
            arrays = [tensor.detach().float().cpu().numpy() for _, tensor in saved]
            self.label = f"content {validity.digest(*map(np.ascontiguousarray, arrays))}"
        else:
            self.label = f"seed {seed}"

    @torch.no_grad()
    def restore(self, method: Method) -> None:
        """Copy the weights back into `method`."""
        for name, tensor in _tensors(method).items():
            saved = self._tensors[name]
            if tensor.shape != saved.shape:  # a buffer whose length the last training's data have set
                tensor.resize_(saved.shape)
            tensor.copy_(saved)


def _tensors(method: Method) -> dict[str, Tensor]:
    return {**dict(method.named_parameters()), **dict(method.named_buffers())}


def _versions(method: Method) -> list[int]:
    """How often each tensor was written to: PyTorch counts it, and so tells untouched weights from changed ones."""
    return [tensor._version for tensor in _tensors(method).values()]


def plain(value: Any) -> Any:
    """A setting as JSON knows it: tuples become lists, dataclasses dicts, NumPy's numbers numbers."""
    if isinstance(value, np.generic):
        return value.item()
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def describe(value: Any) -> str:
    """A setting as a person writes it: lists with dashes, yes and no, short numbers, code by its path."""
    if isinstance(value, dict):
        arguments = value.get("arguments", {}) if "path" in value else value
        named = ", ".join(f"{name} {describe(item)}" for name, item in arguments.items())
        return " ".join(filter(None, [value.get("path", ""), named]))
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return "-".join(str(item) for item in value) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def project(head: nn.Module, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Send every batch of views through a head in one pass, and return the projections in float32."""
    return head(torch.cat(list(features))).float().split([len(view) for view in features])
