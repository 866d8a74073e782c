"""How a judge of pairs judges, beside people: agreement, and leanings to a place and to length."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heedful.stats import calibration, intervals
from heedful.stats.estimate import Estimate

Numbers = NDArray[np.float64]


def figures(views: Numbers, longer: Numbers, prompts: Sequence[int]) -> dict[str, Estimate]:
    """What is known of a judge from pairs of which people chose the first answer.

    views [pairs, principles, 2]: the judge's P(first is better), with it shown first and shown second; longer [pairs]:
    by how much the first answer is the longer one; `prompts` are the clusters of the intervals.

    - agreement: how often the judge, over principles and both orders, chooses as people did; ties half;
    - first_shown: how often it chooses what is shown first; 1/2 has no leaning;
    - consistent: how often it chooses the same answer in both orders;
    - longer, people_longer: how often it, and people, choose the longer answer, where lengths differ.
    """
    combined = views.mean((1, 2))
    orders = views.mean(1)
    clusters = np.asarray(prompts)
    differ = longer != 0
    of_longer = np.where(longer > 0, combined - 0.5, 0.5 - combined)
    return {
        "agreement": calibration.accuracy(combined - 0.5, clusters=clusters).rate,
        "first_shown": intervals.mean_interval(
            [float(x) for x in (_won(orders[:, 0]) + 1 - _won(orders[:, 1])) / 2]
        ),
        "consistent": intervals.mean_interval([float(x) for x in _won(orders[:, 0]) == _won(orders[:, 1])]),
        "longer": calibration.accuracy(of_longer[differ], clusters=clusters[differ]).rate,
        "people_longer": calibration.accuracy(longer[differ], clusters=clusters[differ]).rate,
    }


def by_principle(views: Numbers, names: Sequence[str], prompts: Sequence[int]) -> dict[str, Estimate]:
    """The agreement with people by each principle alone, over both orders."""
    alone = views.mean(2) - 0.5
    return {
        n: calibration.accuracy(alone[:, i], clusters=np.asarray(prompts)).rate for i, n in enumerate(names)
    }


def _won(p: Numbers) -> Numbers:
    return np.asarray(0.5 * ((p > 0.5).astype(float) + (p >= 0.5)))


def told(found: dict[str, Estimate]) -> dict[str, Any]:
    """The form that figures have in summary.json."""
    return {n: {"value": e.value, "low": e.low, "high": e.high, "n": e.n} for n, e in found.items()}
