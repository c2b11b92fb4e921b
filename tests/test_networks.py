"""Networks: shapes, widths and the order of pooling and ReLU."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from brainssl_utils.errors import CourseError
from brainssl_utils.networks import (
    Classifier,
    Decoder,
    PaperEncoder,
    ProjectionHead,
    ReferenceEncoder,
    make_encoder,
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
