"""Best of n, and how a true reward follows the distance from the start while a learnt one is optimised.

Gao, Schulman and Hilton 2022 (arXiv:2210.10760): with d the root of the KL, best of n earns d (a - b d) and RL earns
d (a - b ln d).
"""

from dataclasses import dataclass
from math import comb, log
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Floats = NDArray[np.float64]
Law = Literal["best_of_n", "rl"]

FAR = 50.0
"""A ratio of coefficients beyond which a law never turns."""


def kl_bound(n: int) -> float:
    """ln n - (n-1)/n nats: the KL of best of n, exact where no two answers earn the same, else an upper bound."""
    return log(n) - (n - 1) / n


def exact_kl(probabilities: ArrayLike, n: int) -> float:
    """The KL of best of n from a distribution over answers that are given worst first and all earn differently."""
    p = np.asarray(probabilities, dtype=np.float64)
    q = np.diff(np.cumsum(p / p.sum()) ** n, prepend=0.0)
    kept = q > 0
    return float((q[kept] * np.log(q[kept] / (p / p.sum())[kept])).sum())


def best_of(proxy: ArrayLike, gold: ArrayLike, n: int) -> Floats:
    """What the answer that `proxy` likes best of n earns in `gold`, estimated for each prompt from M answers: [P].

    proxy, gold [P, M]. The mean over all choices of n of the M answers, without drawing any (no bias):
    sum_i C(i-1, n-1) / C(M, n) gold_(i), i the rank by proxy; answers that the proxy ties share their weights.
    """
    by, value = np.atleast_2d(np.asarray(proxy, float)), np.atleast_2d(np.asarray(gold, float))
    m = by.shape[1]
    if not 1 <= n <= m:
        raise ValueError(f"best of {n} cannot be estimated from {m} answers")
    weight = np.asarray([comb(i, n - 1) / comb(m, n) for i in range(m)])
    found = np.empty(len(by))
    for row, (scores, earned) in enumerate(zip(by, value, strict=True)):
        order = np.argsort(scores, kind="stable")
        _, group = np.unique(scores[order], return_inverse=True)
        shared = np.bincount(group, weight) / np.bincount(group)
        found[row] = shared[group] @ earned[order]
    return found


@dataclass(frozen=True)
class Fit:
    """The law's coefficients with 95 % intervals, the share of variance that it explains, and where it peaks."""

    alpha: tuple[float, float, float]
    beta: tuple[float, float, float]
    r_squared: float
    peak: float | None
    n: int


def fit_law(distance: ArrayLike, gain: ArrayLike, law: Law) -> Fit:
    """Least squares of gain = d (a - b f), f = d or ln d; intervals by Student's t. At least three points with d > 0.

    `gain` is the true reward above the start's. The peak is a / 2b for best of n and e^(a/b - 1) for RL, None where the
    law never turns (b <= 0).
    """
    d, y = np.asarray(distance, float), np.asarray(gain, float)
    d, y = d[d > 0], y[d > 0]
    if len(d) < 3:
        raise ValueError("a law of two coefficients needs at least three distances above zero")
    x = np.stack([d, -d * (d if law == "best_of_n" else np.log(d))], 1)
    (alpha, beta), *_ = np.linalg.lstsq(x, y, rcond=None)
    rest = y - x @ (alpha, beta)
    spread = rest @ rest / (len(d) - 2) * np.linalg.inv(x.T @ x)
    half = stats.t.ppf(0.975, len(d) - 2) * np.sqrt(np.diag(spread))
    turn = float(alpha / beta) if beta > 0 else np.inf
    peak = (turn / 2 if law == "best_of_n" else float(np.exp(turn - 1))) if turn < FAR else None
    explained = 1 - float(rest @ rest) / max(float(((y - y.mean()) ** 2).sum()), 1e-300)
    bounds = [(float(c), float(c - h), float(c + h)) for c, h in zip((alpha, beta), half, strict=True)]
    return Fit(bounds[0], bounds[1], explained, peak, len(d))
