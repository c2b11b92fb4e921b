"""Networks: shapes, widths and the order of pooling and ReLU."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from brainssl_utils.encoders import make_encoder
from brainssl_utils.errors import CourseError
from brainssl_utils.networks import (
    Classifier,
    Decoder,
    PaperEncoder,
    ProjectionHead,
    ReferenceEncoder,
)


@pytest.mark.parametrize("name", ["paper", "reference"])
@pytest.mark.parametrize("size", [32, 96])
def test_encoders_give_flat_features_of_their_stated_width(name: str, size: int) -> None:
    encoder = make_encoder(name, size)
    features = encoder(torch.rand(2, 1, size, size))
    assert features.shape == (2, encoder.out_dim) and features.min() >= 0
    assert encoder.features(torch.rand(2, 1, size, size)).shape[1:] == encoder.map_shape


def test_the_papers_encoder_has_9216_features_at_96_pixels_and_the_stated_filters() -> None:
    encoder = PaperEncoder(96)
    assert encoder.out_dim == 9216
    assert [layer.out_channels for layer in encoder.features if isinstance(layer, nn.Conv2d)] == [
        16,
        16,
        32,
        32,
        64,
        64,
    ]
    assert ReferenceEncoder(96).out_dim == 128


def test_pooling_before_relu_gives_the_papers_numbers() -> None:
    encoder = PaperEncoder(32)
    plain: list[nn.Module] = []
    for layer in encoder.features:
        plain.append(layer)
        if isinstance(layer, nn.MaxPool2d):  # the order as published: convolution, ReLU, pooling
            plain[-1:] = [nn.ReLU(), layer]
    images = torch.rand(4, 1, 32, 32)
    assert torch.equal(nn.Sequential(*plain)(images).flatten(1), encoder(images))


def test_heads_end_as_asked() -> None:
    features = torch.randn(64, 20)
    assert ProjectionHead(20)(features).shape == (64, 64) and ProjectionHead(20)(features).min() >= 0
    assert ProjectionHead(20, last_relu=False)(features).min() < 0
    assert len(Classifier(20, 4, ()).layers) == 1
    assert [layer.out_features for layer in Classifier(20, 4).layers if isinstance(layer, nn.Linear)] == [256, 128, 4]


@pytest.mark.parametrize("name", ["paper", "reference"])
def test_the_decoder_gives_back_the_images_size(name: str) -> None:
    encoder = make_encoder(name, 32)
    assert Decoder(encoder)(encoder(torch.rand(3, 1, 32, 32))).shape == (3, 1, 32, 32)


def test_sizes_and_names_that_do_not_fit_are_refused() -> None:
    with pytest.raises(CourseError, match="50"):
        make_encoder("paper", 50)
    with pytest.raises(CourseError, match="resnet"):
        make_encoder("resnet")


@pytest.mark.parametrize("size", ["64", 0, -16, 64.0, True, None, float("nan")])
@pytest.mark.parametrize("name", ["paper", "reference"])
def test_an_image_size_that_is_no_whole_number_from_1_is_refused_by_name(name: str, size: object) -> None:
    with pytest.raises(CourseError, match=r"^image_size is"):
        make_encoder(name, size)


@pytest.mark.parametrize("width", [0, -1, 2.5, "64", True, None])
def test_widths_that_no_layer_can_have_are_refused_by_name(width: object) -> None:
    for make in (
        lambda: ProjectionHead(20, (32, width)),
        lambda: Classifier(20, 4, (32, width)),
        lambda: PaperEncoder(32, (8, width)),
    ):
        with pytest.raises(CourseError, match=r"^widths\[1\] is"):
            make()
    for parameter, make in {
        "width": lambda: ReferenceEncoder(32, width),
        "in_dim": lambda: ProjectionHead(width),
        "n_classes": lambda: Classifier(20, width),
    }.items():
        with pytest.raises(CourseError, match=rf"^{parameter} is"):
            make()


@pytest.mark.parametrize("widths", [64, "64", None, {64}])
def test_widths_are_a_list(widths: object) -> None:
    for make in (
        lambda: ProjectionHead(20, widths),
        lambda: Classifier(20, 4, widths),
        lambda: PaperEncoder(32, widths),
    ):
        with pytest.raises(CourseError, match=r"^widths is"):
            make()


def test_a_head_or_an_encoder_without_layers_is_refused_and_a_linear_classifier_is_not() -> None:
    for make in (lambda: ProjectionHead(20, ()), lambda: PaperEncoder(32, [])):
        with pytest.raises(CourseError, match=r"^widths is .*1 or more"):
            make()
    assert len(Classifier(20, 1, ()).layers) == 1


def test_numbers_of_numpy_are_sizes_too() -> None:
    assert make_encoder("paper", np.int64(32)).out_dim == 1024
    assert ProjectionHead(np.int64(20), [np.int32(8)]).out_dim == 8


def test_dense_layers_follow_the_papers_encoder_by_name() -> None:
    encoder = make_encoder("paper+256-128-64", 32)
    assert encoder.name == "paper+256-128-64" and encoder.out_dim == 64
    assert [layer.out_features for layer in encoder.dense if isinstance(layer, torch.nn.Linear)] == [256, 128, 64]
    images = torch.rand(3, 1, 32, 32)
    flat = make_encoder("paper", 32)
    flat.features.load_state_dict(encoder.features.state_dict())
    assert torch.equal(encoder(images), encoder.dense(flat(images))) and (encoder(images) >= 0).all()
    for name in ("paper+", "paper+a", "paper+64-", "reference+64", "paper+0"):
        with pytest.raises(CourseError):
            make_encoder(name, 32)
