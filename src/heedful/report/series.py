"""Rows of metrics.jsonl -> the points that a plot can hold."""

import math
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heedful.report.run import Row

Floats = NDArray[np.float64]
MOST = 300  # points a curve: more would not be seen on 360 pixels
ROLLOUT = ("reward", "reward_std", "kl", "kl_coef", "completions/mean_length")


def points(rows: Iterable[Row], key: str) -> tuple[Floats, Floats]:
    """Steps and finite values of one metric; rows without it are left out."""
    found = [(row["step"], row[key]) for row in rows if _usable(row.get(key))]
    table = np.asarray(found, dtype=np.float64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def _usable(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def thinned(x: Floats, y: Floats, most: int = MOST) -> tuple[Floats, Floats]:
    """Means over at most `most` runs of neighbours of about equal size."""
    if len(x) <= most:
        return x, y
    starts = np.linspace(0, len(x), most, endpoint=False).astype(np.int64)
    sizes = np.diff(np.append(starts, len(x)))
    return np.add.reduceat(x, starts) / sizes, np.add.reduceat(y, starts) / sizes


def smoothed(y: Floats) -> Floats:
    """A centred mean over about a twentieth of the curve; fewer neighbours count at its ends."""
    half = len(y) // 40
    total = np.concatenate([[0.0], np.cumsum(y)])
    place = np.arange(len(y))
    reach = np.minimum(half, np.minimum(place, place[::-1]))
    low, high = place - reach, place + reach + 1
    means: Floats = (total[high] - total[low]) / (high - low)
    return means


def iterations(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """One row an iteration of RL, from the optimiser steps that share its rollouts; other metrics are averaged."""
    grouped = groupby(rows, key=lambda row: tuple(row.get(name) for name in ROLLOUT))
    merged = []
    for number, (_, group) in enumerate(grouped, 1):
        steps = list(group)
        row: dict[str, Any] = {"step": number}
        for key in steps[0].keys() - {"step"}:
            values = [step[key] for step in steps if _usable(step.get(key))]
            if values:
                row[key] = math.fsum(values) / len(values)
        merged.append(row)
    return merged
