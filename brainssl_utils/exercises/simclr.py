"""Checkers of the SimCLR lesson: a view recipe held to measurements, NT-Xent, a temperature, and a change predicted."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from brainssl_utils.errors import CourseError
from brainssl_utils.evaluation.lesions import TISSUE
from brainssl_utils.exercises.base import NotYet, Wrong, as_number, call, checker, name_mistake
from brainssl_utils.training.run import Run
from brainssl_utils.views import Views, make_views, to_float

CORRELATIONS = (0.4, 0.8)
TISSUE_KEPT = 0.95
CONTRAST_KEPT = 0.5


@torch.no_grad()
def survival_map(views: Views, grid: int = 16, draws: int = 100, seed: int = 0) -> Tensor:
    """How often a small spot is still inside a view, by where it was: (grid, grid), shares in 0..1.

    A white spot of 3 x 3 pixels is put on black at each place of the grid, and followed through the recipe's geometry
    (crop and rotation; flips move a spot but lose nothing, so they are left out). Shares of the area do not depend on the
    number of pixels, so small images do.
    """
    side = 3 * grid
    geometry = make_views("none", side, area=views.recipe.area, degrees=views.recipe.degrees)
    spots = torch.eye(grid * grid).view(grid * grid, 1, grid, grid).repeat_interleave(3, 2).repeat_interleave(3, 3)
    generator = torch.Generator().manual_seed(seed)
    kept = [(geometry(spots, generator).amax((1, 2, 3)) > 0.25).float() for _ in range(draws)]
    return torch.stack(kept).mean(0).view(grid, grid)


@torch.no_grad()
def contrast_left(views: Views, images: Tensor, seed: int = 0) -> Tensor:
    """Share of the step from middling to bright tissue that a view's brightness, contrast and gamma leave, one an image.

    The step is the 99th percentile of an image's tissue minus its median: what a radiologist reads as enhancement. 1 is
    unchanged, 0 is gone; more than 1 is exaggerated. Images without tissue, or of even tissue, are left out.

    Args:
        views: the recipe; its geometry, blur and noise are not applied, so that pixels can be followed.
        images: uint8 or float in 0..1, (B, 1, H, W).
    """
    r = views.recipe
    tone = make_views("none", images.shape[-1], brightness=r.brightness, contrast=r.contrast, gamma=r.gamma)
    before = to_float(images).flatten(1)
    after = tone(images, torch.Generator().manual_seed(seed)).flatten(1)
    tissue = before > TISSUE
    steps = []
    for pixels in (before, after):
        middle, bright = pixels.masked_fill(~tissue, math.nan).nanquantile(torch.tensor([0.5, 0.99]), dim=1)
        steps.append(bright - middle)
    usable = steps[0] > 0.02
    return steps[1][usable] / steps[0][usable]


@torch.no_grad()
def measure_views(views: Views, images: Tensor, seed: int = 0) -> dict[str, float]:
    """Describe a recipe by what it does to images, uint8 (B, 1, S, S) at the views' size.

    Returns:
        `identical`: share of pairs of views that are equal in every pixel; `correlation`: mean correlation of the two
        views' pixels (which ignores brightness and contrast); `tissue_kept`: mean chance that a spot of tissue is
        still in a view; `contrast_kept`: the share of the bright tissue's contrast that is left in at least 95 % of the
        draws.
    """
    generator = torch.Generator().manual_seed(seed)
    first, second = views(images, generator).flatten(1), views(images, generator).flatten(1)
    a, b = (F.normalize(view - view.mean(1, keepdim=True), dim=1) for view in (first, second))
    survival = survival_map(views, seed=seed)
    place = F.adaptive_avg_pool2d(to_float(images).mean(0), len(survival))[0] > TISSUE
    return {
        "identical": float((first == second).all(1).float().mean()),
        "correlation": float((a * b).sum(1).mean()),
        "tissue_kept": float(survival[place].mean()) if place.any() else math.nan,
        "contrast_kept": float(contrast_left(views, images, seed).quantile(0.05)),
    }


@checker
def check_recipe(changes: Mapping[str, Any], images: Tensor) -> str:
    """Hold a recipe, given as changes to the empty one, to four measurements on `images`, uint8 (B, 1, S, S)."""
    if not isinstance(changes, Mapping):
        raise Wrong(f"expected a dict such as {{'flip': 0.5}}, got {type(changes).__name__}")
    for name, value in changes.items():
        for number in value if isinstance(value, (tuple, list)) else (value,):
            as_number(number, f"numbers alone, and in {name!r} too")
    try:
        views = make_views("none", images.shape[-1], **changes)
    except CourseError as error:
        raise Wrong(str(error)) from None
    found = measure_views(views, images)
    low, high = CORRELATIONS
    said = ", ".join(f"{name} {value:.3f}" for name, value in found.items())
    if found["identical"] >= 0.01:
        raise Wrong(f"{found['identical']:.0%} of the pairs are pixel-identical; fewer than 1 % may be ({said})")
    if found["correlation"] > high:
        raise Wrong(f"the two views correlate at {found['correlation']:.2f}, above {high}: too easy a pair ({said})")
    if found["correlation"] < low:
        raise Wrong(f"the two views correlate at {found['correlation']:.2f}, below {low}: hardly one scan ({said})")
    if found["tissue_kept"] < TISSUE_KEPT:
        raise Wrong(
            f"a spot of tissue survives {found['tissue_kept']:.1%} of the views, not {TISSUE_KEPT:.0%} ({said})"
        )
    if found["contrast_kept"] < CONTRAST_KEPT:
        raise Wrong(
            f"5 % of the views keep less than {found['contrast_kept']:.0%} of the bright tissue's contrast; "
            f"{CONTRAST_KEPT:.0%} should be left ({said})"
        )
    return f"the views differ, and what a radiologist needs is mostly still there ({said})"


def _pair_terms(z: Tensor, temperature: float, i: int, keep_self: bool, cross: bool) -> tuple[float, float]:
    """Numerator's exponent and the logarithm of the denominator for row i of eq. 1, by plain sums."""
    n = len(z) // 2
    j = (i + n) % (2 * n)
    others = [k for k in range(2 * n) if keep_self or k != i]
    if cross:
        others = [k for k in range(2 * n) if (k < n) != (i < n)]
    below = sum(math.exp(float(z[i] @ z[k]) / temperature) for k in others)
    return float(z[i] @ z[j]) / temperature, math.log(below)


def slow_nt_xent(
    z1: Tensor, z2: Tensor, temperature: float, keep_self: bool = False, cross: bool = False, unit: bool = True
) -> float:
    """NT-Xent (Chen et al. 2020, eq. 1), row by row; the switches make the usual mistakes."""
    z = torch.cat([z1, z2]).double()
    z = F.normalize(z, dim=1) if unit else z
    terms = [_pair_terms(z, temperature, i, keep_self, cross) for i in range(len(z))]
    return sum(log_below - positive for positive, log_below in terms) / len(terms)


def _mistakes(z1: Tensor, z2: Tensor, temperature: float) -> dict[str, float]:
    right = slow_nt_xent(z1, z2, temperature)
    rows = 2 * len(z1)
    return {
        "the rows are not brought to length 1 before they are compared": slow_nt_xent(z1, z2, temperature, unit=False),
        "each row's similarity with itself is still in the denominator": slow_nt_xent(z1, z2, temperature, True),
        "only the other view's rows are in the denominator, and some of the row's negatives are missing": slow_nt_xent(
            z1, z2, temperature, cross=True
        ),
        "the rows' losses are added up; their mean is asked for": right * rows,
        "the mean is over N; there are 2 N rows": right * 2,
        "the temperature multiplies the similarities: a small one has to sharpen them": slow_nt_xent(
            z1, z2, 1 / temperature
        ),
        "the temperature is not used": slow_nt_xent(z1, z2, 1.0),
        "this is log(2 N - 1) whatever the rows are: the printed slip, z_j where z_k is meant": math.log(rows - 1),
        "the sign is wrong: the loss is minus the logarithm": -right,
    }


@checker
def check_nt_xent(function: Callable[[Tensor, Tensor, float], Tensor]) -> str:
    """Compare `function(z1, z2, temperature)` with eq. 1 summed row by row, over several shapes and temperatures."""
    cases = [(2, 2, 0.5), (3, 4, 0.1), (8, 16, 0.2)]
    for n, width, temperature in cases:
        generator = torch.Generator().manual_seed(n)
        z1 = 2 * torch.randn(n, width, generator=generator)
        z2 = z1 + torch.randn(n, width, generator=generator)
        z1, z2 = z1.requires_grad_(), z2.requires_grad_()
        answer = call(function, z1, z2, temperature)
        if not isinstance(answer, Tensor):
            raise Wrong(f"expected one number as a tensor, got {type(answer).__name__}")
        z1, z2 = z1.detach(), z2.detach()
        expected, found = slow_nt_xent(z1, z2, temperature), as_number(answer, "one number as a tensor")
        if not math.isclose(found, expected, rel_tol=1e-3, abs_tol=1e-4):
            mistakes = _mistakes(z1, z2, temperature).items()
            name_mistake(found, ((value, sentence) for sentence, value in mistakes), rel_tol=1e-3, abs_tol=1e-4)
            raise Wrong(f"{n} images, temperature {temperature}: expected {expected:.4f}, got {found:.4f}")
        if not answer.requires_grad:
            raise Wrong("the result does not remember how it was made: leave .item(), float() and detach() out")
    return f"equal to eq. 1 on {len(cases)} batches, and it can be trained with"


@checker
def check_temperature(temperature: Any, similarities: Tensor, share: float = 0.5) -> str:
    """Is `temperature` the one at which the most similar negative carries `share` of the push of all negatives?"""
    temperature = as_number(temperature)
    if temperature <= 0:
        raise Wrong("a temperature is above 0")
    hardest = float(torch.softmax(torch.as_tensor(similarities).double() / temperature, 0).max())
    if abs(hardest - share) > 0.02:
        advice = "raise" if hardest > share else "lower"
        raise Wrong(f"at {temperature} the hardest negative carries {hardest:.0%}, not {share:.0%}: {advice} it")
    return f"at {temperature:.3g} the hardest of {len(similarities)} negatives carries {hardest:.0%} of the push"


@checker
def check_prediction(prediction: Any, changed: Any, usual: Run, setting: str, measure: str) -> str:
    """Was a change predicted: does `measure` end "higher" or "lower" than in the usual training of the same length?

    Args:
        prediction: "higher" or "lower".
        changed: what `fit` returned for the same training with another `setting`.
        usual: the training it is set against.
        setting: the one setting in which both differ.
        measure: a column of their histories.
    """
    if changed is None or changed is ...:
        raise NotYet("you have a prediction; now train, and hand over what fit returns")
    if not isinstance(prediction, str) or prediction not in ("higher", "lower"):
        raise Wrong(f"a prediction is 'higher' or 'lower', got {prediction!r}")
    if not isinstance(changed, Run):
        raise Wrong(f"hand over what fit returned, a Run; got {type(changed).__name__}")
    _check_one_change(changed, usual, setting)
    before, after = (float(run.history[measure].iloc[-1]) for run in (usual, changed))
    found = "higher" if after > before else "lower"
    told = f"{measure} ended at {after:.3g}, {found} than the usual {before:.3g}"
    if found != prediction:
        raise Wrong(f"{told}, and you said {prediction}: which step of your reasoning does this run contradict?")
    return f"{told}, as you said"


def _check_one_change(changed: Run, usual: Run, setting: str) -> None:
    """Raise `Wrong` unless the trainings differ in `setting` and in nothing else."""
    for what in ("split", "seed", "sizes"):
        if changed.record[what] != usual.record[what]:
            raise Wrong(
                f"the trainings differ in {what} too: {changed.record[what]} and {usual.record[what]}. "
                "Change one thing at a time"
            )
    configs = [run.record["config"] for run in (changed, usual)]
    differ = {name for name in set().union(*configs) if configs[0].get(name) != configs[1].get(name)}
    if setting not in differ:
        raise Wrong(f"{setting} is the usual one, {configs[1].get(setting)}: change it")
    if others := sorted(differ - {setting}):
        raise Wrong(f"the trainings differ in {', '.join(others)} too. Change one thing at a time")
