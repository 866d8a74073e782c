"""How strong the policies are, from who was preferred to whom."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, select

from heedful.data.store import schema
from heedful.people.columns import Marks
from heedful.people.figures import ModelFigures
from heedful.stats.blocks import block_codes
from heedful.stats.estimate import Estimate, undefined
from heedful.stats.strength import (
    ELO_SCALE,
    Adjusted,
    BradleyTerry,
    bradley_terry,
    bradley_terry_adjusted,
    clustered_covariance,
    elo,
)

Ints = NDArray[np.intp]
Floats = NDArray[np.float64]

LAST_GAMES = 100_000
"""Games that Elo looks at: it forgets older ones by itself."""

STEPS = 16
"""Steps in one unit of the length covariate, tanh of the difference in standard deviations."""


@dataclass(frozen=True, slots=True)
class Games:
    """Comparisons between different policies: the policies' numbers, -1, 0 or 1, the length covariate, the prompt."""

    policies: tuple[str, ...]
    first: Ints
    second: Ints
    outcome: Ints
    longer: Floats
    prompt: Ints


def read(connection: Connection, found: Marks, lengths: Ints) -> Games:
    """The pairs of the marks whose answers come from different policies."""
    columns = schema.answers.c
    names: dict[str, int] = {}
    policy = np.zeros(lengths.size, dtype=np.intp)
    for seq, name in connection.execute(select(columns.seq, columns.policy)).tuples().all():
        policy[seq] = names.setdefault(name, len(names))
    kept = found.where((found.b > 0) & (policy[found.a] != policy[found.b]))
    apart = (lengths[kept.a] - lengths[kept.b]).astype(np.float64)
    spread = (float(apart.std()) if apart.size else 0.0) or 1.0
    # Few distinct values make the fit fast; a sixteenth of a unit is far below what could matter.
    longer = np.rint(np.tanh(apart / spread) * STEPS) / STEPS
    outcome = np.sign(kept.value)
    used = np.unique(np.concatenate([policy[kept.a], policy[kept.b]]))
    code = np.searchsorted(used, policy)
    labels = list(names)
    told = tuple(labels[number] or "(unnamed)" for number in used.tolist())
    return Games(told, code[kept.a], code[kept.b], outcome, longer, kept.prompt)


def figures(games: Games, *, seed: int) -> tuple[tuple[ModelFigures, ...], float | None, Estimate]:
    """Each policy's strength, the weight of ties, and what being longer adds to the logit.

    The intervals of strengths know that the games of one prompt hang together.
    """
    n = len(games.policies)
    if n < 2 or not games.outcome.size:
        return (), None, undefined("no two policies were compared")
    wins, ties = _tables(games, n, seed)
    fit = bradley_terry(wins.sum(0), ties.sum(0), model="davidson")
    error = np.zeros(n)
    if fit.strength is not None:
        error = np.sqrt(np.maximum(np.diag(clustered_covariance(fit, wins, ties)), 0.0))
    score = (games.outcome + 1) / 2
    adjusted = bradley_terry_adjusted(games.first, games.second, score, games.longer, n)
    recent = slice(-LAST_GAMES, None)
    rated = elo(
        zip(games.first[recent].tolist(), games.second[recent].tolist(), score[recent].tolist(), strict=True),
        n,
    )
    played = np.bincount(games.first, minlength=n) + np.bincount(games.second, minlength=n)
    told = []
    for place, name in enumerate(games.policies):
        strength = _strength(fit, error, place, int(played[place]))
        told.append(
            ModelFigures(
                name,
                int(played[place]),
                float(rated[place]),
                strength,
                _points(strength),
                _adjusted(adjusted, place, int(played[place])),
            )
        )
    order = sorted(told, key=lambda one: (-(one.strength.value or 0.0), one.policy))
    return tuple(order), fit.tie if fit.strength is not None else None, _effect(adjusted, games)


def _tables(games: Games, n: int, seed: int) -> tuple[Floats, Floats]:
    """For each block of prompts its table of wins and its table of ties: blocks x n x n."""
    block, blocks = block_codes(games.prompt, seed=seed)
    won = np.where(games.outcome > 0, games.first, games.second)
    lost = np.where(games.outcome > 0, games.second, games.first)
    cell = won * n + lost + np.where(games.outcome == 0, n * n, 0)
    size = 2 * n * n
    counts = np.bincount(block * size + cell, minlength=blocks * size).astype(np.float64)
    tables = counts.reshape(blocks, 2, n, n)
    return tables[:, 0], tables[:, 1]


def _strength(fit: BradleyTerry, error: Floats, place: int, n: int) -> Estimate:
    if fit.strength is None:
        return undefined(fit.reason, n)
    value, half = float(fit.strength[place]), 1.96 * float(error[place])
    return Estimate(value, value - half, value + half, n)


def _points(strength: Estimate) -> Estimate:
    """Strengths in nats on Elo's scale, their mean at 1000."""
    value, low, high = (
        None if x is None else 1000 + x * ELO_SCALE for x in (strength.value, strength.low, strength.high)
    )
    return Estimate(value, low, high, strength.n, strength.reason)


def _adjusted(found: Adjusted, place: int, n: int) -> Estimate:
    if found.strength is None or found.error is None:
        return undefined(found.reason, n)
    value, half = float(found.strength[place]), 1.96 * float(found.error[place])
    return Estimate(value, value - half, value + half, n)


def _effect(found: Adjusted, games: Games) -> Estimate:
    if found.effect is None or found.effect_error is None:
        return undefined(found.reason, games.outcome.size)
    half = 1.96 * found.effect_error
    return Estimate(found.effect, found.effect - half, found.effect + half, games.outcome.size)
