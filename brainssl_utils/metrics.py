"""What a contrastive run reports besides its loss: c_acc, r_acc, and whether its features are alive.

Both accuracies follow the public Keras reference for contrastive classification: they are taken on encoder features
`h1, h2` of two views, shape (B, D) each, row i of one belonging to row i of the other.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from brainssl_utils.errors import CourseError

# Entries of the correlation matrix held at a time (38 MB in float32); smaller blocks are slower.
BLOCK_ENTRIES = 9_500_000


@torch.no_grad()
def contrastive_accuracy(h1: Tensor, h2: Tensor) -> float:
    """c_acc: how often an image's own second view is the one most like its first, by cosine, among the batch.

    Both directions count, so 2 B cases; chance is 1/B. Of equal similarities the first wins, as in any arg-max: a
    collapsed encoder, all features alike, scores 1/B.

    Args:
        h1, h2: encoder features of two views, (B, D), any float dtype; computed in float32, also under autocast.

    Returns:
        Share of cases in 0..1; NaN if the features hold a NaN or an infinity.

    Raises:
        CourseError: shapes differ, are not (B, D), or B is below 2.
    """
    h1, h2 = _pair(h1, h2)
    with torch.autocast(h1.device.type, enabled=False):
        # Dividing the small matrix of products by the norms spares two normalised copies of wide features.
        norms1, norms2 = (torch.linalg.vector_norm(h, dim=1).clamp(min=1e-12) for h in (h1, h2))
        if not _finite(norms1, norms2) and not _finite(h1, h2):
            return float("nan")
        similarity = (h1 @ h2.T).div_(norms2).div_(norms1[:, None])
    return diagonal_share(similarity)


def diagonal_share(matrix: Tensor) -> float:
    """Share in 0..1 of the rows and of the columns of a matrix (N, N) whose greatest entry lies on the diagonal."""
    own = torch.arange(len(matrix), device=matrix.device)
    right = (matrix.argmax(1) == own).sum() + (matrix.argmax(0) == own).sum()
    return right.item() / (2 * len(own))


def cross_correlation(z1: Tensor, z2: Tensor) -> Tensor:
    """Correlations (D, D) of the features of one view with those of another, (B, D) each, over the batch.

    Rows belong to features of `z1`, columns to those of `z2`. A feature without variance has no correlation: 0 stands there.
    """
    a, b = ((z - z.mean(0)) / z.std(0, correction=0).clamp(min=1e-6) for z in (z1, z2))
    return a.T @ b / len(a)


@torch.no_grad()
def correlation_accuracy(h1: Tensor, h2: Tensor, cases: int | None = None) -> float:
    """r_acc: how often a feature correlates best with itself in the other view, among all features.

    Every feature is standardised over the batch; C = h1^T h2 / B is (D, D); a row of C, and a row of C^T, is right when
    its arg-max lies on the diagonal: 2 D cases, chance 1/D. A feature of zero variance in either view cannot be
    standardised: it is left out of the competition and counted as wrong (`dead_features` tells how many there are),
    so an encoder with few living features cannot score high. C is made in blocks and never held whole.

    Args:
        h1, h2: encoder features of two views, (B, D), any float dtype; computed in float32, also under autocast.
        cases: score this many features, evenly spaced over the living ones, each still against all: an estimate for
            wide encoders at about 2 * cases / D of the price. None scores all.

    Returns:
        Share of cases in 0..1; NaN if the features hold a NaN or an infinity.

    Raises:
        CourseError: shapes differ, are not (B, D), B is below 2, or `cases` is below 1.
    """
    h1, h2 = _pair(h1, h2)
    if cases is not None and cases < 1:
        raise CourseError(f"correlation_accuracy: cases={cases}; expected at least 1, or None for all features.")
    if not _finite(h1, h2):
        return float("nan")
    width, alive = h1.shape[1], ~(_constant(h1) | _constant(h2))
    living = int(alive.sum())
    if living == 0:
        return 0.0
    a, b = (_standardise(h if living == width else h[:, alive]) for h in (h1, h2))
    with torch.autocast(h1.device.type, enabled=False):
        if cases is None or 2 * cases >= living:
            return _count_own(a, b) / (2 * width)
        scored = torch.linspace(0, living - 1, cases, device=a.device).round().long()
        share = (_count_rows(a, b, scored) + _count_rows(b, a, scored)) / (2 * cases)
    return share * living / width


@torch.no_grad()
def reference_correlation_accuracy(h1: Tensor, h2: Tensor) -> float:
    """r_acc as the public reference computes it, flaw included: for the lesson, never for a result.

    The reference divides by the standard deviation without a guard. A feature dead in both views becomes a column of
    NaN; every row of C and of C^T then holds a NaN, no comparison with it is true, and arg-max answers 0 for all of
    them (an arg-max that answers with the NaN's own place comes to the same share). One feature of D is called right:
    r_acc is 1/D whatever the encoder learned. The paper's 0.78 % for SimCLR is 1/128, the width of the reference's
    encoder.

    Args and errors as in `correlation_accuracy`; (D, D) is held whole.
    """
    h1, h2 = _pair(h1, h2)
    with torch.autocast(h1.device.type, enabled=False):
        a, b = ((h - h.mean(0)) / h.std(0, correction=0) for h in (h1, h2))
        correlation = a.T @ b / len(a)
    own = torch.arange(a.shape[1], device=a.device)
    right = 0
    for rows in (correlation, correlation.T):
        answer = torch.where(rows.isnan().any(1), torch.zeros_like(own), rows.argmax(1))
        right += int((answer == own).sum())
    return right / (2 * len(own))


@torch.no_grad()
def dead_features(*views: Tensor) -> int:
    """Number of features with zero variance over the batch in at least one of the `views`, each (B, D).

    Raises:
        CourseError: no view given, shapes that differ or are not (B, D), or B below 2.
    """
    if not views:
        raise CourseError("dead_features: expected at least one feature tensor of shape (B, D).")
    dead = [_constant(_pair(views[0], view)[1]) for view in views]
    return int(torch.stack(dead).any(0).sum())


@torch.no_grad()
def feature_health(h: Tensor, limit: int = 2048) -> dict[str, float]:
    """Is the representation alive? Dead features, effective rank and spread of a batch of features.

    Args:
        h: features (N, D), tensor or array, any float dtype.
        limit: rows used, evenly spaced over `h`: the cost of the rank grows with the cube of the smaller side.

    Returns:
        dict with `dim` (D), `dead` (zero-variance features), `rank` (RankMe, Garrido et al. 2023, eq. 1: exponential of
        the entropy of the normalised singular values, 1..min(N, D)), `std` (mean standard deviation of the
        L2-normalised features: 0 when collapsed, about 1/sqrt(D) when spread evenly; SimSiam, Chen and He 2021) and
        `deviation` (`std` as a share of that even spread: 0 when collapsed, about 1 when even).

    Raises:
        CourseError: `h` is not (N, D), N is below 2, or it holds a NaN or an infinity.
    """
    from lightly.utils.debug import std_of_l2_normalized  # brings matplotlib and torchvision with it

    h, _ = _pair(torch.as_tensor(h), torch.as_tensor(h))
    if not _finite(h):
        raise CourseError("feature_health: the features hold NaN or infinity; the run has diverged.")
    if len(h) > limit:
        h = h[torch.linspace(0, len(h) - 1, limit).long()]
    std = float(std_of_l2_normalized(h))
    return {
        "dim": h.shape[1],
        "dead": dead_features(h),
        "rank": _rankme(h),
        "std": std,
        "deviation": std * h.shape[1] ** 0.5,
    }


@torch.no_grad()
def alignment(h1: Tensor, h2: Tensor) -> float:
    """Mean squared distance of an image's two views on the unit sphere, 0..4; 0 where both are alike (Wang and Isola 2020).

    Args:
        h1, h2: features of two views, (B, D), any float dtype; row i of one belongs to row i of the other.

    Raises:
        CourseError: shapes differ, are not (B, D), or B is below 2.
    """
    h1, h2 = (F.normalize(h, dim=1) for h in _pair(h1, h2))
    return float((h1 - h2).square().sum(1).mean())


@torch.no_grad()
def uniformity(h: Tensor) -> float:
    """Log of the mean of exp(-2 d²) over all pairs of features at distance d on the unit sphere (Wang and Isola 2020).

    0 where all are alike; near -4 at best, where features lie evenly on a sphere of many dimensions.

    Args:
        h: features of one view of each image, (B, D), any float dtype.

    Raises:
        CourseError: `h` is not (B, D), or B is below 2.
    """
    h, _ = _pair(h, h)
    return float(torch.pdist(F.normalize(h, dim=1)).square().mul(-2).exp().mean().log())


def _rankme(h: Tensor) -> float:
    wide = h.double() if len(h) <= h.shape[1] else h.double().T
    # Squared singular values are the eigenvalues of the smaller Gram matrix; float64 keeps seven digits of the roots.
    singular = torch.linalg.eigvalsh(wide @ wide.T).clamp(min=0).sqrt()
    if singular.sum() == 0:
        return 0.0
    share = singular / singular.sum()
    return float(torch.special.entr(share).sum().exp())


def _count_own(a: Tensor, b: Tensor) -> int:
    """Rows of C = a^T b plus rows of C^T whose first arg-max is the diagonal, C made a block of rows at a time.

    A maximum without its position is several times cheaper than an arg-max, so each block keeps maxima to the left,
    right, above and below of the diagonal. The first maximum wins: own > all before it, own >= all after it.
    """
    width = a.shape[1]
    lowest = torch.full((width,), -torch.inf, device=a.device)
    above, below = lowest.clone(), lowest.clone()
    own = torch.empty_like(lowest)
    column_right = torch.empty(width, dtype=torch.bool, device=a.device)
    rows_right = 0
    step = min(width, max(1, BLOCK_ENTRIES // width))
    held = torch.empty(step, width, device=a.device)
    for start in range(0, width, step):
        stop = min(start + step, width)
        block = torch.mm(a[:, start:stop].T, b, out=held[: stop - start])
        square = block[:, start:stop]
        place = torch.arange(stop - start, device=a.device)
        own[start:stop] = diagonal = square.diagonal()
        right = square.argmax(1) == place
        if start > 0:
            right &= diagonal > block[:, :start].amax(1)
        if stop < width:
            right &= diagonal >= block[:, stop:].amax(1)
        rows_right += int(right.sum())
        column_right[start:stop] = square.argmax(0) == place
        column_max = block.amax(0)
        below[:start] = torch.maximum(below[:start], column_max[:start])
        above[stop:] = torch.maximum(above[stop:], column_max[stop:])
    column_right &= (own > above) & (own >= below)
    return rows_right + int(column_right.sum())


def _count_rows(a: Tensor, b: Tensor, rows: Tensor) -> int:
    right = 0
    for part in rows.split(max(1, BLOCK_ENTRIES // b.shape[1])):
        block = a[:, part].T @ b
        # A maximum without its position is several times cheaper: only rows that reach it are searched for the first one.
        best = block.gather(1, part[:, None]).flatten() >= block.amax(1)
        right += int((block[best].argmax(1) == part[best]).sum())
    return right


def _standardise(h: Tensor) -> Tensor:
    # Brought to a largest value of 1 before and after: sums and squares of extreme features leave float32's range.
    h = h / h.abs().amax(0)
    centred = h.sub_(h.mean(0))
    centred /= centred.abs().amax(0)
    return centred.div_(centred.square().mean(0).sqrt())


def _constant(h: Tensor) -> Tensor:
    """(D,) bool. By equality of extremes: the mean of equal numbers is rounded, so their variance need not be 0."""
    return h.amax(0) == h.amin(0)


def _finite(*tensors: Tensor) -> bool:
    # Least and greatest carry any NaN or infinity there is, at a tenth of the price of looking at each value.
    return all(bool(extreme.isfinite()) for h in tensors for extreme in torch.aminmax(h))


def _pair(h1: Tensor, h2: Tensor) -> tuple[Tensor, Tensor]:
    if h1.shape != h2.shape:
        raise CourseError(f"features of two views must have one shape, got {tuple(h1.shape)} and {tuple(h2.shape)}.")
    if h1.ndim != 2 or h1.shape[0] < 2 or h1.shape[1] < 1:
        raise CourseError(f"expected features of shape (B, D) with B >= 2 and D >= 1, got {tuple(h1.shape)}.")
    return h1.detach().float(), h2.detach().float()
