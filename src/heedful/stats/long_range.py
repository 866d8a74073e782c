"""Long-range correlation of texts: detrended fluctuation analysis of where words stand.

Altmann, Cristadoro and Degli Esposti 2012 (PNAS 109:11582) map a text to binary sequences, 1 where a condition holds,
and find correlations that shuffled text does not have. DFA (Peng et al. 1994) is used here, since it takes out trends
that short texts have; its exponent is half of theirs: 0.5 without long-range correlation, up to 1 with it.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from heedful.stats.estimate import Estimate, undefined
from heedful.stats.intervals import mean_interval

_SHORTEST = 64


def dfa(values: ArrayLike, *, smallest: int = 4) -> float | None:
    """The exponent of fluctuation F(n) ~ n^alpha about linear trends in windows of n; None if there is no spread.

    Windows are of sizes from `smallest` to a quarter of the sequence, about evenly spaced in log n.
    """
    x = np.asarray(values, dtype=np.float64)
    if x.size < _SHORTEST or x.std() == 0:
        return None
    profile = np.cumsum(x - x.mean())
    sizes = np.unique(np.geomspace(smallest, x.size // 4, 16).round().astype(int))
    fluctuation = []
    for n in sizes:
        windows = profile[: x.size // n * n].reshape(-1, n)
        t = np.arange(n) - (n - 1) / 2
        centred = windows - windows.mean(1, keepdims=True)
        slope = centred @ t / (t @ t)
        fluctuation.append(np.sqrt(np.mean((centred - slope[:, None] * t) ** 2)))
    good = np.asarray(fluctuation) > 0
    if good.sum() < 4:
        return None
    return float(np.polyfit(np.log(sizes[good]), np.log(np.asarray(fluctuation)[good]), 1)[0])


def of_text(words: Sequence[str], *, most: int = 20, rarest: int = 10) -> Estimate:
    """The mean exponent over the `most` commonest words that occur at least `rarest` times, in a text of words."""
    counts = [word for word, n in Counter(words).most_common(most) if n >= rarest]
    array = np.asarray(words)
    found = [a for word in counts if (a := dfa(array == word)) is not None]
    if not found:
        return undefined(f"no word occurs {rarest} times in a text of at least {_SHORTEST} words")
    return mean_interval(found)
