"""Models scored on the same test images, compared by pairs: by how much one is better, and whether that may be chance.

Two accuracies with an interval each waste what is known: most images are easy or hard for both models alike. What tells
the models apart are the *discordant* images, which one of them alone has right. Three tools count these, one correction
goes over them:

- p-value: McNemar's test (McNemar 1947, doi:10.1007/BF02295996) in its exact form: if the models were equally good, each
  discordant image would be a fair coin, so their number is binomial. Edwards's correction for continuity (Edwards 1948,
  doi:10.1007/BF02289261) serves the approximation by chi-squared, which few images do not allow.
- interval of one pair of trainings: the percentile bootstrap (Efron and Tibshirani 1993, chapter 13). Test images are
  drawn with replacement; a pair of answers stays a pair.
- interval over seeds: the hierarchical bootstrap, which draws seeds and then images, and Student's t over seeds.
- several comparisons in one table: Holm's correction (Holm 1979, Scand. J. Statist. 6:65-70) keeps the chance of any
  false finding at 5 % or below.

Images of one patient, or copies of one picture, are no independent evidence. With `groups` whole groups are drawn, and
in the test a group counts once, for the model that has more of its images right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from brainssl_utils.errors import CourseError
from brainssl_utils.intervals import t_interval

Ints = npt.NDArray[np.int64]
Report = Mapping[str, Any]
Answers = tuple[npt.ArrayLike, npt.ArrayLike, npt.ArrayLike]
"""True classes, the first model's answers, the second model's: (n,) each."""

DRAWS = 10_000
"""Draws of the bootstrap: another seed moves an end of the interval by about a hundredth of its width."""
TRAIN_AGAIN = "Records of earlier versions of the course do not: delete its record and train that model again."
COLUMNS = ("model", "against", "difference", "lo", "hi", "p", "p_holm", "comparisons", "finding", "seeds", "n")


class Paired(NamedTuple):
    """Two models on the same test images.

    Attributes:
        difference: accuracy of the second minus that of the first, a share in -1..1.
        low, high: its 95 % bootstrap interval.
        p: of McNemar's exact test, two-sided.
        b, c: images that the first alone has right, and the second alone; difference = (c - b) / n.
        n: test images.
    """

    difference: float
    low: float
    high: float
    p: float
    b: int
    c: int
    n: int


class PairedSeeds(NamedTuple):
    """Two models over several seeds; each seed trains both anew and tests both on its own test part.

    Attributes:
        difference: mean over seeds of second minus first.
        low, high: 95 % interval of the hierarchical bootstrap: other seeds *and* other test images.
        t_low, t_high: 95 % Student-t interval of the mean over seeds, which knows nothing but the seeds' differences. It
            is honest about their small number, and therefore wide: with three seeds 4.3 standard errors to either side.
        p: of McNemar's exact test on all test images together; an image that several seeds test counts once, for the
            model that has it right more often. It speaks of these trainings: other seeds are the intervals' part.
        b, c: discordant images as in `Paired`, summed over seeds.
        n: test images, summed over seeds.
        seeds: how many.
    """

    difference: float
    low: float
    high: float
    t_low: float
    t_high: float
    p: float
    b: int
    c: int
    n: int
    seeds: int


def compare(
    truth: npt.ArrayLike,
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    groups: npt.ArrayLike | None = None,
    seed: int = 0,
    draws: int = DRAWS,
) -> Paired:
    """Compare the answers of two models to the same test images.

    Args:
        truth, first, second: classes (n,): the true ones and the models' answers.
        groups: (n,) numbers or names; images with the same one are no independent evidence (copies, one patient's
            slices). Default: every image stands alone.
        seed: of the bootstrap's draws.
        draws: how many.

    Raises:
        CourseError: no images, or lengths that differ.
    """
    gain = _gain((truth, first, second))
    right, images = _by_unit([gain], [_units(gain, groups, 0)])
    low, high = _percentiles(_resampled(right, images, np.random.default_rng(seed), draws))
    b, c = int((gain < 0).sum()), int((gain > 0).sum())
    return Paired((c - b) / len(gain), low, high, _exact_p(right), b, c, len(gain))


def compare_over_seeds(
    parts: Sequence[Answers], groups: Sequence[npt.ArrayLike] | None = None, seed: int = 0, draws: int = DRAWS
) -> PairedSeeds:
    """Compare two models over several seeds.

    The hierarchical bootstrap draws as many seeds as there are, with replacement, and in the same draw test images (or
    groups); its interval holds both sources of chance. It is too wide where the seeds agree. Where they do not, two or three
    of them show little of what further seeds could bring, and it is too narrow: simulated with three seeds of 308 images
    whose true differences scatter by 0, 3 and 8 points, it held the mean in over 99, 97 and 86 % of cases. `t_low` and
    `t_high` stay near 95 %.

    Args:
        parts: (truth, first, second) of each seed's own test part, as in `compare`; at least two.
        groups: one array a seed, as in `compare`. The same group in two seeds is the same images and is drawn for both
            together. Default: every image stands alone, in every seed.
        seed: of the bootstrap's draws.
        draws: how many.

    Raises:
        CourseError: fewer than two seeds, a seed without images, or lengths that differ.
    """
    if len(parts) < 2:
        raise CourseError(f"compare_over_seeds: {len(parts)} seeds; at least two are needed. One is for `compare`.")
    if groups is not None and len(groups) != len(parts):
        raise CourseError(f"compare_over_seeds: {len(groups)} arrays of groups for {len(parts)} seeds.")
    gains = [_gain(part) for part in parts]
    starts = np.cumsum([0, *map(len, gains)])
    units = [_units(gain, None if groups is None else groups[s], int(starts[s])) for s, gain in enumerate(gains)]
    right, images = _by_unit(gains, units)
    rng = np.random.default_rng(seed)
    of_seeds = _resampled(right, images, rng, draws)
    chosen = rng.integers(len(gains), size=of_seeds.shape)
    low, high = _percentiles(np.take_along_axis(of_seeds, chosen, axis=1))
    difference, t_low, t_high = t_interval(gain.mean() for gain in gains)
    every = np.concatenate(gains)
    b, c = int((every < 0).sum()), int((every > 0).sum())
    return PairedSeeds(difference, low, high, t_low, t_high, _exact_p(right), b, c, len(every), len(gains))


def paired_table(
    pairs: Mapping[tuple[str, str], tuple[Report, Report]],
    groups: npt.ArrayLike | Mapping[tuple[str, str], npt.ArrayLike] | None = None,
) -> pd.DataFrame:
    """Compare pairs of test reports, with Holm's correction over all of them.

    Args:
        pairs: (model, what it is set against) -> (its `test_report`, the other's).
        groups: as in `compare`, for all pairs or by pair where they were tested on different images.

    Returns:
        one row a pair: model, against, difference in points (percent of the test images), lo, hi (95 %), p, p_holm (after
        the correction), comparisons (that it goes over), finding ("above", "below" or "open"; the first two take both a
        p_holm under 0.05 and an interval without 0), seeds, n. `verdict` makes a sentence of a row.

    Raises:
        CourseError: no pairs, reports that keep no answers, or two that were scored on different images.
    """
    rows = []
    for (model, against), (report, reference) in pairs.items():
        unit = groups.get((model, against)) if isinstance(groups, Mapping) else groups
        answers = _answers(reference, report, against, model)
        rows.append(_row(model, against, [answers], None if unit is None else [unit]))
    return _corrected(rows)


def comparison_table(
    records: Sequence[Mapping[str, Any]],
    reference: str,
    reading: str = "test",
    by: Sequence[str] = ("method", "protocol", "tag"),
    groups: npt.ArrayLike | None = None,
) -> pd.DataFrame:
    """Compare every model of a set of records with one of them, seed by seed.

    Args:
        records: as `results.records.read_records` gives them, one a model and seed, all of one corpus.
        reference: the name of the model that the others are set against. A model's name is what the record holds under
            `by`, joined by ", ", with the method's title: "SimCLR, fair", or "Masked encoder, fair, contrast".
        reading: whose answers: "test" for the method's own classifier, "linear" or "knn" for probes of frozen features.
        by: fields of a record that tell models apart.
        groups: (N,) of all images of the corpus, as in `compare`. Default: the units that the records name under
            `test_units`, which are patients and groups of copies; images stand alone where a record names none, as
            those of earlier versions of the course.

    Returns:
        as `paired_table`. Seeds that only one of the two has are left out; over several, `compare_over_seeds` gives
        difference, lo, hi (hierarchical bootstrap) and p.

    Raises:
        CourseError: no such reference, nothing to set against it, a model twice with one seed, a record that keeps no
            answers, or two with one seed that were not scored on the same rows of the same corpus.
    """
    models = _by_name(records, by)
    if reference not in models:
        raise CourseError(f"no record of '{reference}'. There are: {'; '.join(models) or 'none'}.")
    base, rows = models.pop(reference), []
    unit_of = None if groups is None else np.asarray(groups)
    for name, found in models.items():
        seeds = sorted(set(found) & set(base))
        if not seeds:
            raise CourseError(f"'{name}' and '{reference}' have no seed in common, so that nothing pairs them.")
        tested, parts = [], []
        for seed in seeds:
            tested.append(_same_rows(base[seed], found[seed], f"{reference}, seed {seed}", f"{name}, seed {seed}"))
            reports = _reading(base[seed], reading, reference), _reading(found[seed], reading, name)
            parts.append(_answers(*reports, reference, name))
        named = _named_units([base[seed] for seed in seeds], [found[seed] for seed in seeds])
        units = [unit_of[rows] for rows in tested] if unit_of is not None else named or tested
        rows.append(_row(name, reference, parts, units))
    return _corrected(rows)


def _named_units(*models: Sequence[Mapping[str, Any]]) -> list[Ints] | None:
    """The units of the test images of each seed, by whichever model's record names them; None if a seed's are not named."""
    found = [next((record["test_units"] for record in seed if "test_units" in record), None) for seed in zip(*models)]
    named = [np.asarray(units, np.int64) for units in found if units is not None]
    return named if len(named) == len(found) else None


def verdict(row: Any) -> str:
    """Say in a sentence what a row of `paired_table` or `comparison_table` shows.

    Args:
        row: from `table.iloc[i]` or `table.itertuples()`.
    """
    chance = "p < 0.001" if row.p_holm < 0.001 else f"p = {row.p_holm:.2g}"
    if row.comparisons > 1:
        chance += f" after Holm's correction over {row.comparisons} comparisons"
    interval = f"[{row.lo:.1f}, {row.hi:.1f}]" + (f" over {row.seeds} seeds" if row.seeds > 1 else "")
    if row.finding == "open":
        return f"{row.model} **cannot be told apart** from {row.against}: {row.difference:+.1f} points {interval}, {chance}"
    return f"{row.model} is **{abs(row.difference):.1f} points {row.finding}** {row.against} {interval}, {chance}"


def verdicts(table: pd.DataFrame) -> str:
    """Return the verdict of each row as a Markdown list."""
    return "\n".join(f"- {verdict(row)}." for row in table.itertuples())


def _gain(answers: Answers) -> Ints:
    """(n,): 1 where the second model alone is right, -1 where the first alone is, 0 where they agree in that."""
    truth, first, second = map(np.asarray, answers)
    if truth.ndim != 1 or not len(truth) or not truth.shape == first.shape == second.shape:
        raise CourseError(
            "expected the true classes and both models' answers for the same images, (n,) each with n at least 1; got "
            f"{truth.shape}, {first.shape} and {second.shape}."
        )
    return (second == truth).astype(np.int64) - (first == truth)


def _units(gain: Ints, groups: npt.ArrayLike | None, start: int) -> npt.NDArray[Any]:
    if groups is None:
        return np.arange(start, start + len(gain))
    units = np.asarray(groups)
    if units.shape != gain.shape:
        raise CourseError(
            f"`groups` has shape {units.shape}, but there are {len(gain)} test images: give one an image."
        )
    return units


def _by_unit(gains: Sequence[Ints], units: Sequence[npt.NDArray[Any]]) -> tuple[Ints, Ints]:
    """Sums of gains, and numbers of images, of each unit in each seed: (U, S) and (U, S)."""
    _, number = np.unique(np.concatenate(units), return_inverse=True)
    seed = np.repeat(np.arange(len(gains)), [len(gain) for gain in gains])
    right, images = np.zeros((2, number.max() + 1, len(gains)), np.int64)
    np.add.at(right, (number, seed), np.concatenate(gains))
    np.add.at(images, (number, seed), 1)
    return right, images


def _resampled(right: Ints, images: Ints, rng: np.random.Generator, draws: int) -> npt.NDArray[np.float64]:
    """Differences of `draws` bootstrap samples of units, (draws, S); NaN where a sample has no image of a seed."""
    # Units with the same sums are interchangeable, so it is enough to draw how often each kind of them comes.
    kinds, counts = np.unique(np.hstack([right, images]), axis=0, return_counts=True)
    gain, size = np.hsplit(rng.multinomial(len(right), counts / len(right), size=draws) @ kinds, 2)
    return np.divide(gain, size, out=np.full(gain.shape, np.nan), where=size > 0)


def _percentiles(samples: npt.NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.nanpercentile(samples.mean(axis=1), [2.5, 97.5])
    return float(low), float(high)


def _exact_p(right: Ints) -> float:
    from statsmodels.stats.contingency_tables import mcnemar  # slow to import, so only where it is needed

    net = right.sum(axis=1)
    return float(mcnemar([[0, (net < 0).sum()], [(net > 0).sum(), 0]], exact=True).pvalue)


def _row(
    model: str, against: str, parts: Sequence[Answers], units: Sequence[npt.ArrayLike] | None = None
) -> dict[str, Any]:
    found: Paired | PairedSeeds
    if len(parts) == 1:
        found = compare(*parts[0], groups=None if units is None else units[0])
    else:
        found = compare_over_seeds(parts, units)
    points = {"difference": 100 * found.difference, "lo": 100 * found.low, "hi": 100 * found.high}
    return {"model": model, "against": against, **points, "p": found.p, "seeds": len(parts), "n": found.n}


def _corrected(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    from statsmodels.stats.multitest import multipletests

    if not rows:
        raise CourseError("nothing to compare: give at least two models.")
    table = pd.DataFrame(rows)
    table["p_holm"] = multipletests(table["p"], method="holm")[1]
    sure = table["p_holm"] < 0.05
    table["finding"] = np.select([sure & (table["lo"] > 0), sure & (table["hi"] < 0)], ["above", "below"], "open")
    return table.assign(comparisons=len(table))[list(COLUMNS)]


def _answers(first: Report, second: Report, first_name: str, second_name: str) -> Answers:
    for report, name in ((first, first_name), (second, second_name)):
        if "truth" not in report or "predictions" not in report:
            raise CourseError(f"the report of '{name}' does not keep each image's answer. {TRAIN_AGAIN}")
    if list(first["truth"]) != list(second["truth"]):
        raise CourseError(f"'{first_name}' and '{second_name}' were scored on different images: they cannot be paired.")
    return first["truth"], first["predictions"], second["predictions"]


def _by_name(records: Sequence[Mapping[str, Any]], by: Sequence[str]) -> dict[str, dict[int, Mapping[str, Any]]]:
    """Records by the model's name, then by seed."""
    models: dict[str, dict[int, Mapping[str, Any]]] = {}
    for record in records:
        told = [record.get("title") or record["method"] if field == "method" else record.get(field) for field in by]
        name = ", ".join(str(value) for value in told if value not in (None, ""))
        seeds = models.setdefault(name, {})
        if record["seed"] in seeds:
            raise CourseError(
                f"'{name}' occurs twice with seed {record['seed']}: leave one out, or add to `by` what tells them apart."
            )
        seeds[record["seed"]] = record
    return models


def _same_rows(first: Mapping[str, Any], second: Mapping[str, Any], first_name: str, second_name: str) -> Ints:
    """The rows that both records were tested on."""
    for record, name in ((first, first_name), (second, second_name)):
        if "test_rows" not in record:
            raise CourseError(f"the record of '{name}' does not keep which images it was tested on. {TRAIN_AGAIN}")
    for what, one, other in (
        ("corpora", first["data"].get("fingerprint"), second["data"].get("fingerprint")),
        ("rows of the corpus", list(first["test_rows"]), list(second["test_rows"])),
    ):
        if one != other:
            raise CourseError(
                f"'{first_name}' and '{second_name}' were scored on different {what}: they cannot be paired. Train both "
                "with the same data, split and seed."
            )
    return np.asarray(first["test_rows"], np.int64)


def _reading(record: Mapping[str, Any], reading: str, name: str) -> Report:
    readings = {"test": record["test"], **(record.get("evaluations") or {})}
    if reading not in readings:
        raise CourseError(f"the record of '{name}' has no reading '{reading}'. It has: {', '.join(readings)}.")
    return readings[reading]
