"""Batched augmentation: one batch of images in, one batch of views out, each image with its own random draw.

Nothing here loops over images. Every geometric change of a view (flip, crop, rotation, resize) is one affine map, so a
view costs a single resampling, whatever is in the recipe. Views are drawn from a `torch.Generator`, so a seed fixes them.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from brainssl_utils.checks import check_number
from brainssl_utils.errors import CourseError

BLACK = 1e-12  # what stands for 0 where a logarithm is taken: that of 0 itself is infinite, and slow
SHARED_GRAIN = 4  # images of a batch that share a pattern of noise


def to_float(images: Tensor) -> Tensor:
    """Return images as float32 in 0..1: uint8 is divided by 255, floats pass through."""
    return images.float().div_(255) if images.dtype == torch.uint8 else images.float()


def uniform(n: int, low: float, high: float, generator: torch.Generator | None, device: torch.device) -> Tensor:
    """Draw one number in [low, high) an image, shape (n, 1, 1, 1). The draw is made on the CPU: the same on any device."""
    return torch.empty(n, 1, 1, 1).uniform_(low, high, generator=generator).to(device)


def coin(n: int, probability: float, generator: torch.Generator | None, device: torch.device) -> Tensor:
    """Toss one coin an image: bool, shape (n, 1, 1, 1), True with `probability`."""
    return (torch.rand(n, 1, 1, 1, generator=generator) < probability).to(device)


def random_flip(images: Tensor, probability: float = 0.5, generator: torch.Generator | None = None) -> Tensor:
    """Mirror each image left-right with `probability`. (B, C, H, W), any dtype, unchanged otherwise."""
    flipped = coin(len(images), probability, generator, images.device)
    return torch.where(flipped, images.flip(-1), images)


def random_affine(
    images: Tensor,
    size: int,
    area: tuple[float, float] = (1.0, 1.0),
    ratio: tuple[float, float] = (0.75, 4 / 3),
    degrees: float = 0.0,
    flip: float = 0.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Crop, rotate, mirror and resize each image in one bilinear resampling.

    Args:
        images: float (B, 1, H, W).
        size: side of the views, pixels.
        area: range of the crop's share of the image's area, as in torchvision's RandomResizedCrop; (1, 1) keeps all of it.
        ratio: range of the crop's width : height; used only where `area` crops.
        degrees: rotation by up to this angle to either side; what comes in from outside is black, as an MRI's background is.
        flip: probability of a left-right mirror.

    Returns:
        float (B, 1, size, size).
    """
    n, device = len(images), images.device

    def draw(low: float, high: float) -> Tensor:
        return uniform(n, low, high, generator, device).flatten()

    scale, log_ratio = draw(*area), draw(math.log(ratio[0]), math.log(ratio[1]))
    crops = area != (1.0, 1.0)
    stretch = (log_ratio / 2).exp() if crops else torch.ones_like(log_ratio)
    width, height = (scale.sqrt() * stretch).clamp(max=1), (scale.sqrt() / stretch).clamp(max=1)
    # The crop's centre, in coordinates that run from -1 to 1, anywhere that keeps the crop inside the image.
    x, y = draw(-1, 1) * (1 - width), draw(-1, 1) * (1 - height)
    angle = draw(-1, 1) * math.radians(degrees)
    mirror = 1 - 2 * coin(n, flip, generator, device).flatten().float()
    cos, sin = angle.cos(), angle.sin()
    theta = torch.stack(
        [
            torch.stack([width * cos * mirror, -height * sin, x], 1),
            torch.stack([width * sin * mirror, height * cos, y], 1),
        ],
        1,
    )
    # F.affine_grid's numbers in half its time: where each pixel of a view comes from, (n, size * size, 2).
    centres = (torch.arange(size, device=device) * 2 + 1) / size - 1
    pixels = torch.stack(
        [centres.repeat(size), centres.repeat_interleave(size), torch.ones_like(centres).repeat(size)], 1
    )
    grid = torch.matmul(pixels, theta.transpose(1, 2)).view(n, size, size, 2)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def jitter(
    images: Tensor,
    brightness: float = 0.0,
    contrast: float = 0.0,
    gamma: float = 0.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Change brightness, contrast and gamma of each image; float (B, 1, H, W) in 0..1, and so is the result.

    Args:
        brightness: factor drawn from 1 - b .. 1 + b, as torchvision's ColorJitter does.
        contrast: factor drawn from 1 - c .. 1 + c, about the image's mean.
        gamma: exponent drawn from exp(-g) .. exp(g): scanners differ in their curve more than in their brightness.
    """
    n, device = len(images), images.device
    bright = uniform(n, 1 - brightness, 1 + brightness, generator, device)
    factor = uniform(n, 1 - contrast, 1 + contrast, generator, device)
    exponent = uniform(n, -gamma, gamma, generator, device).exp()
    if contrast:
        mean = images.mean((1, 2, 3), keepdim=True) * bright
        images = torch.addcmul(mean - mean * factor, images, bright * factor)
    else:
        images = images * bright
    images.clamp_(BLACK if gamma else 0, 1)
    # x ** exponent, several times faster than `pow`.
    return images.log_().mul_(exponent).exp_() if gamma else images


def blur(
    images: Tensor,
    sigma: tuple[float, float] = (0.1, 2.0),
    probability: float = 0.5,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Blur each image, with `probability`, by a Gaussian whose sigma (pixels) is drawn from the range; float (B, 1, H, W)."""
    n, device = len(images), images.device
    sigmas = uniform(n, *sigma, generator, device).flatten()
    chosen = coin(n, probability, generator, device).flatten().nonzero().flatten()
    if not len(chosen):
        return images
    radius = max(1, math.ceil(2.5 * sigma[1]))
    offsets = torch.arange(radius + 1, device=device, dtype=images.dtype)
    weights = torch.exp(-0.5 * (offsets[:, None] / sigmas[chosen]) ** 2)
    weights = (weights / (2 * weights.sum(0) - weights[0]))[:, :, None, None, None]
    blurred = F.pad(images[chosen], (radius,) * 4, mode="replicate")
    for axis in (-1, -2):
        # Sums of shifted images: a grouped convolution with a kernel an image takes twice as long.
        length = blurred.shape[axis] - 2 * radius
        shifted = [blurred.narrow(axis, start, length) for start in range(2 * radius + 1)]
        blurred = shifted[radius] * weights[0]
        for offset in range(1, radius + 1):
            blurred.addcmul_(shifted[radius - offset] + shifted[radius + offset], weights[offset])
    return images.index_copy(0, chosen, blurred)


def noise(images: Tensor, sigma: float = 0.05, generator: torch.Generator | None = None) -> Tensor:
    """Add Gaussian noise whose standard deviation is drawn from 0..sigma an image; float in 0..1, clipped back to it.

    Random numbers are what costs here: one pattern is drawn for four images, each of which takes it at a level of its own.
    """
    level = uniform(len(images), 0, sigma, generator, images.device)
    grain = torch.randn((-(-len(images) // SHARED_GRAIN), *images.shape[1:]), generator=generator).to(images.device)
    noisy, n = torch.empty_like(images), max(1, len(grain))
    for clean, into, strength in zip(images.split(n), noisy.split(n), level.split(n)):
        torch.addcmul(clean, grain[: len(clean)], strength, out=into).clamp_(0, 1)
    return noisy


@dataclass(frozen=True)
class Recipe:
    """What a view changes. The fields are the parameters of the functions above; the defaults change nothing.

    Raises:
        CourseError: flip, blur, brightness or contrast outside 0..1, negative degrees, gamma or noise, or a range that is
            no two numbers above 0, the smaller first (`area` within 1, `blur_sigma` in pixels).
    """

    flip: float = 0.0
    area: tuple[float, float] = (1.0, 1.0)
    degrees: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    gamma: float = 0.0
    blur: float = 0.0
    blur_sigma: tuple[float, float] = (0.1, 1.5)
    noise: float = 0.0

    def __post_init__(self) -> None:
        for name in ("flip", "blur", "brightness", "contrast"):
            check_number(name, getattr(self, name), at_least=0, at_most=1)
        for name in ("degrees", "gamma", "noise"):
            check_number(name, getattr(self, name), at_least=0)
        check_range("area", self.area, at_most=1)
        check_range("blur_sigma", self.blur_sigma)
        for name in ("area", "blur_sigma"):  # lists, as records have them, would not compare equal
            object.__setattr__(self, name, tuple(getattr(self, name)))


def check_range(name: str, values: tuple[float, float], at_most: float | None = None) -> None:
    """Pass if `values` are two numbers, 0 < low <= high <= `at_most`.

    Raises:
        CourseError: they are not.
    """
    if not isinstance(values, list | tuple) or len(values) != 2:
        raise CourseError(f"{name} is {values!r}: it must be a range, (low, high).")
    low, high = values
    check_number(f"{name}[0]", low, above=0, at_most=at_most)
    check_number(f"{name}[1]", high, at_least=low, at_most=at_most)


RECIPES = {
    "none": Recipe(),
    # The published study names a horizontal flip and nothing else (its section 3).
    "paper": Recipe(flip=0.5),
    # Two steps from there to the contrastive recipe, at its strengths: what each part of it is worth can be measured.
    "flip_crop": Recipe(flip=0.5, area=(0.3, 1.0)),
    "flip_crop_grey": Recipe(flip=0.5, area=(0.3, 1.0), brightness=0.4, contrast=0.4, gamma=0.3),
    "contrastive": Recipe(
        flip=0.5, area=(0.3, 1.0), degrees=10, brightness=0.4, contrast=0.4, gamma=0.3, blur=0.3, noise=0.03
    ),
    "classification": Recipe(flip=0.5, area=(0.6, 1.0), degrees=10, brightness=0.2, contrast=0.2, gamma=0.1),
}


@dataclass(frozen=True)
class Views:
    """A recipe at a size. Calling it draws one view of every image of a batch.

    Attributes:
        recipe: what changes.
        size: side of the views, pixels.
        preset: the recipe's name in `RECIPES`; "" for one of the user's own.

    Raises:
        CourseError: the size is not a whole number from 1.
    """

    recipe: Recipe
    size: int
    preset: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        check_number("size", self.size, at_least=1, whole=True)

    def __call__(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return views, float32 (B, 1, size, size) in 0..1, of images (B, 1, H, W), uint8 or float in 0..1."""
        # Under a training's autocast, coordinates in bfloat16 would be off by up to a fifth of a pixel.
        with torch.autocast(images.device.type, enabled=False):
            return self._draw(images, generator)

    def _draw(self, images: Tensor, generator: torch.Generator | None) -> Tensor:
        r = self.recipe
        resized = images.shape[-1] != self.size or images.shape[-2] != self.size
        if r.degrees or r.area != (1.0, 1.0) or resized:
            views = random_affine(
                to_float(images), self.size, r.area, degrees=r.degrees, flip=r.flip, generator=generator
            )
        else:
            views = to_float(random_flip(images, r.flip, generator) if r.flip else images)
        if r.brightness or r.contrast or r.gamma:
            views = jitter(views, r.brightness, r.contrast, r.gamma, generator)
        if r.blur:
            views = blur(views, r.blur_sigma, r.blur, generator)
        if r.noise:
            views = noise(views, r.noise, generator)
        return views

    @property
    def setting(self) -> Any:
        """What a method's config and its key call it: the preset's name, or the recipe's fields as plain values."""
        return self.preset or {
            name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self.recipe).items()
        }

    def describe(self) -> dict[str, object]:
        """The recipe and size as plain values, for a record."""
        return {"size": self.size, **asdict(self.recipe)}


def make_views(preset: str | Recipe, size: int, **changes: object) -> Views:
    """Return the preset's views at `size` pixels; keyword arguments change single fields of its recipe.

    Raises:
        CourseError: no preset, or no field of a recipe, has that name, or a value is out of its range.
    """
    if isinstance(preset, Recipe):
        recipe, name = preset, ""
    elif isinstance(preset, str) and preset in RECIPES:
        recipe, name = RECIPES[preset], preset
    else:
        raise CourseError(f"unknown views {preset!r}. Choose one of: {', '.join(RECIPES)}.")
    if changes:
        recipe, name = recipe_of({**asdict(recipe), **changes}), ""
    known = name or next((name for name, one in RECIPES.items() if one == recipe), "")
    return Views(recipe, size, known)


def recipe_of(fields: dict[str, Any]) -> Recipe:
    """Return the recipe of these fields, as a record keeps them.

    Raises:
        CourseError: a recipe has no such field, or a value is out of its range.
    """
    known = asdict(Recipe())
    if unknown := set(fields) - set(known):
        raise CourseError(f"unknown view settings: {', '.join(sorted(unknown))}. There are: {', '.join(known)}.")
    return Recipe(**fields)
