"""Whether probabilities mean what they say, and how well scores tell the better answer from the worse."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri
from scipy.stats import rankdata

from heedful.stats.estimate import Estimate, undefined
from heedful.stats.intervals import Clusters, WinRate, bootstrap, wilson, win_rate

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Bin:
    """The predictions from `low` to `high`: their mean, and the share that came true (Wilson's interval)."""

    low: float
    high: float
    predicted: float
    observed: Estimate


def calibration_curve(probability: ArrayLike, outcome: ArrayLike, *, bins: int = 10) -> list[Bin]:
    """Set the mean prediction of each bin of equal width beside what happened; empty bins are left out.

    `outcome` is 1 where the event came (the answer said to be better was chosen), 0 where not, 0.5 for a
    tie.
    """
    p, y = _checked(probability, outcome)
    place = np.minimum((p * bins).astype(np.intp), bins - 1)
    n, predicted, came = (
        np.bincount(place, weights=each, minlength=bins) for each in (np.ones_like(p), p, y)
    )
    return [
        Bin(b / bins, (b + 1) / bins, float(predicted[b] / n[b]), wilson(float(came[b]), float(n[b])))
        for b in np.flatnonzero(n).tolist()
    ]


def expected_calibration_error(
    probability: ArrayLike,
    outcome: ArrayLike,
    *,
    bins: int = 10,
    clusters: Clusters | None = None,
    resamples: int = 0,
    seed: int = 0,
) -> Estimate:
    """sum_b n_b/n |mean prediction - share that came true| over bins of equal width (Naeini et al. 2015)."""
    p, y = _checked(probability, outcome)
    place = np.minimum((p * bins).astype(np.intp), bins - 1)

    def error(weights: Floats) -> float:
        gap = np.bincount(place, weights=weights * (p - y), minlength=bins)
        return float(np.abs(gap).sum() / weights.sum())

    if p.size and not resamples:
        return Estimate(error(np.ones(p.size)), n=p.size)
    return bootstrap(error, p.size, clusters=clusters, resamples=resamples, seed=seed)


def brier(
    probability: ArrayLike,
    outcome: ArrayLike,
    *,
    clusters: Clusters | None = None,
    resamples: int = 0,
    seed: int = 0,
) -> Estimate:
    """The mean squared error of the predictions (Brier 1950); 0.25 is what "one half" always earns."""
    p, y = _checked(probability, outcome)
    squared = (p - y) ** 2

    def mean(weights: Floats) -> float:
        return float(weights @ squared / weights.sum())

    if p.size and not resamples:
        return Estimate(mean(np.ones(p.size)), n=p.size)
    return bootstrap(mean, p.size, clusters=clusters, resamples=resamples, seed=seed)


def accuracy(margin: ArrayLike, *, clusters: Clusters | None = None) -> WinRate:
    """How often the chosen answer scores higher: margins are score(chosen) - score(rejected), 0 counts half.

    `clusters` names each pair's prompt, for the pairs of one ranking hang together.
    """
    m = np.asarray(margin, dtype=np.float64).reshape(-1)
    signs = [(m > 0), (m == 0), (m < 0)]
    if clusters is None:
        return win_rate(*(float(sign.sum()) for sign in signs))
    return win_rate(*(sign.astype(np.float64) for sign in signs), clusters=clusters)


def auc(score: ArrayLike, positive: ArrayLike, *, confidence: float = 0.95) -> Estimate:
    """The chance that a positive scores higher than a negative, ties half, with the interval of DeLong et al.

    The variance is var(V10)/m + var(V01)/n over the placements (DeLong, DeLong & Clarke-Pearson 1988,
    Biometrics 44:837-845), which takes the observations as independent.
    """
    x, y = np.asarray(score, dtype=np.float64), np.asarray(positive, dtype=np.bool_)
    if x.shape != y.shape or x.ndim != 1:
        raise ValueError(f"scores of shape {x.shape} for labels of shape {y.shape}")
    m, n = int(y.sum()), int((~y).sum())
    if m == 0 or n == 0:
        return undefined("there must be positives and negatives", x.size)
    every = rankdata(x)
    above = (every[y] - rankdata(x[y])) / n
    below = 1 - (every[~y] - rankdata(x[~y])) / m
    value = float(above.mean())
    if m == 1 or n == 1:
        return Estimate(value, n=x.size, reason="one positive or one negative has no spread")
    error = np.sqrt(above.var(ddof=1) / m + below.var(ddof=1) / n)
    half = float(ndtri(0.5 + confidence / 2) * error)
    return Estimate(value, max(0.0, value - half), min(1.0, value + half), x.size)


def _checked(probability: ArrayLike, outcome: ArrayLike) -> tuple[Floats, Floats]:
    p, y = np.asarray(probability, dtype=np.float64), np.asarray(outcome, dtype=np.float64)
    if p.shape != y.shape or p.ndim != 1:
        raise ValueError(f"probabilities of shape {p.shape} for outcomes of shape {y.shape}")
    if p.size and (min(p.min(), y.min()) < 0 or max(p.max(), y.max()) > 1):
        raise ValueError("probabilities and outcomes must lie between 0 and 1")
    return p, y
