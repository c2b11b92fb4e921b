"""One process, one variant: what `throughput.py` starts, in turns. Prints one line of JSON.

    python benchmarks/variants.py '{"variant": "fit", "method": "simclr", "data": "phantoms"}'

Views a second count images sent through the encoder and trained on. The first steps, which warm up, are not timed.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
import zipfile
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from brainssl_utils.compute.machine import peak_memory

Result = dict[str, Any]


# The public fit ---------------------------------------------------------------------------------------------------


def fit(
    method: str = "simclr",
    data: str = "phantoms",
    size: int = 96,
    batch: int = 255,
    steps: int = 24,
    times: int = 1,
    protocol: str = "fair",
    **_: object,
) -> Result:
    """Train through the public `fit`: two epochs of `steps`, the second timed; everything an epoch does counts."""
    from brainssl_utils.methods import make_method
    from brainssl_utils.settings import get_profile
    from brainssl_utils.training import trainer as training

    corpus, split = many(data, times)
    sizes = {"image_size": size, "batch_size": batch, "labeled_batch_size": batch // 5}
    profile = replace(get_profile("paper"), name="bench", epochs=2, steps_per_epoch=steps, **sizes)
    model = make_method(method, protocol, size, 0, len(corpus.classes))
    clock = Clock(model)
    training.fit(model, corpus, split, profile, probes=(), health=False, progress=False)
    a_step = model.views_seen / (2 * steps)
    return {"views_per_second": steps * a_step / clock.timed, "shares": clock.shares(), "images": len(corpus)}


class Clock:
    """Times a method's epochs and the parts of its steps, from outside, through Lightning's hooks."""

    PARTS = ("views", "encoder forward", "metrics", "backward", "optimiser")

    def __init__(self, model: Any) -> None:
        self.model = model
        self.spent: dict[str, float] = defaultdict(float)
        self.epochs: list[float] = []
        model.pretext_views = self.wrap("views", model.pretext_views)
        model.labeled_views = self.wrap("views", model.labeled_views)
        model.encoder.forward = self.wrap("encoder forward", model.encoder.forward)
        model.note_agreement = self.wrap("metrics", model.note_agreement)
        model.training_step = self.wrap("training step", model.training_step)
        model.close_epoch = self.wrap("end of epoch", model.close_epoch)
        model.on_before_backward = lambda loss: self.start("backward")
        model.on_after_backward = lambda: self.stop("backward")
        model.on_before_optimizer_step = lambda optimizer: self.start("optimiser")
        model.on_train_batch_end = lambda *_: self.stop("optimiser")
        model.on_train_epoch_start = self.epoch
        model.on_train_end = self.epoch
        self.since: dict[str, float] = {}

    def start(self, part: str) -> None:
        self.since[part] = time.perf_counter()

    def stop(self, part: str) -> None:
        self.spent[part] += time.perf_counter() - self.since[part]

    def wrap(self, part: str, work: Callable) -> Callable:
        def timed(*arguments: Any, **options: Any) -> Any:
            if not self.model.training:  # the test images at the end of an epoch: part of that, not of a step
                return work(*arguments, **options)
            start = time.perf_counter()
            try:
                return work(*arguments, **options)
            finally:
                self.spent[part] += time.perf_counter() - start

        return timed

    def epoch(self) -> None:
        self.epochs.append(time.perf_counter())
        if len(self.epochs) == 2:
            self.spent.clear()

    @property
    def timed(self) -> float:
        return self.epochs[-1] - self.epochs[1]

    def shares(self) -> dict[str, float]:
        """Share of the timed epochs: the parts of a step, head and loss, and everything else."""
        shares = {part: self.spent[part] / self.timed for part in self.PARTS}
        inside = sum(shares[part] for part in ("views", "encoder forward", "metrics"))
        shares["head, classifier, loss"] = self.spent["training step"] / self.timed - inside
        shares["end of epoch"] = self.spent["end of epoch"] / self.timed
        shares["everything else"] = 1 - sum(shares.values())
        return shares


def many(data: str, times: int) -> tuple[Any, Any]:
    """The corpus `times` over, with a random split; copies of rows count as images of their own."""
    from brainssl_utils.data.corpus import Copies
    from brainssl_utils.data.loading import load_corpus
    from brainssl_utils.data.splits.draw import paper_split

    corpus = load_corpus(data, progress=False)
    if times > 1:
        files = pd.concat([corpus.files] * times, ignore_index=True)
        marks = pd.concat([corpus.table[["phash", "group"]]] * times, ignore_index=True)
        images = np.tile(corpus.images, (times, 1, 1, 1))
        corpus = replace(corpus, images=images, files=files, copies=Copies(marks, corpus.links))
    return corpus, paper_split(corpus, 0, test=308 if len(corpus) > 3000 else None)


# The stock recipe -------------------------------------------------------------------------------------------------


def stock(method: str = "simclr", data: str = "phantoms", size: int = 96, batch: int = 255, **_: object) -> Result:
    """The recipe of Lightly's tutorials: images from disk through PIL transforms in loader workers, float32.

    Timed between the workers' head start and the end of their work, both of which would flatter it: the first steps
    use what they prepared while the encoder warmed up, and before the last ones they have nothing left to prepare.
    """
    from lightly.data import LightlyDataset
    from lightly.loss import BarlowTwinsLoss, NTXentLoss
    from lightly.models.modules import NNCLRPredictionHead, NNMemoryBankModule
    from lightly.models.modules.heads import SimCLRProjectionHead
    from lightly.transforms import SimCLRTransform
    from torchvision.transforms import Compose, Grayscale

    warm, timed = 3, 6
    workers = os.cpu_count() or 1
    in_advance = 2 * workers  # batches a loader prepares beforehand: prefetch_factor is 2
    batch += batch // 5  # fit's batch: unlabelled and labelled images together
    with tempfile.TemporaryDirectory() as folder:
        write_images(data, Path(folder), batch * (warm + timed + in_advance))
        transform = Compose([Grayscale(), SimCLRTransform(input_size=size, normalize=None)])
        dataset = LightlyDataset(input_dir=folder, transform=transform)
        loader = torch.utils.data.DataLoader(
            dataset, batch_size=batch, shuffle=True, drop_last=True, num_workers=workers
        )
        encoder = textbook_encoder(size)
        width = 64 * (size // 8) ** 2
        head = SimCLRProjectionHead(width, 256, 64, batch_norm=False)
        classifier = nn.Sequential(nn.Linear(width, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 4))
        predictor, bank = NNCLRPredictionHead(64, 256, 64), NNMemoryBankModule(size=(1024, 64))
        criterion = BarlowTwinsLoss() if method == "barlow_twins" else NTXentLoss(0.1)
        modules = nn.ModuleList([encoder, head, predictor, classifier])
        optimizer = torch.optim.Adam(modules.parameters(), lr=1e-3)
        seconds: list[float] = []
        start = time.perf_counter()
        while len(seconds) < warm + timed:
            for (x0, x1), target, _names in loader:
                h0, h1 = encoder(x0), encoder(x1)
                z0, z1 = head(h0), head(h1)
                if method == "nnclr":
                    p0, p1 = predictor(z0), predictor(z1)
                    loss = 0.5 * (criterion(bank(z0.detach()), p1) + criterion(bank(z1.detach(), update=True), p0))
                else:
                    loss = criterion(z0, z1)
                if method == "proposed_model":
                    few = batch // 6
                    loss = loss + nn.functional.cross_entropy(classifier(h0[:few]), target[:few] % 4)
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
                seconds.append(time.perf_counter() - start)
                start = time.perf_counter()
                if len(seconds) == warm + timed:
                    break
    return {"views_per_second": 2 * batch * timed / sum(seconds[warm:])}


def textbook_encoder(size: int) -> nn.Sequential:
    """The study's encoder, written as its text has it: ReLU before pooling."""
    layers: list[nn.Module] = []
    for before, width in ((1, 16), (16, 32), (32, 64)):
        layers += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU()]
        layers += [nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten())


def write_images(data: str, folder: Path, count: int) -> None:
    """Put about `count` of the image files into `folder`, as a folder of class folders."""
    from brainssl_utils.data.phantoms.write import write_phantoms

    if data == "phantoms":
        write_phantoms(folder, count, 0)
        return
    archives = sorted(Path(data).rglob("*.zip"))
    if not archives:
        raise SystemExit(f"{data}: the stock recipe reads the zips of the archives, and none is here.")
    for number, path in enumerate(archives):
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.lower().endswith((".jpg", ".jpeg", ".png"))]
            for name in names[:: max(1, len(names) * len(archives) // count)][: count // len(archives) + 1]:
                target = folder / Path(name).parent.name / f"{number}_{Path(name).name}"
                target.parent.mkdir(exist_ok=True)
                target.write_bytes(archive.read(name))


# The bare encoder -------------------------------------------------------------------------------------------------

LEVERS = ("bfloat16", "channels_last", "keep_memory", "pool_first", "onednn", "huge_pages")


def bare(size: int = 96, batch: int = 255, steps: int = 12, head: bool = False, **levers: Any) -> Result:
    """Encoder (and projection head) on ready tensors, forward, backward and Adam, with some of the levers."""
    from brainssl_utils.compute import hardware
    from brainssl_utils.encoders import make_encoder
    from brainssl_utils.networks import PaperEncoder, ProjectionHead

    if levers.get("keep_memory"):
        hardware.keep_freed_memory()
    if levers.get("huge_pages"):
        hardware.use_huge_pages()
    views = 2 * (batch + batch // 5) + (batch // 5 if head else 0)
    model: nn.Module = make_encoder("paper", size) if levers.get("pool_first") else textbook_encoder(size)
    if isinstance(model, PaperEncoder) and not levers.get("onednn"):
        model = nn.Sequential(model.features, nn.Flatten())  # what an encoder calls where that layout is not to be had
    if head:
        model = nn.Sequential(model, ProjectionHead(64 * (size // 8) ** 2))
    images = torch.rand(views, 1, size, size)
    if levers.get("channels_last"):
        model, images = (
            model.to(memory_format=torch.channels_last),
            images.contiguous(memory_format=torch.channels_last),
        )
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    warm, start = 3, 0.0
    for step in range(warm + steps):
        if step == warm:
            start = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=bool(levers.get("bfloat16"))):
            loss: Tensor = model(images).float().square().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    return {"views_per_second": steps * views / (time.perf_counter() - start)}


VARIANTS: dict[str, Callable[..., Result]] = {"fit": fit, "stock": stock, "bare": bare}


def main() -> None:
    """Run the variant named on the command line."""
    options = json.loads(sys.argv[1])
    result = VARIANTS[options.pop("variant")](**options)
    result["peak_gib"] = peak_memory()
    print(json.dumps(result))


if __name__ == "__main__":
    main()
