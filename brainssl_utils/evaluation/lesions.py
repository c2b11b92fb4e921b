"""What becomes of a lesion: how much of it a view keeps, and how much of an encoder's look falls on it."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from brainssl_utils.checks import check_number
from brainssl_utils.errors import CourseError
from brainssl_utils.evaluation.features import encoder_of, eval_mode
from brainssl_utils.views import Views, make_views, to_float

TISSUE = 0.1  # pixels darker than this share of white are air
Masks = npt.NDArray[np.bool_]


def lesion_kept(views: Views, masks: Masks, draws: int = 20, seed: int = 0) -> npt.NDArray[np.float64]:
    """Share of each lesion that is still inside a view, by the view's crop and rotation alone: (draws, n) in 0..1.

    A pixel counts as kept if any pixel of the view is made of it.

    Args:
        views: whose geometry is followed.
        masks: (n, S, S), True on the lesion.
        draws: views of each image.
        seed: of the draws.

    Raises:
        CourseError: masks of another shape, one without a lesion, or no draws.
    """
    check_number("draws", draws, at_least=1, whole=True)
    _check_masks(masks)
    if not masks.any((1, 2)).all():
        raise CourseError("lesion_kept: there is a mask without a lesion: leave those out.")
    size = masks.shape[-1]
    geometry = make_views("none", size, area=views.recipe.area, degrees=views.recipe.degrees)
    generator = torch.Generator().manual_seed(seed)
    kept = []
    for _ in range(draws):
        pixels = torch.zeros(len(masks), 1, size, size, requires_grad=True)
        # The gradient is a pixel's weight in the view, 0 outside the crop.
        (weight,) = torch.autograd.grad(geometry(pixels, generator).sum(), pixels)
        inside = (weight[:, 0] > 0).numpy() & masks
        kept.append(inside.sum((1, 2)) / masks.sum((1, 2)))
    return np.stack(kept)


def head_masks(images: npt.NDArray[np.uint8]) -> Masks:
    """Where the head is, (n, S, S): the tissue of images (n, 1, S, S) uint8, with the dark places that it encloses."""
    return np.stack([ndimage.binary_fill_holes(image > 255 * TISSUE) for image in images[:, 0]])


def occlusion_maps(model: Any, images: npt.NDArray[np.uint8], batch: int = 8) -> npt.NDArray[np.float32]:
    """Where an encoder looks: how far an image's features move when a square of it is covered with grey.

    Captum's occlusion (Zeiler and Fergus 2014) of 1 minus the cosine. The square is a sixth of the image wide, moves by
    half its width, and is as bright as the image on average; a pixel has the mean over the squares that cover it.

    Args:
        model: a `Run`, a method or an encoder.
        images: (n, 1, S, S) uint8.
        batch: positions of the square that are encoded at once.

    Returns:
        (n, S, S), 0 where nothing moves.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tqdm's, that there are no widgets: nothing here draws a bar
        from captum.attr import Occlusion  # a second to import

    encoder, inputs = encoder_of(model), to_float(torch.tensor(images))
    width = max(2, inputs.shape[-1] // 6)

    def nearness(changed: Tensor, features: Tensor) -> Tensor:
        return F.cosine_similarity(encoder(changed), features, dim=1)

    with eval_mode(encoder), torch.no_grad():
        maps = Occlusion(nearness).attribute(
            inputs,
            sliding_window_shapes=(1, width, width),
            strides=(1, max(1, width // 2), max(1, width // 2)),
            baselines=inputs.mean((1, 2, 3), keepdim=True).expand_as(inputs),
            additional_forward_args=encoder(inputs),
            perturbations_per_eval=batch,
        )
    return maps[:, 0].clamp(min=0).numpy().astype(np.float32)


def share_on(maps: npt.ArrayLike, masks: Masks) -> npt.NDArray[np.float64]:
    """Share of each map (n, S, S) that lies on its mask (n, S, S): (n,) in 0..1, NaN for a map of zeros.

    Raises:
        CourseError: shapes that differ.
    """
    values = np.asarray(maps, np.float64)
    _check_masks(masks)
    if values.shape != masks.shape:
        raise CourseError(f"share_on: maps {values.shape} and masks {masks.shape}: one mask a map is expected.")
    total = values.sum((1, 2))
    return np.divide((values * masks).sum((1, 2)), total, out=np.full(len(values), np.nan), where=total > 0)


def _check_masks(masks: Masks) -> None:
    if masks.dtype != bool or masks.ndim != 3 or not len(masks):
        raise CourseError(f"expected masks (n, S, S) of bool, got {masks.dtype} {masks.shape}.")
