"""oneDNN's layout: `convolve(layers, images)` is `layers(images)`, whatever the layers, and is fast for the course's."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module
from torch.nn.utils import parametrizations, prune, weight_norm
from torch.nn.utils import spectral_norm as old_spectral_norm

from brainssl_utils.compute import hardware, onednn
from brainssl_utils.data.corpus import Corpus
from brainssl_utils.data.splits.draw import grouped_split
from brainssl_utils.encoders import make_encoder
from brainssl_utils.methods import make_method
from brainssl_utils.networks import Encoder, PaperEncoder
from brainssl_utils.training.trainer import fit

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:Full backward hook is firing:UserWarning"),
]
needs_layout = pytest.mark.skipif(
    not hardware.has_onednn_layout(), reason="oneDNN's layout is used on Intel and AMD processors only"
)


class ScaledConv2d(nn.Conv2d):
    def forward(self, images: Tensor) -> Tensor:
        return 2 * super().forward(images)


class Shifted(nn.Sequential):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) + 1


def conv(channels: int = 4, width: int = 8, size: int = 3, **options: object) -> nn.Conv2d:
    return nn.Conv2d(channels, width, size, **{"padding": 1, **options})


def frozen() -> nn.Sequential:
    layers = nn.Sequential(conv(), nn.ReLU(), conv(8))
    return layers.requires_grad_(False)


def one_frozen() -> nn.Sequential:
    layers = nn.Sequential(conv(), nn.ReLU(), conv(8), nn.ReLU())
    layers[0].requires_grad_(False)
    return layers


def pruned() -> nn.Sequential:
    layers = nn.Sequential(conv(), nn.ReLU())
    prune.l1_unstructured(layers[0], "weight", 0.5)
    return layers


def doubling() -> nn.Sequential:
    layers = nn.Sequential(conv(), nn.ReLU())
    plain = layers[1].forward
    layers[1].forward = lambda maps: 2 * plain(maps)
    return layers


def same_relu() -> nn.Sequential:
    relu = nn.ReLU()
    return nn.Sequential(conv(), relu, conv(8), nn.MaxPool2d(2), relu, relu)


TAKEN: dict[str, Callable[[], nn.Sequential]] = {
    "ReLU": lambda: nn.Sequential(conv(), nn.ReLU(), conv(8), nn.ReLU()),
    "no ReLU": lambda: nn.Sequential(conv(), conv(8)),
    "ReLU twice": lambda: nn.Sequential(conv(), nn.ReLU(), nn.ReLU(), conv(8)),
    "one ReLU used thrice": same_relu,
    "ReLU behind two poolings": lambda: nn.Sequential(conv(), nn.MaxPool2d(2), nn.MaxPool2d(2), nn.ReLU()),
    "groups": lambda: nn.Sequential(conv(groups=2), nn.ReLU()),
    "depthwise": lambda: nn.Sequential(conv(width=4, groups=4), nn.ReLU(), conv(size=1, padding=0)),
    "dilation": lambda: nn.Sequential(conv(dilation=2, padding=(2, 1)), nn.ReLU()),
    "stride": lambda: nn.Sequential(conv(stride=2), nn.ReLU(), conv(8, stride=(2, 1))),
    "oblong kernel": lambda: nn.Sequential(nn.Conv2d(4, 8, (3, 5), padding=(1, 2)), nn.ReLU()),
    "no bias": lambda: nn.Sequential(conv(bias=False), nn.MaxPool2d(2), nn.ReLU(), conv(8, bias=False)),
    "pooling": lambda: nn.Sequential(conv(), nn.MaxPool2d(2), conv(8), nn.ReLU(), nn.MaxPool2d((2, 3))),
    "overlapping pooling": lambda: nn.Sequential(conv(), nn.MaxPool2d(3, 2, padding=1), nn.ReLU(), conv(8)),
    "ceil_mode": lambda: nn.Sequential(conv(), nn.MaxPool2d(2, ceil_mode=True), nn.ReLU(), conv(8)),
    "uneven ceil_mode": lambda: nn.Sequential(conv(), nn.MaxPool2d((3, 2), (2, 3), (1, 0), ceil_mode=True), nn.ReLU()),
    "channels last": lambda: nn.Sequential(conv(), nn.ReLU(), conv(8)).to(memory_format=torch.channels_last),
    "frozen": frozen,
    "one layer frozen": one_frozen,
    "evaluation": lambda: nn.Sequential(conv(), nn.ReLU(), nn.MaxPool2d(2)).eval(),
}
HANDED_ON: dict[str, Callable[[], nn.Sequential]] = {
    "reflect": lambda: nn.Sequential(conv(padding_mode="reflect"), nn.ReLU()),
    "replicate": lambda: nn.Sequential(conv(), nn.ReLU(), conv(8, padding_mode="replicate")),
    "circular": lambda: nn.Sequential(conv(padding_mode="circular", padding=2), nn.ReLU()),
    "same": lambda: nn.Sequential(conv(padding="same"), nn.ReLU()),
    "valid": lambda: nn.Sequential(conv(padding="valid"), nn.ReLU()),
    "GroupNorm": lambda: nn.Sequential(conv(), nn.GroupNorm(2, 8), nn.ReLU()),
    "LeakyReLU": lambda: nn.Sequential(conv(), nn.LeakyReLU(), conv(8)),
    "BatchNorm": lambda: nn.Sequential(conv(), nn.BatchNorm2d(8), nn.ReLU()),
    "BatchNorm in evaluation": lambda: nn.Sequential(conv(), nn.BatchNorm2d(8), nn.ReLU()).eval(),
    "GELU": lambda: nn.Sequential(conv(), nn.GELU(), nn.MaxPool2d(2)),
    "average pooling": lambda: nn.Sequential(conv(), nn.ReLU(), nn.AvgPool2d(2)),
    "dilated pooling": lambda: nn.Sequential(conv(), nn.MaxPool2d(2, dilation=2), nn.ReLU()),
    "return_indices": lambda: nn.Sequential(conv(), nn.ReLU(), nn.MaxPool2d(2, return_indices=True)),
    "in place": lambda: nn.Sequential(conv(), nn.ReLU(inplace=True), conv(8)),
    "subclass": lambda: nn.Sequential(ScaledConv2d(4, 8, 3), nn.ReLU()),
    "subclass of Sequential": lambda: Shifted(conv(), nn.ReLU()),
    "another forward": doubling,
    "nested": lambda: nn.Sequential(nn.Sequential(conv(), nn.ReLU()), conv(8)),
    "pooling first": lambda: nn.Sequential(nn.MaxPool2d(2), conv(), nn.ReLU()),
    "ReLU alone": lambda: nn.Sequential(nn.ReLU()),
    "no layer": lambda: nn.Sequential(),
    "spectral norm": lambda: nn.Sequential(parametrizations.spectral_norm(conv()), nn.ReLU()),
    "spectral norm by hook": lambda: nn.Sequential(old_spectral_norm(conv()), nn.ReLU()),
    "weight norm": lambda: nn.Sequential(parametrizations.weight_norm(conv()), nn.ReLU()),
    "weight norm by hook": lambda: nn.Sequential(weight_norm(conv()), nn.ReLU()),
    "pruned": pruned,
}


@pytest.fixture
def converted(monkeypatch: pytest.MonkeyPatch) -> list[torch.dtype]:
    """The types of the batches that were put into oneDNN's layout, in turn."""
    seen: list[torch.dtype] = []
    convert = Tensor.to_mkldnn

    def spy(images: Tensor, *arguments: object) -> Tensor:
        seen.append(images.dtype)
        return convert(images, *arguments)

    monkeypatch.setattr(Tensor, "to_mkldnn", spy)
    return seen


def results(
    make: Callable[[], nn.Sequential], fast: bool, bfloat16: bool = False, wants_gradient: bool = False
) -> list[Tensor]:
    """Outputs and gradients of freshly made layers, the same ones at each call; twice, for layers that have a memory."""
    torch.manual_seed(0)
    layers = make()
    # Channels last here too: the layout moves PyTorch's own rounding, and this is the one that layers are handed on in.
    images = torch.randn(3, 4, 17, 19).contiguous(memory_format=torch.channels_last).requires_grad_(wants_gradient)
    found: list[Tensor] = []
    for _ in range(2):
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            outputs = onednn.convolve(layers, images) if fast else layers(images)
        found += outputs if isinstance(outputs, tuple) else [outputs]
        maps = found[-1] if not isinstance(outputs, tuple) else outputs[0]
        if maps.requires_grad:
            (maps.float() * torch.randn(maps.shape)).sum().backward()
    leaves = [*layers.parameters(), images]
    return found + [leaf.grad for leaf in leaves if leaf.grad is not None]


def assert_same(ours: list[Tensor], theirs: list[Tensor], share: float) -> None:
    """Each tensor is the other's within `share` of its greatest value, or of 1: some gradients are 0 but for rounding."""
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert one.dtype == other.dtype and one.layout == other.layout
        torch.testing.assert_close(one, other, rtol=share, atol=share * max(1.0, float(other.detach().abs().max())))


@pytest.mark.parametrize("bfloat16", [False, True])
@pytest.mark.parametrize("wants_gradient", [False, True])
@pytest.mark.parametrize("name", [*TAKEN, *HANDED_ON])
def test_layers_give_the_outputs_and_gradients_that_pytorch_gives(
    name: str, wants_gradient: bool, bfloat16: bool
) -> None:
    make = (TAKEN | HANDED_ON)[name]
    ours, theirs = (results(make, fast, bfloat16, wants_gradient) for fast in (True, False))
    assert_same(ours, theirs, 0.03 if bfloat16 else 1e-5)


@needs_layout
@pytest.mark.parametrize("name", [*TAKEN, *HANDED_ON])
def test_exactly_the_layers_that_were_found_equal_go_through_onednns_layout(
    name: str, converted: list[torch.dtype]
) -> None:
    results((TAKEN | HANDED_ON)[name], fast=True)
    assert bool(converted) == (name in TAKEN)
    converted.clear()
    results((TAKEN | HANDED_ON)[name], fast=True, bfloat16=True)
    expected = name in TAKEN and hardware.has_fast_bfloat16()
    assert set(converted) == ({torch.bfloat16} if expected else set())


HOOKS = {
    "forward": nn.Module.register_forward_hook,
    "forward-pre": nn.Module.register_forward_pre_hook,
    "backward": nn.Module.register_full_backward_hook,
    "backward-pre": nn.Module.register_full_backward_pre_hook,
}
GLOBAL_HOOKS = {
    "forward": torch_module.register_module_forward_hook,
    "forward-pre": torch_module.register_module_forward_pre_hook,
    "backward": torch_module.register_module_full_backward_hook,
    "backward-pre": torch_module.register_module_full_backward_pre_hook,
}


@pytest.mark.parametrize("place", [0, 1, 2, None], ids=["convolution", "ReLU", "pooling", "Sequential"])
@pytest.mark.parametrize("kind", HOOKS)
def test_hooks_are_called_and_gone_once_removed(kind: str, place: int | None, converted: list[torch.dtype]) -> None:
    layers, calls = nn.Sequential(conv(), nn.ReLU(), nn.MaxPool2d(2)), []
    module = layers if place is None else layers[place]
    handle = HOOKS[kind](module, lambda called, *_: calls.append(called))
    onednn.convolve(layers, torch.randn(2, 4, 8, 8)).sum().backward()
    assert calls == [module] and not converted
    handle.remove()
    onednn.convolve(layers, torch.randn(2, 4, 8, 8)).sum().backward()
    assert calls == [module] and bool(converted) == hardware.has_onednn_layout()


@pytest.mark.parametrize("kind", GLOBAL_HOOKS)
def test_hooks_on_all_modules_are_called_for_each_layer(kind: str) -> None:
    layers, calls = nn.Sequential(conv(), nn.ReLU(), nn.MaxPool2d(2)), []
    handle = GLOBAL_HOOKS[kind](lambda called, *_: calls.append(called))
    try:
        onednn.convolve(layers, torch.randn(2, 4, 8, 8)).sum().backward()
    finally:
        handle.remove()
    assert set(calls) == {layers, *layers}


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("where", ["images", "weight", "bias"])
def test_numbers_that_are_not_finite_show_as_they_do_in_pytorch(where: str, bad: float) -> None:
    layers, images = TAKEN["pooling"](), torch.randn(2, 4, 12, 12)
    parts = {"images": images, "weight": layers[2].weight, "bias": layers[0].bias}
    with torch.no_grad():
        parts[where].view(-1)[5] = bad
    expected = layers(images)
    assert not math.isnan(bad) or expected.isnan().any()
    torch.testing.assert_close(onednn.convolve(layers, images), expected, equal_nan=True)


def test_a_gradient_that_is_not_finite_reaches_the_weights() -> None:
    layers = TAKEN["pooling"]()
    (onednn.convolve(layers, torch.randn(2, 4, 12, 12)).sum() * float("nan")).backward()
    assert layers[0].weight.grad.isnan().any()


def test_second_derivatives_by_images_are_right_and_by_weights_right_or_refused() -> None:
    layers = TAKEN["pooling"]()
    images = torch.randn(2, 4, 12, 12, requires_grad=True)

    def penalty(run: Callable[[Tensor], Tensor], by: Tensor) -> Tensor:
        (slope,) = torch.autograd.grad(run(images).square().sum(), by, create_graph=True)
        return torch.autograd.grad(slope.square().sum(), by)[0]

    torch.testing.assert_close(penalty(lambda x: onednn.convolve(layers, x), images), penalty(layers, images))
    images = images.detach()
    if hardware.has_onednn_layout():
        with pytest.raises(RuntimeError):
            penalty(lambda x: onednn.convolve(layers, x), layers[0].weight)


def test_batches_that_onednn_does_not_take_go_through_pytorch(converted: list[torch.dtype]) -> None:
    layers = TAKEN["pooling"]()
    assert onednn.convolve(layers, torch.rand(0, 4, 12, 12)).shape == layers(torch.rand(0, 4, 12, 12)).shape
    assert onednn.convolve(layers.double(), torch.rand(2, 4, 12, 12, dtype=torch.float64)).dtype == torch.float64
    with pytest.raises(RuntimeError):  # weights and images of two types: PyTorch's own refusal
        onednn.convolve(layers, torch.rand(2, 4, 12, 12))
    layers.float()
    with torch.backends.mkldnn.flags(enabled=False):
        onednn.convolve(layers, torch.rand(2, 4, 12, 12))
    assert not converted


@pytest.mark.parametrize("change", [lambda x: x.transpose(2, 3), lambda x: x[:, :, ::2], lambda x: x[:1].expand_as(x)])
def test_images_may_lie_in_memory_in_any_order(change: Callable[[Tensor], Tensor]) -> None:
    layers, images = TAKEN["pooling"](), change(torch.randn(3, 4, 12, 12))
    torch.testing.assert_close(onednn.convolve(layers, images), layers(images))
    with torch.no_grad():
        torch.testing.assert_close(onednn.convolve(layers, images), layers(images))


# The course's encoders --------------------------------------------------------------------------------------------


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


@needs_layout
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


@pytest.fixture
def pooled(monkeypatch: pytest.MonkeyPatch) -> list[torch.layout]:
    """The layouts of what poolings were given. (A hook would send the layers through PyTorch.)"""
    layouts: list[torch.layout] = []
    plain = nn.MaxPool2d.forward

    def spy(layer: nn.MaxPool2d, maps: Tensor) -> Tensor:
        layouts.append(maps.layout)
        return plain(layer, maps)

    monkeypatch.setattr(nn.MaxPool2d, "forward", spy)
    return layouts


def test_the_fast_layout_is_used_where_it_is_known_and_only_for_what_it_takes(
    pooled: list[torch.layout], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = PaperEncoder(32)
    monkeypatch.setattr(hardware, "has_onednn_layout", lambda: torch.backends.mkldnn.is_available())
    encoder(torch.rand(2, 1, 32, 32))
    expected = torch._mkldnn if torch.backends.mkldnn.is_available() else torch.strided
    assert pooled and set(pooled) == {expected}
    pooled.clear()
    assert encoder(torch.rand(0, 1, 32, 32)).shape == (0, encoder.out_dim)
    assert encoder.double()(torch.rand(2, 1, 32, 32, dtype=torch.float64)).dtype == torch.float64
    assert set(pooled) == {torch.strided}


@needs_layout
def test_a_whole_training_goes_through_the_fast_layout(phantoms: Corpus, pooled: list[torch.layout]) -> None:
    method = make_method("simclr", "fair", image_size=32)
    fit(method, phantoms, grouped_split(phantoms, seed=0), "smoke", progress=False, probes=())
    assert len(pooled) > 10 and set(pooled) == {torch._mkldnn}
