"""Networks: shapes, widths and the order of pooling and ReLU."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from brainssl_utils.compute import hardware, onednn
from brainssl_utils.errors import CourseError
from brainssl_utils.networks import (
    Classifier,
    Decoder,
    Encoder,
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


def gradients(encoder: Encoder, images: torch.Tensor) -> list[torch.Tensor]:
    encoder.zero_grad()
    encoder(images).float().square().mean().backward()
    return [parameter.grad.clone() for parameter in encoder.parameters()]


@pytest.mark.parametrize("bfloat16", [False, True])
@pytest.mark.parametrize("name", ["paper", "reference"])
def test_the_layout_that_is_fast_here_changes_neither_features_nor_gradients(
    name: str, bfloat16: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, images = make_encoder(name, 32), torch.rand(6, 1, 32, 32)
    close = {"rtol": 0.05, "atol": 2e-4} if bfloat16 else {"rtol": 1e-4, "atol": 1e-7}
    share = 0.02 if bfloat16 else 1e-5  # of a parameter's largest gradient
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        fast, fast_gradients = encoder(images), gradients(encoder, images)
        monkeypatch.setattr(hardware, "has_onednn_layout", lambda: False)
        plain, plain_gradients = encoder(images), gradients(encoder, images)
    assert fast.dtype == plain.dtype and plain.abs().sum() > 0
    torch.testing.assert_close(fast, plain, **close)
    for one, other in zip(fast_gradients, plain_gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=close["rtol"], atol=share * float(other.abs().max()))


@pytest.mark.skipif(not hardware.has_onednn_layout(), reason="oneDNN's layout is used on Intel and AMD processors only")
@pytest.mark.parametrize("name", ["paper", "reference"])
def test_relu_inside_a_convolution_gives_the_same_bits_as_relu_after_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, images = make_encoder(name, 32), torch.rand(6, 1, 32, 32)
    assert onednn._relu_after(list(encoder.features)[1:]) is encoder.features[1]
    fused = [encoder(images), *gradients(encoder, images)]
    monkeypatch.setattr(onednn, "_relu_after", lambda _: None)
    for one, other in zip(fused, [encoder(images), *gradients(encoder, images)], strict=True):
        assert torch.equal(one, other) and other.abs().sum() > 0


def test_the_fast_layout_is_used_where_it_is_known_and_only_for_what_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, layouts = PaperEncoder(32), []
    encoder.features[3].register_forward_hook(lambda _, inputs, __: layouts.append(inputs[0].layout))
    monkeypatch.setattr(hardware, "has_onednn_layout", lambda: torch.backends.mkldnn.is_available())
    encoder(torch.rand(2, 1, 32, 32))
    expected = torch._mkldnn if torch.backends.mkldnn.is_available() else torch.strided
    assert layouts and set(layouts) == {expected}
    layouts.clear()
    assert encoder(torch.rand(0, 1, 32, 32)).shape == (0, encoder.out_dim)
    assert encoder.double()(torch.rand(2, 1, 32, 32, dtype=torch.float64)).dtype == torch.float64
    assert set(layouts) == {torch.strided}


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
