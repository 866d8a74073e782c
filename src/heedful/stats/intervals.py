"""Intervals for shares, means, win rates and differences."""

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri, stdtr, stdtrit

from heedful.stats.estimate import Estimate, undefined

Floats = NDArray[np.float64]
Clusters = Sequence[Hashable] | NDArray[Any]


def wilson(successes: float, n: float, *, confidence: float = 0.95) -> Estimate:
    """The share successes/n with its score interval (Wilson 1927, JASA 22:209-212).

    centre = (p + z²/2n) / (1 + z²/n), half width = z √(p(1-p)/n + z²/4n²) / (1 + z²/n). Half successes are
    allowed, and so is a fractional n (an effective sample size).
    """
    if n <= 0:
        return undefined("there is nothing to count")
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes in {n} trials")
    share, z = successes / n, float(ndtri(0.5 + confidence / 2))
    centre = share + z * z / (2 * n)
    half = z * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    # At the ends of the scale, rounding must not push the interval off its own share.
    low, high = min((centre - half) / scale, share), max((centre + half) / scale, share)
    return Estimate(share, max(0.0, float(low)), min(1.0, float(high)), round(n))


def mean_interval(values: ArrayLike, *, confidence: float = 0.95, normal: bool = False) -> Estimate:
    """The mean with Student's interval, mean ± t s/√n with s over n - 1; `normal` puts z for t."""
    x = np.asarray(values, dtype=np.float64)
    if x.size == 0:
        return undefined("there are no values")
    mean = float(x.mean())
    if x.size == 1:
        return Estimate(mean, n=1, reason="one value has no spread")
    upper = 0.5 + confidence / 2
    quantile = ndtri(upper) if normal else stdtrit(x.size - 1, upper)
    half = float(quantile * x.std(ddof=1) / np.sqrt(x.size))
    return Estimate(mean, mean - half, mean + half, x.size)


def resample_weights(
    n: int, *, clusters: Clusters | None = None, resamples: int = 1000, seed: int = 0
) -> Iterator[Floats]:
    """Yield, for each bootstrap resample, how often every one of the n observations is in it.

    With `clusters` (one key an observation), whole clusters are drawn: judgements of one prompt hang
    together, and drawing them one by one would make every interval too narrow.
    """
    rng = np.random.default_rng(seed)
    if clusters is None:
        for _ in range(resamples):
            yield np.bincount(rng.integers(n, size=n), minlength=n).astype(np.float64)
        return
    group, groups = group_codes(clusters)
    if group.size != n:
        raise ValueError(f"{n} observations but {group.size} cluster keys")
    for _ in range(resamples):
        drawn = np.bincount(rng.integers(groups, size=groups), minlength=groups)
        yield drawn[group].astype(np.float64)


def bootstrap(
    statistic: Callable[[Floats], float | None],
    n: int,
    *,
    clusters: Clusters | None = None,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Estimate:
    """A statistic of weighted observations with its bootstrap percentile interval (Efron 1979).

    `statistic` takes the n weights (all 1 for the value itself), and returns None where it is undefined; such
    resamples are left out.
    """
    if n == 0:
        return undefined("there are no observations")
    value = statistic(np.ones(n))
    if value is None:
        return undefined("it is undefined for these observations", n)
    drawn = [
        found
        for weights in resample_weights(n, clusters=clusters, resamples=resamples, seed=seed)
        if (found := statistic(weights)) is not None
    ]
    if not drawn:
        return Estimate(value, n=n, reason="no resample defines it")
    low, high = np.quantile(drawn, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return Estimate(value, float(low), float(high), n)


@dataclass(frozen=True, slots=True)
class WinRate:
    """How often the first side was preferred, ties counted half and shown."""

    rate: Estimate
    wins: float
    ties: float
    losses: float


def win_rate(
    wins: ArrayLike,
    ties: ArrayLike = 0,
    losses: ArrayLike = 0,
    *,
    clusters: Clusters | None = None,
    confidence: float = 0.95,
) -> WinRate:
    """(wins + ties/2) / all, with an interval that knows about ties and about judgements that hang together.

    Numbers are totals of independent comparisons. Arrays hold one entry a prompt (or, with `clusters`, one
    entry a key): each prompt's comparisons are taken as one draw. Wilson's interval is used with the
    effective sample size p(1-p) / var(p), var from the linearised ratio, and t for z as the clusters are few
    (Korn & Graubard 1998, Survey Methodology 24:193-201); where nothing varies, with the number of draws.
    """
    w, t, lost = np.broadcast_arrays(*(np.asarray(each, dtype=np.float64) for each in (wins, ties, losses)))
    totals = (float(w.sum()), float(t.sum()), float(lost.sum()))
    judged = sum(totals)
    if judged == 0:
        return WinRate(undefined("there are no comparisons"), *totals)
    rate = (totals[0] + totals[1] / 2) / judged
    if w.ndim == 0 and clusters is None:
        spread = totals[0] * (1 - rate) ** 2 + totals[1] * (0.5 - rate) ** 2 + totals[2] * rate**2
        effective = judged * judged * rate * (1 - rate) / spread if spread > 0 else judged
    else:
        deviation = (w + t / 2 - rate * (w + t + lost)).reshape(-1)
        if clusters is not None:
            group, groups = group_codes(clusters)
            deviation = np.bincount(group, weights=deviation, minlength=groups)
        if deviation.size == 1:
            return WinRate(Estimate(rate, n=round(judged), reason="one prompt has no spread"), *totals)
        effective = _effective_size(rate, judged, deviation, confidence)
    found = wilson(rate * effective, effective, confidence=confidence)
    return WinRate(Estimate(rate, found.low, found.high, round(judged)), *totals)


def _effective_size(rate: float, judged: float, deviation: Floats, confidence: float) -> float:
    """How many independent draws would vary as these clusters do; few clusters count for less (t for z)."""
    draws = deviation.size
    variance = float((deviation**2).sum()) * draws / (draws - 1) / judged**2
    if variance == 0:
        return float(draws)
    upper = 0.5 + confidence / 2
    return rate * (1 - rate) / variance * float(ndtri(upper) / stdtrit(draws - 1, upper)) ** 2


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """The mean of new - old over the same prompts, and Student's two-sided p that it is zero.

    `better` is the acceptance step's answer: the whole interval lies above zero.
    """

    difference: Estimate
    p_value: float | None
    better: bool


def paired_difference(
    new: ArrayLike, old: ArrayLike, *, clusters: Clusters | None = None, confidence: float = 0.95
) -> PairedDifference:
    """Compare two systems by the paired t test (Student 1908), on one difference a prompt.

    With `clusters`, differences are averaged within each cluster first, so that n is the number of clusters.
    """
    a, b = np.asarray(new, dtype=np.float64), np.asarray(old, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(
            f"new and old must be two lists of one length, not of shapes {a.shape} and {b.shape}"
        )
    difference = a - b
    if clusters is not None:
        group, groups = group_codes(clusters)
        sums = np.bincount(group, weights=difference, minlength=groups)
        difference = sums / np.bincount(group, minlength=groups)
    found = mean_interval(difference, confidence=confidence)
    if found.value is None or found.low is None:
        return PairedDifference(found, None, False)
    error = float(difference.std(ddof=1)) / np.sqrt(difference.size)
    if error == 0:
        return PairedDifference(found, float(found.value == 0), found.low > 0)
    p_value = 2 * float(stdtr(difference.size - 1, -abs(found.value) / error))
    return PairedDifference(found, p_value, found.low > 0)


def group_codes(keys: Clusters) -> tuple[NDArray[np.intp], int]:
    """Number the distinct keys from 0 as they come; return each entry's number, and how many there are."""
    codes: dict[Hashable, int] = {}
    numbered = [codes.setdefault(key, len(codes)) for key in keys]
    return np.asarray(numbered, dtype=np.intp), len(codes)
