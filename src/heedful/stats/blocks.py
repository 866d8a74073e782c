"""Bootstrap intervals of figures that are functions of sums, in a time that does not grow with the data.

Clusters (prompts) are dealt at random to at most `BLOCKS` blocks, and blocks are resampled: blocks of independent
clusters are as independent, so the interval is the cluster bootstrap's in the limit (Kleiner et al. 2014,
arXiv 1112.5016, resample in the same spirit).
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from heedful.stats.estimate import Estimate, undefined

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

BLOCKS = 400


def block_sums(parts: ArrayLike, cluster: Ints, *, blocks: int = BLOCKS, seed: int = 0) -> Floats:
    """Sum the rows of `parts` (observations x terms) over blocks of whole clusters: blocks x terms.

    With no more clusters than blocks, each is a block of its own.
    """
    rows = np.asarray(parts, dtype=np.float64)
    code, n = block_codes(cluster, blocks=blocks, seed=seed)
    return np.stack([np.bincount(code, weights=column, minlength=n) for column in rows.T], axis=1)


def block_codes(cluster: Ints, *, blocks: int = BLOCKS, seed: int = 0) -> tuple[Ints, int]:
    """The block of each observation, and how many blocks there are."""
    distinct, code = np.unique(cluster, return_inverse=True)
    if distinct.size <= blocks:
        return code, distinct.size
    return (np.random.default_rng(seed).permutation(distinct.size) % blocks)[code], blocks


def bootstrap_sums(
    statistic: Callable[[Floats], float | str],
    sums: Floats,
    *,
    n: int,
    resamples: int = 200,
    confidence: float = 0.95,
    seed: int = 0,
) -> Estimate:
    """A statistic of the total of `sums` (blocks x terms) with its bootstrap percentile interval.

    `statistic` returns the reason where the figure does not exist; resamples without one are left out.
    """
    if len(sums) == 0:
        return undefined("there are no labels", n)
    value = statistic(sums.sum(0))
    if isinstance(value, str):
        return undefined(value, n)
    if resamples == 0:
        return Estimate(value, n=n)
    if len(sums) == 1:
        return Estimate(value, n=n, reason="one prompt has no spread")
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=resamples)
    found = [each for total in weights @ sums if not isinstance(each := statistic(total), str)]
    if not found:
        return Estimate(value, n=n, reason="no resample defines it")
    low, high = np.quantile(found, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return Estimate(value, float(low), float(high), n)
