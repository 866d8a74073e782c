"""How strong players are, from who beat whom: Bradley-Terry with ties, and Elo."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from scipy.special import logsumexp

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
ELO_SCALE = 400 / np.log(10)
"""Elo points in one nat of Bradley-Terry strength."""


FARTHEST = 25.0
"""Nats: a fit that goes beyond has no maximum that it could reach."""

FLATTEST = 1e4
"""Variance of a strength, in squared nats, beyond which the likelihood is flat: games say nothing about it."""

ENDLESS = "ties and wins leave no finite maximum: too few games were won by both sides"


@dataclass(frozen=True, slots=True)
class BradleyTerry:
    """Strengths in nats with mean 0, and their standard errors; None with a `reason` where they do not exist.

    P(i beats j) is proportional to exp(strength_i); with Davidson's ties, P(tie) to `tie` times the geometric
    mean of the two players'. `covariance` is that of the strengths, for intervals of differences.
    """

    strength: Floats | None
    error: Floats | None
    covariance: Floats | None
    tie: float
    log_likelihood: float
    reason: str = ""


def bradley_terry(
    wins: ArrayLike,
    ties: ArrayLike | None = None,
    *,
    model: Literal["half", "davidson"] = "half",
    ridge: float = 0.0,
) -> BradleyTerry:
    """Fit Bradley-Terry strengths by Newton's method (Bradley & Terry 1952, Biometrika 39:324-345).

    `wins[i, j]` counts how often i beat j, `ties[i, j]` + `ties[j, i]` how often they tied. "half" takes a
    tie as half a win for each; "davidson" gives ties a probability of their own (Davidson 1970, JASA
    65:317-328). The maximum exists if no group of players won or lost everything against the others (Ford
    1957); `ridge` > 0 adds ridge/2 |strength|² to the loss, so that it always does.
    """
    won = np.asarray(wins, dtype=np.float64)
    tied = np.zeros_like(won) if ties is None else np.asarray(ties, dtype=np.float64)
    players = won.shape[0]
    if won.shape != (players, players) or tied.shape != won.shape or (won < 0).any() or (tied < 0).any():
        raise ValueError("wins and ties must be square tables of one size without negative numbers")
    tied = tied + tied.T
    reason = _no_maximum(won + tied)
    if reason and ridge == 0:
        return BradleyTerry(None, None, None, 0.0, float("nan"), reason)
    davidson = model == "davidson" and bool(tied.any())
    if not davidson:
        won, tied = won + tied / 2, np.zeros_like(tied)
    i, j = np.nonzero(np.triu(won + won.T + tied, 1))
    counts = np.stack([won[i, j], won[j, i], tied[i, j]], axis=1)
    try:
        return _newton(i, j, counts, players, davidson, ridge)
    except np.linalg.LinAlgError:
        return BradleyTerry(None, None, None, 0.0, float("nan"), ENDLESS)


def clustered_covariance(fit: BradleyTerry, wins: ArrayLike, ties: ArrayLike) -> Floats:
    """The covariance of the strengths where games hang together: tables are clusters x players x players.

    The sandwich H⁻¹ (C/(C-1) sum_c g_c g_c') H⁻¹ (Liang & Zeger 1986, Biometrika 73:13-22), with g_c the
    gradient of a cluster's log-likelihood at the fit, and H its curvature in all. For few players: it is dense.
    """
    if fit.strength is None:
        raise ValueError("the fit has no strengths")
    won = np.asarray(wins, dtype=np.float64)
    tied = np.asarray(ties, dtype=np.float64)
    clusters, players = won.shape[:2]
    if fit.tie == 0:
        won = won + (tied + tied.transpose(0, 2, 1)) / 2
        tied = np.zeros_like(tied)
    gradient = np.zeros((clusters, players + 1))
    curvature = np.zeros((players + 1, players + 1))
    for i, j in zip(*np.triu_indices(players, 1), strict=True):
        counts = np.stack([won[:, i, j], won[:, j, i], tied[:, i, j] + tied[:, j, i]], axis=1)
        features = np.zeros((3, players + 1))
        features[0, i] = features[1, j] = features[2, players] = 1
        features[2, [i, j]] = 0.5
        share = np.exp(features[:, :players] @ fit.strength) * np.array([1, 1, fit.tie])
        share /= share.sum()
        apart = features - share @ features
        gradient += counts @ apart
        curvature += counts.sum() * (apart.T * share) @ apart
    if fit.tie == 0:
        gradient, curvature = gradient[:, :players], curvature[:players, :players]
    # Moving all strengths alike changes nothing, hence the pseudo-inverse.
    inverse = np.linalg.pinv(curvature, hermitian=True)
    found = inverse @ (gradient.T @ gradient) @ inverse * clusters / max(clusters - 1, 1)
    centre = np.eye(players) - 1 / players
    return np.asarray(centre @ found[:players, :players] @ centre)


@dataclass(frozen=True, slots=True)
class Adjusted:
    """Strengths at equal covariate, in nats with mean 0, and what a unit of the covariate adds to the logit.

    None with a `reason` where they do not exist.
    """

    strength: Floats | None
    error: Floats | None
    effect: float | None
    effect_error: float | None
    reason: str = ""


def bradley_terry_adjusted(
    first: ArrayLike, second: ArrayLike, score: ArrayLike, covariate: ArrayLike, players: int
) -> Adjusted:
    """Fit logit P(first beats second) = strength difference + effect * covariate, by Newton's method.

    `score` is 1, 0, or 0.5 for a tie; `covariate` belongs to the first minus the second, such as a difference of
    lengths (Dubois et al. 2024, arXiv 2404.04475: length-controlled win rates). Games with the same players
    and covariate are fitted as one row with counts, so few distinct covariates make it fast.
    """
    i, j = np.asarray(first, dtype=np.intp), np.asarray(second, dtype=np.intp)
    x, y = np.asarray(covariate, dtype=np.float64), np.asarray(score, dtype=np.float64)
    both, score_ = np.concatenate([i * players + j, j * players + i]), np.concatenate([y, 1 - y])
    beaten = np.bincount(both, weights=score_, minlength=players**2).astype(np.float64)
    if reason := _no_maximum(beaten.reshape(players, players)):
        return Adjusted(None, None, None, None, reason)
    levels, level = np.unique(x, return_inverse=True)
    rows, place = np.unique((i * players + j) * levels.size + level, return_inverse=True)
    n, won = np.bincount(place), np.bincount(place, weights=y)
    design = np.zeros((rows.size, players + 1))
    design[np.arange(rows.size), rows // levels.size // players] += 1
    design[np.arange(rows.size), rows // levels.size % players] -= 1
    design[:, players] = levels[rows % levels.size]
    if np.linalg.matrix_rank(design) < players:
        return Adjusted(None, None, None, None, "the covariate cannot be told from who is who")
    alike = np.zeros((players + 1, players + 1))
    alike[:players, :players] = 1 / players
    beta = np.zeros(players + 1)
    for _ in range(100):
        p = 1 / (1 + np.exp(-(design @ beta)))
        inverse = np.linalg.inv((design * (n * p * (1 - p))[:, None]).T @ design + alike)
        step = inverse @ (design.T @ (won - n * p))
        # Beyond a few nats the curve is flat, and a full step could leave it.
        beta = beta + step / max(1.0, float(np.abs(step).max()) / 2)
        if np.abs(beta).max() > 30:
            return Adjusted(None, None, None, None, "the covariate alone decides every game")
        if np.abs(step).max() < 1e-10:
            break
    centre = np.eye(players) - alike[:players, :players]
    covariance = centre @ inverse[:players, :players] @ centre
    return Adjusted(
        centre @ beta[:players],
        np.sqrt(np.diag(covariance)),
        float(beta[players]),
        float(np.sqrt(inverse[players, players])),
    )


def win_table(pairs: Iterable[tuple[int, int]], players: int) -> Floats:
    """Count (winner, loser) pairs of player numbers: winners x losers."""
    found = np.asarray(list(pairs), dtype=np.intp).reshape(-1, 2)
    flat = np.bincount(found[:, 0] * players + found[:, 1], minlength=players * players)
    return flat.reshape(players, players).astype(np.float64)


def elo_points(strength: ArrayLike, *, anchor: int | None = None, at: float = 1000.0) -> Floats:
    """Put strengths in nats on Elo's scale: 400/ln 10 points a nat, the anchor (or else the mean) at `at`."""
    points = np.asarray(strength, dtype=np.float64) * ELO_SCALE
    return np.asarray(points - (points.mean() if anchor is None else points[anchor]) + at)


def elo(
    games: Iterable[tuple[int, int, float]], players: int, *, k: float = 4.0, start: float = 1000.0
) -> Floats:
    """Rate players game by game: one gains k (score - 1/(1 + 10^(difference/400))), the other loses it.

    Elo 1978. A game is (first, second, score of the first: 1, 0.5 or 0). The order of the games matters;
    k = 4 is FastChat's, small enough to make it matter little.
    """
    rating = [start] * players
    for first, second, score in games:
        expected = 1 / (1 + 10 ** ((rating[second] - rating[first]) / 400))
        gain = k * (score - expected)
        rating[first] += gain
        rating[second] -= gain
    return np.asarray(rating)


def _no_maximum(beaten: Floats) -> str:
    if connected_components(beaten > 0, connection="strong")[0] <= 1:
        return ""
    if connected_components(beaten > 0, directed=False)[0] > 1:
        return "some players were never compared with the others, directly or through others"
    return "some players won or lost everything against the others"


def _newton(i: Ints, j: Ints, counts: Floats, players: int, davidson: bool, ridge: float) -> BradleyTerry:
    """Maximise sum counts · log softmax(features · parameters) - ridge/2 |strength|² over pairs x outcomes.

    The function is concave, for it is a multinomial logit's.
    """
    features = _features(i, j, players, davidson)
    outcomes = 3 if davidson else 2
    counts, n = counts[:, :outcomes], counts.sum(1)
    used = features.shape[1]
    penalty = np.where(np.arange(used) < players, ridge, 0.0)
    # Moving all strengths alike changes nothing; this term makes the Hessian invertible in that direction.
    alike = np.zeros((used, used))
    alike[:players, :players] = 1 / players

    def log_share(x: Floats) -> Floats:
        logits = (features @ x).reshape(-1, outcomes)
        return np.asarray(logits - logsumexp(logits, axis=1, keepdims=True))

    def objective(x: Floats) -> float:
        return float((counts * log_share(x)).sum() - penalty @ x**2 / 2)

    x = np.zeros(used)
    for _ in range(100):
        expected = np.exp(log_share(x)) * n[:, None]
        gradient = features.T @ (counts - expected).reshape(-1) - penalty * x
        inverse = np.linalg.inv(_curvature(features, expected, n) + np.diag(penalty) + alike)
        step = inverse @ gradient
        here, scale = objective(x), 1.0
        while objective(x + scale * step) < here and scale > 1e-8:
            scale /= 2
        x = x + scale * step
        if np.abs(step).max() < 1e-10:
            break
    centre = np.eye(players) - alike[:players, :players]
    covariance = centre @ inverse[:players, :players] @ centre
    variance = np.diag(covariance)
    if np.abs(x).max() > FARTHEST or not ((variance > -1e-9) & (variance < FLATTEST)).all():
        raise np.linalg.LinAlgError(ENDLESS)
    return BradleyTerry(
        strength=centre @ x[:players],
        error=np.sqrt(np.maximum(variance, 0.0)),
        covariance=covariance,
        tie=float(np.exp(x[players])) if davidson else 0.0,
        log_likelihood=float((counts * log_share(x)).sum()),
    )


def _features(i: Ints, j: Ints, players: int, davidson: bool) -> csr_array:
    """Each pair's rows: e_i (first wins), e_j (second wins), and (e_i + e_j)/2 + e_tie for Davidson's tie."""
    outcomes = 3 if davidson else 2
    row = outcomes * np.arange(i.size)
    one, half = np.ones(i.size), np.full(i.size, 0.5)
    entries = [(one, row, i), (one, row + 1, j)]
    if davidson:
        entries += [(half, row + 2, i), (half, row + 2, j), (one, row + 2, np.full(i.size, players))]
    value, where, column = (np.concatenate(each) for each in zip(*entries, strict=True))
    return csr_array((value, (where, column)), shape=(outcomes * i.size, players + davidson))


def _curvature(features: csr_array, expected: Floats, n: Floats) -> Floats:
    """Minus the second derivative of the log-likelihood: sum of n (E[f f'] - E[f] E[f]') over the pairs."""
    weight = expected.reshape(-1)
    pairs, outcomes = expected.shape
    total = csr_array((np.ones(weight.size), (np.repeat(np.arange(pairs), outcomes), np.arange(weight.size))))
    mean = total @ features.multiply(weight[:, None])
    second = features.T @ features.multiply(weight[:, None])
    return np.asarray((second - mean.T @ mean.multiply((1 / n)[:, None])).toarray())
