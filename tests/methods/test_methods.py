"""Methods: losses against slow hand-written versions, pairs, gradient flow, settings."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from brainssl_utils.errors import CourseError
from brainssl_utils.methods import METHODS, make_method
from brainssl_utils.methods.base import Batch, TrainingData, project, step_generator
from brainssl_utils.methods.losses import CrossViewLoss, PairLoss
from brainssl_utils.methods.twin_network import draw_pairs
from brainssl_utils.metrics import contrastive_accuracy, reference_correlation_accuracy

SHAPES = [(2, 3), (5, 8), (16, 4)]


def cosine(a: Tensor, b: Tensor) -> float:
    return float(a @ b / (a.norm() * b.norm()))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_cross_view_loss_equals_the_sum_written_out(shape: tuple[int, int], temperature: float) -> None:
    torch.manual_seed(sum(shape))
    z1, z2 = torch.randn(shape), torch.randn(shape)
    n, total = shape[0], 0.0
    for a, b in ((z1, z2), (z2, z1)):
        for i in range(n):
            terms = [math.exp(cosine(a[i], b[k]) / temperature) for k in range(n)]
            total -= math.log(terms[i] / sum(terms))
    assert float(CrossViewLoss(temperature)(z1, z2)) == pytest.approx(total / (2 * n), rel=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_simclr_loss_is_eq_1_with_z_k(shape: tuple[int, int]) -> None:
    torch.manual_seed(sum(shape))
    z = torch.randn(2 * shape[0], shape[1])
    n, total = shape[0], 0.0
    for i in range(2 * n):
        j = (i + n) % (2 * n)
        below = sum(math.exp(cosine(z[i], z[k]) / 0.1) for k in range(2 * n) if k != i)
        total -= math.log(math.exp(cosine(z[i], z[j]) / 0.1) / below)
    loss = make_method("simclr", image_size=32).loss(z[:n], z[n:])
    assert float(loss) == pytest.approx(total / (2 * n), rel=1e-4)


@pytest.mark.parametrize("shape", [(4, 3), (16, 5)])
def test_barlow_loss_is_eq_2_with_the_square_and_the_product(shape: tuple[int, int]) -> None:
    torch.manual_seed(1)
    z1, z2 = torch.randn(shape), torch.randn(shape)
    n, d = shape
    mean1, mean2 = z1.mean(0), z2.mean(0)
    total = 0.0
    for i in range(d):
        for j in range(d):
            c = sum(float((z1[b, i] - mean1[i]) * (z2[b, j] - mean2[j])) for b in range(n))
            c /= n * float(z1[:, i].std(correction=0) * z2[:, j].std(correction=0))
            total += (1 - c) ** 2 if i == j else 5e-3 * c**2
    loss = make_method("barlow_twins", image_size=32, off_diagonal_weight=5e-3).loss(z1, z2)
    assert float(loss) == pytest.approx(total, rel=1e-2)  # Lightly adds 1e-5 to the variances


def test_pair_loss_by_hand() -> None:
    z1 = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    z2 = torch.tensor([[0.0, 2.0], [0.0, 2.0], [3.0, 0.0]])
    same = torch.tensor([True, False, False])
    # On the unit sphere: distances sqrt 2, sqrt 2, 0. Costs: 2 (positive), 0 (beyond the margin), 1 (margin squared).
    assert float(PairLoss(margin=1.0)(z1, z2, same)) == pytest.approx((2 + 0 + 1) / 3, abs=1e-4)
    # Published form: (d^2 - 1[different])^2 without normalisation: d^2 = 5, 5, 4.
    assert float(PairLoss(None, normalize=False)(z1, z2, same)) == pytest.approx((25 + 16 + 9) / 3, rel=1e-4)


def test_losses_refuse_nonsense() -> None:
    with pytest.raises(CourseError, match="temperature"):
        CrossViewLoss(0)
    with pytest.raises(CourseError, match="margin"):
        PairLoss(-1.0)


def data(n: int = 60, size: int = 32, seed: int = 0) -> TrainingData:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 4
    images = torch.randint(0, 256, (n, 1, size, size), generator=generator, dtype=torch.uint8)
    rows = torch.arange(n)
    return TrainingData(images, labels, rows // 2, rows // 6, rows[:50], rows[:20], rows[50:], rows[:0], seed)


def step_gradients(name: str, **settings: object) -> tuple[Tensor, dict[str, Tensor]]:
    method = make_method(name, image_size=32, **settings)
    method.setup_data(data())
    method._trainer = type("Trainer", (), {"num_training_batches": 1, "global_step": 0, "optimizers": []})()
    batch = Batch(method.data.images[:24], method.data.images[:8], method.data.labels[:8], torch.arange(24))
    loss = method.training_step(batch, 0)
    loss.backward()
    return loss, {name: p.grad for name, p in method.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", sorted(METHODS))
def test_a_step_of_every_method_reaches_encoder_and_classifier(name: str) -> None:
    loss, gradients = step_gradients(name)
    assert loss.isfinite()
    assert any(key.startswith("encoder") for key in gradients) and any(
        key.startswith("classifier") for key in gradients
    )
    assert all(gradient.isfinite().all() for gradient in gradients.values())


@pytest.mark.parametrize("joint", [True, False])
def test_the_classifiers_gradient_reaches_the_encoder_only_in_joint_training(joint: bool) -> None:
    method = make_method("proposed_model", image_size=32, joint=joint)
    method.setup_data(data())
    # Without the pretext loss the encoder's gradient is the classifier's alone.
    method.pretext_loss = lambda features, context: sum(view.sum() * 0 for view in features)  # type: ignore[method-assign]
    method._trainer = type("Trainer", (), {"num_training_batches": 1, "global_step": 0, "optimizers": []})()
    method.training_step(
        Batch(method.data.images[:24], method.data.images[:8], method.data.labels[:8], torch.arange(24)), 0
    ).backward()
    total = sum(float(p.grad.abs().sum()) for p in method.encoder.parameters())
    assert (total > 0) == joint


def test_pairs_from_labels_agree_with_the_labels_and_pairs_from_views_never_read_them() -> None:
    given = data()
    first, second, same = draw_pairs(given, "labels", 200, seed=3)
    assert ((given.labels[first] == given.labels[second]) == same).all() and (first != second).all()
    assert same.sum() == 200 and len(same) == 400

    shuffled = data()
    shuffled.labels = shuffled.labels[torch.randperm(60)]
    for kind in ("views", "views_clean"):
        for one, other in zip(draw_pairs(given, kind, 200, 3), draw_pairs(shuffled, kind, 200, 3)):
            assert torch.equal(one, other)


def test_clean_pairs_keep_copies_and_patients_out_of_the_negatives() -> None:
    given = data()
    first, second, same = draw_pairs(given, "views_clean", 500, seed=1)
    assert (first[same] == second[same]).all()
    assert (given.group[first[~same]] != given.group[second[~same]]).all()
    assert (given.patient[first[~same]] != given.patient[second[~same]]).all()
    plain_first, plain_second, plain = draw_pairs(given, "views", 500, seed=1)
    assert (given.patient[plain_first[~plain]] == given.patient[plain_second[~plain]]).any()


def test_pairs_that_do_not_exist_are_an_error() -> None:
    one_class = data()
    one_class.labels = torch.zeros(60, dtype=torch.int64)
    with pytest.raises(CourseError, match="negative"):
        draw_pairs(one_class, "labels", 10, 0)


def test_nnclr_neighbours_come_from_the_queue() -> None:
    method = make_method("nnclr", image_size=32, queue_size=8)
    bank = torch.nn.functional.normalize(torch.randn(8, 64), dim=1)
    buffers = dict(method.queue.named_buffers())
    queries = torch.nn.functional.normalize(bank[[3, 5]] + 0.01 * torch.randn(2, 64), dim=1)
    stored = next(buffer for buffer in buffers.values() if buffer.numel() == bank.numel())
    stored.copy_(bank.T if stored.shape != bank.shape else bank)
    assert torch.allclose(method.neighbours(queries, update=False), bank[[3, 5]], atol=1e-5)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_settings_tables_are_read_from_the_config(name: str) -> None:
    protocol = "fair" if METHODS[name].published is None else "published"
    table = make_method(name, protocol, image_size=32).settings_table()
    assert list(table.columns) == ["paper says", "reference does", "we chose"]
    assert table.loc["image size", "we chose"] == "32" and table.index.is_unique


def test_a_seed_fixes_the_weights() -> None:
    one, same, other = (make_method("simclr", image_size=32, seed=seed) for seed in (1, 1, 2))
    weights = [method.encoder.features[0].weight for method in (one, same, other)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_unknown_names_and_settings_are_refused() -> None:
    for arguments, word in ((("bylo",), "bylo"), (("simclr", "best"), "best")):
        with pytest.raises(CourseError, match=word):
            make_method(*arguments)
    with pytest.raises(CourseError, match="temprature"):
        make_method("simclr", temprature=0.5)
    for size in (1, 2.5, -0.1, 0.0):
        with pytest.raises(CourseError, match="queue_size"):
            make_method("nnclr", queue_size=size)
    for setting in ("classifier_reads", "metrics_on"):
        with pytest.raises(CourseError, match=setting):
            make_method("proposed_model", **{setting: "pixels"})


@pytest.mark.parametrize(("width", "head"), [(64, (256, 128, 64)), (16, (32, 16)), (1, (1,))])
def test_barlows_weight_belongs_to_the_width_of_its_projections(width: int, head: tuple[int, ...]) -> None:
    method = make_method("barlow_twins", image_size=32, head_widths=head)
    assert method.config["off_diagonal_weight"] == method.loss.lambda_param == 10 / max(1, width - 1)
    assert make_method("barlow_twins", "published", image_size=32).config["off_diagonal_weight"] == 10 / 127


def test_a_queue_that_is_a_share_of_the_pool_has_its_length_from_the_data() -> None:
    method = make_method("nnclr", image_size=32)
    with pytest.raises(CourseError, match="share of the pool"):
        method.neighbours(torch.randn(2, 64), update=False)
    method.setup_data(data())
    assert method.queue.bank.shape == (5, 64)  # a tenth of 50
    other = make_method("nnclr", image_size=32, queue_size=0.5)
    other.set_queue(50, seed=0)
    assert len(other.queue.bank) == 25
    same = make_method("nnclr", image_size=32)
    same.set_queue(50, seed=0)
    assert torch.equal(same.queue.bank, method.queue.bank)
    fixed = make_method("nnclr", image_size=32, queue_size=8)
    before = fixed.queue.bank.clone()
    fixed.setup_data(data())
    assert torch.equal(fixed.queue.bank, before)


@pytest.mark.parametrize("joint", [True, False])
@pytest.mark.parametrize(("reads", "width"), [("features", 48), ("projections", 64), ("maps", 64 * 16)])
def test_a_classifier_reads_what_it_is_told_to(reads: str, width: int, joint: bool) -> None:
    settings = {"encoder": "paper+96-48", "classifier_reads": reads, "joint": joint}
    method = make_method("proposed_model", "published", image_size=32, **settings)
    images = torch.rand(3, 1, 32, 32)
    read = method.for_classifier(images)
    maps = method.encoder.maps(images).flatten(1)
    features = method.encoder.dense(maps)
    wanted = {"features": features, "projections": method.projection_head(features), "maps": maps}[reads]
    assert read.shape == (3, width) and torch.equal(read, wanted)
    assert torch.equal(method.predict(images), method.classifier(read).argmax(1))
    method.pretext_loss = lambda features, context: sum(view.sum() * 0 for view in features)  # type: ignore[method-assign]
    method.setup_data(data())
    method._trainer = type("Trainer", (), {"num_training_batches": 1, "global_step": 0, "optimizers": []})()
    batch = Batch(method.data.images[:24], method.data.images[:8], method.data.labels[:8], torch.arange(24))
    method.training_step(batch, 0).backward()
    moved = {part: _reached(getattr(method, part)) for part in ("encoder", "projection_head", "classifier")}
    assert moved == {"encoder": joint, "projection_head": joint and reads == "projections", "classifier": True}
    assert _reached(method.encoder.dense) == (joint and reads != "maps")


def _reached(part: torch.nn.Module) -> bool:
    return any(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in part.parameters())


def test_maps_are_refused_of_an_encoder_without_them() -> None:
    flat = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(32 * 32, 8))
    with pytest.raises(CourseError, match=r"no maps.*'features'"):
        make_method("proposed_model", image_size=32, encoder=flat, classifier_reads="maps")


def test_metrics_are_taken_where_they_are_asked_for_and_nothing_else_changes() -> None:
    notes = {}
    for on in ("features", "projections"):
        method = make_method("proposed_model", "published", image_size=32, metrics_on=on)
        method.setup_data(data())
        method._trainer = type("Trainer", (), {"num_training_batches": 1, "global_step": 0, "optimizers": []})()
        batch = Batch(method.data.images[:24], method.data.images[:8], method.data.labels[:8], torch.arange(24))
        method.training_step(batch, 0)
        notes[on] = {name: float(value[0]) for name, value in method._sums.items()}
        views = method.pretext_views(batch, step_generator(0, 0)).views
        encoded = [method.encoder(view) for view in views]
        h1, h2 = encoded if on == "features" else project(method.projection_head, encoded)
        assert notes[on]["c_acc"] == pytest.approx(contrastive_accuracy(h1, h2), abs=0.05)
        assert notes[on]["r_acc_reference"] == pytest.approx(reference_correlation_accuracy(h1, h2), abs=0.05)
    for name in ("c_loss", "p_loss", "p_acc"):
        assert notes["features"][name] == notes["projections"][name]
    assert notes["features"]["r_acc"] != notes["projections"]["r_acc"]


def test_the_widths_of_the_dense_layers_are_among_the_settings_the_study_leaves_open() -> None:
    row = "widths of the encoder's dense layers"
    shown = {
        name: make_method(name, "published", image_size=32).settings_table().loc[row]
        for name in ("proposed_model", "simclr", "masked_encoder")
    }
    assert shown["proposed_model"]["paper says"] == "three, widths not given"
    assert [shown[name]["we chose"] for name in shown] == ["256-128-64", "128", "none"]
