"""Agreement of many labels given as arrays of numbers, every figure of `agreement` from a few sums."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heedful.stats.agreement import cohen_kappa
from heedful.stats.blocks import block_sums, bootstrap_sums
from heedful.stats.estimate import Estimate, undefined

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

MOST_SHARED = 5000
"""Items that Cohen's kappa of two annotators looks at."""


@dataclass(frozen=True, slots=True)
class Coded:
    """Labels in long form: `annotator[i]` gave `item[i]` of cluster `cluster[i]` the number `value[i]`."""

    item: Ints
    annotator: Ints
    value: Ints
    cluster: Ints


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far annotators agree; `cohen` is that of the two who share most items, `pair` their numbers."""

    percent: Estimate
    leave_one_out: Estimate
    cohen: Estimate
    pair: tuple[int, int] | None
    fleiss: Estimate
    alpha_nominal: Estimate
    alpha_ordinal: Estimate
    alpha_interval: Estimate


def agreements(labels: Coded, *, resamples: int = 200, seed: int = 0) -> Agreement:
    """Every figure of agreement, with bootstrap intervals over clusters; `labels` hold one a person and item."""
    values, value = np.unique(labels.value, return_inverse=True)
    _, first, item = np.unique(labels.item, return_index=True, return_inverse=True)
    cohen, pair = _cohen(labels, resamples, seed)
    if item.size == 0:
        none = undefined("there are no labels")
        return Agreement(none, none, cohen, pair, none, none, none, none)
    size = values.size
    table = np.bincount(item * size + value, minlength=first.size * size).reshape(-1, size).astype(np.float64)
    cluster, n = labels.cluster[first], table.sum(1)
    several = n >= 2
    terms = _terms(table[several], n[several])
    sums = block_sums(terms, cluster[several], seed=seed)
    shared = int(several.sum())

    def estimate(statistic: Callable[[Floats], float | str]) -> Estimate:
        if not shared:
            return undefined("no item has two labels", shared)
        return bootstrap_sums(statistic, sums, n=shared, resamples=resamples, seed=seed)

    numbers = values.astype(np.float64)

    def alpha(metric: str) -> Estimate:
        return estimate(lambda total: _alpha(_coincidence(total, size), numbers, metric))

    return Agreement(
        estimate(lambda total: float(total[0] / total[1])),
        estimate(lambda total: float(total[2] / total[3])),
        cohen,
        pair,
        _fleiss(table, n, cluster, resamples, seed),
        alpha("nominal"),
        alpha("ordinal"),
        alpha("interval"),
    )


def _terms(table: Floats, n: Floats) -> Floats:
    """What is summed over items: equal pairs, pairs, leave-one-out hits, labels, then the coincidences."""
    same, pairs = (table * (table - 1)).sum(1), n * (n - 1)
    size = table.shape[1]
    hits = np.zeros(len(table))
    for v in range(size):
        others = table.copy()
        others[:, v] -= 1
        top = others.max(1)
        hits += table[:, v] * (others[:, v] == top) / (others == top[:, None]).sum(1)
    scale = 1 / (n - 1)
    upper = [table[:, i] * (table[:, j] - (i == j)) * scale for i in range(size) for j in range(i, size)]
    return np.stack([same, pairs, hits, n, *upper], axis=1)


def _coincidence(total: Floats, size: int) -> Floats:
    found = np.zeros((size, size))
    found[np.triu_indices(size)] = total[4:]
    return found + np.triu(found, 1).T


def _alpha(coincidence: Floats, values: Floats, metric: str) -> float | str:
    """1 - D_o/D_e (Krippendorff 2011); the same as `agreement.krippendorff_alpha`."""
    marginal = coincidence.sum(1)
    total = float(marginal.sum())
    rank = {
        "nominal": np.arange(values.size, dtype=np.float64),
        "ordinal": np.cumsum(marginal) - marginal / 2,
        "interval": values,
    }[metric]
    distance = (rank[:, None] - rank) ** 2
    if metric == "nominal":
        distance = (distance > 0).astype(np.float64)
    expected = float(marginal @ distance @ marginal) / (total - 1)
    if expected == 0:
        return "all labels are the same value, so chance agreement is complete"
    return 1 - float((coincidence * distance).sum()) / expected


def _fleiss(table: Floats, n: Floats, cluster: Ints, resamples: int, seed: int) -> Estimate:
    raters = float(n[0])
    if n.min() != n.max() or raters < 2:
        return undefined("every item needs the same number of labels, two or more: use Krippendorff's alpha")
    agreed = (table * (table - 1)).sum(1) / (raters * (raters - 1))
    terms = np.concatenate([agreed[:, None], np.ones((len(table), 1)), table / raters], axis=1)

    def kappa(total: Floats) -> float | str:
        expected = float(((total[2:] / total[1]) ** 2).sum())
        if expected >= 1:
            return "all labels are the same value"
        return (float(total[0] / total[1]) - expected) / (1 - expected)

    sums = block_sums(terms, cluster, seed=seed)
    return bootstrap_sums(kappa, sums, n=len(table), resamples=resamples, seed=seed)


def _cohen(labels: Coded, resamples: int, seed: int) -> tuple[Estimate, tuple[int, int] | None]:
    """Cohen's kappa of the two annotators who share most items."""
    order = np.lexsort((labels.annotator, labels.item))
    item, annotator, value = labels.item[order], labels.annotator[order], labels.value[order]
    left, right = _shared(item)
    if left.size == 0:
        return undefined("no two annotators share an item"), None
    people = int(annotator.max()) + 1
    code = annotator[left] * people + annotator[right]
    codes, counts = np.unique(code, return_counts=True)
    top = int(codes[counts.argmax()])
    where = np.flatnonzero(code == top)[:MOST_SHARED]
    first, second = value[left[where]].tolist(), value[right[where]].tolist()
    clusters = labels.cluster[order][left[where]].tolist()
    found = cohen_kappa(first, second, clusters=clusters, resamples=min(resamples, 200), seed=seed)
    return found, (top // people, top % people)


def _shared(item: Ints) -> tuple[Ints, Ints]:
    """The places of every two labels of one item, in labels sorted by item."""
    left: list[Ints] = []
    right: list[Ints] = []
    step = 1
    while step < item.size and (same := np.flatnonzero(item[step:] == item[:-step])).size:
        left.append(same)
        right.append(same + step)
        step += 1
    if not left:
        return np.zeros(0, np.intp), np.zeros(0, np.intp)
    return np.concatenate(left), np.concatenate(right)


def disagreement(item: Ints, value: Ints, scale: float) -> tuple[Ints, Floats, Ints]:
    """For each distinct item with two labels or more: its number, its disagreement, its labels.

    The disagreement is the mean absolute difference of two labels, in units of `scale`.
    """
    order = np.argsort(item, kind="stable")
    left, right = _shared(item[order])
    if left.size == 0:
        return np.zeros(0, np.intp), np.zeros(0), np.zeros(0, np.intp)
    sorted_value = value[order]
    numbers, code = np.unique(item[order][left], return_inverse=True)
    apart = np.abs(sorted_value[left] - sorted_value[right]) / scale
    pairs = np.bincount(code)
    labels = np.rint((1 + np.sqrt(1 + 8 * pairs)) / 2).astype(np.intp)
    return numbers, np.bincount(code, weights=apart) / pairs, labels


def column_codes(columns: Sequence[Ints]) -> Ints:
    """One number for every distinct row of the columns, which hold no negative numbers."""
    code = np.zeros(len(columns[0]), dtype=np.int64)
    top = 1
    for column in columns:
        size = int(column.max(initial=0)) + 1
        if top * size >= 2**62:
            # Too many to be told apart by position: number those that there are.
            distinct, code = np.unique(code, return_inverse=True)
            top = distinct.size
        code, top = code * size + column, top * size
    return code
