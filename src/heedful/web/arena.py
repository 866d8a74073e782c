"""Models by strength, from what people preferred without knowing who wrote it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from heedful.data.store.wild import WildJudgement
from heedful.stats.strength import ELO_SCALE, bradley_terry, elo_points

Z = 1.959963984540054


@dataclass(frozen=True, slots=True)
class Standing:
    """A model's games, and its Bradley-Terry strength in Elo points with a 95 % interval; None where there is none."""

    model: str
    games: int
    wins: int
    ties: int
    points: float | None
    low: float | None
    high: float | None

    def json(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def standings(judgements: Sequence[WildJudgement]) -> list[Standing]:
    """The models of comparisons between different ones, best first; what a researcher refused is left out."""
    games = [
        (j.answers[0].model, j.answers[1].model, j.value)
        for j in judgements
        if j.kind == "comparison" and j.state != "refused" and j.answers[0].model != j.answers[1].model
    ]
    names = sorted({name for first, second, _ in games for name in (first, second)})
    place = {name: n for n, name in enumerate(names)}
    wins, ties = np.zeros((len(names), len(names))), np.zeros((len(names), len(names)))
    for first, second, value in games:
        i, j = place[first], place[second]
        if value == 0:
            ties[i, j] += 1
        else:
            wins[(i, j) if value > 0 else (j, i)] += 1
    if not names:
        return []
    fit = bradley_terry(wins, ties)
    points = None if fit.strength is None else elo_points(fit.strength)
    error = None if fit.error is None else fit.error * ELO_SCALE
    tied = ties + ties.T
    rows = []
    for n, name in enumerate(names):
        known = points is not None and error is not None
        at, by = (float(points[n]), Z * float(error[n])) if known else (0.0, 0.0)  # type: ignore[index]
        rows.append(
            Standing(
                name,
                int(wins[n].sum() + wins[:, n].sum() + tied[n].sum()),
                int(wins[n].sum()),
                int(tied[n].sum()),
                *((round(at, 1), round(at - by, 1), round(at + by, 1)) if known else (None, None, None)),
            )
        )
    return sorted(rows, key=lambda r: (-(r.points or 0.0), -r.wins, r.model))
