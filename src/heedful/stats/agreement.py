"""How far annotators agree: percent agreement, Cohen, Fleiss, Krippendorff, leave-one-out.

All but Cohen's are functions of a table of counts, items x values (`labels.count_table`). Each returns an
`Estimate`: with `resamples` > 0 it has a bootstrap percentile interval over items, or over whole clusters of
items (the pairs of one prompt); where the figure does not exist, it holds the reason.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from heedful.stats.estimate import Estimate, undefined
from heedful.stats.intervals import Clusters, bootstrap
from heedful.stats.labels import Label, as_counts, count_table, encode, latest

Floats = NDArray[np.float64]
Metric = Literal["nominal", "ordinal", "interval", "ratio"]
Outcome = float | str


def percent_agreement(
    counts: ArrayLike, *, clusters: Clusters | None = None, resamples: int = 0, seed: int = 0
) -> Estimate:
    """The share of annotator pairs that gave an item the same value, over all items with two labels or more.

    sum_i sum_c n_ic (n_ic - 1) / sum_i n_i (n_i - 1): every pair of labels counts once.
    """
    table = as_counts(counts)
    n = table.sum(1)
    same, pairs = (table * (table - 1)).sum(1), n * (n - 1)

    def share(weights: Floats) -> float | str:
        total = float(weights @ pairs)
        return float(weights @ same) / total if total else "no item has two labels"

    return _estimate(share, table.shape[0], clusters, resamples, seed)


def vote_agreement(
    labels: Sequence[Label], *, ties: Literal["exclude", "include"], resamples: int = 0, seed: int = 0
) -> Estimate:
    """Percent agreement of the `labels.votes` of comparisons, with intervals over prompts.

    "exclude" drops the votes 0, so that both votes of a pair have a side, as published figures do
    (InstructGPT, arXiv 2203.02155, section 3.4: 72.6 ± 1.5 %); "include" takes "about the same" as a third
    opinion. An annotator's last vote on a pair counts. To set the figure beside another, such as a reward
    model's accuracy, keep the labels of the same pairs: `label[0]` names the pair.
    """
    kept = [label for label in latest(labels) if ties == "include" or label[2] != 0]
    coded = encode(kept)
    prompts: list[Hashable] = [item[0] if isinstance(item, tuple) else item for item in coded.items]
    return percent_agreement(count_table(coded), clusters=prompts, resamples=resamples, seed=seed)


def leave_one_out(
    counts: ArrayLike, *, clusters: Clusters | None = None, resamples: int = 0, seed: int = 0
) -> Estimate:
    """How often one annotator says what most of the others say (AlpacaFarm, arXiv 2305.14387).

    Where several values lead among the others, the annotator's counts by the chance of drawing it from them;
    that is the expectation of the paper's random draw.
    """
    table = as_counts(counts)
    agreed = np.zeros(table.shape[0])
    for value in range(table.shape[1]):
        others = table.copy()
        others[:, value] -= 1
        top = others.max(1)
        leaders = (others == top[:, None]).sum(1)
        agreed += table[:, value] * (others[:, value] == top) / leaders
    n = np.where(table.sum(1) >= 2, table.sum(1), 0.0)
    agreed = np.where(n > 0, agreed, 0.0)

    def share(weights: Floats) -> float | str:
        total = float(weights @ n)
        return float(weights @ agreed) / total if total else "no item has two labels"

    return _estimate(share, table.shape[0], clusters, resamples, seed)


def cohen_kappa(
    first: Sequence[Outcome],
    second: Sequence[Outcome],
    *,
    weights: Literal["none", "linear", "quadratic"] = "none",
    clusters: Clusters | None = None,
    resamples: int = 0,
    seed: int = 0,
) -> Estimate:
    """Two annotators' agreement beyond chance on the same items (Cohen 1960; weighted: Cohen 1968).

    1 - sum w o / sum w e, with o the observed and e the expected shares and w the disagreement of two values:
    0 or 1, or |i - j| or (i - j)² in the order of the values.
    """
    if len(first) != len(second):
        raise ValueError(f"{len(first)} labels of one annotator, {len(second)} of the other")
    coded = encode(
        [(n, 0, value) for n, value in enumerate(first)] + [(n, 1, v) for n, v in enumerate(second)]
    )
    a, b = coded.value[: len(first)], coded.value[len(first) :]
    size = len(coded.values)
    rank = np.arange(size, dtype=np.float64)
    distance = np.abs(rank[:, None] - rank)
    cost = {"none": (distance > 0).astype(np.float64), "linear": distance, "quadratic": distance**2}[weights]

    def kappa(item_weights: Floats) -> float | str:
        table = np.bincount(a * size + b, weights=item_weights, minlength=size * size).reshape(size, size)
        table = table / table.sum()
        expected = float((np.outer(table.sum(1), table.sum(0)) * cost).sum())
        if expected == 0:
            return "both annotators gave one and the same value only"
        return 1 - float((table * cost).sum()) / expected

    return _estimate(kappa, len(first), clusters, resamples, seed)


def fleiss_kappa(
    counts: ArrayLike, *, clusters: Clusters | None = None, resamples: int = 0, seed: int = 0
) -> Estimate:
    """Agreement beyond chance, the same number of annotators on every item (Fleiss 1971, Psych. Bull. 76)."""
    table = as_counts(counts)
    raters = table.sum(1)
    if table.shape[0] and (raters.min() != raters.max() or raters.min() < 2):
        return undefined("every item needs the same number of labels, two or more: use Krippendorff's alpha")
    n = float(raters[0]) if table.shape[0] else 0.0
    agreed = (table * (table - 1)).sum(1) / (n * (n - 1)) if n else raters

    def kappa(weights: Floats) -> float | str:
        share = weights @ table / (weights.sum() * n)
        expected = float((share**2).sum())
        if expected >= 1:
            return "all labels are the same value"
        return (float(weights @ agreed) / float(weights.sum()) - expected) / (1 - expected)

    return _estimate(kappa, table.shape[0], clusters, resamples, seed)


def krippendorff_alpha(
    counts: ArrayLike,
    *,
    values: Sequence[float] | None = None,
    metric: Metric = "nominal",
    clusters: Clusters | None = None,
    resamples: int = 0,
    seed: int = 0,
) -> Estimate:
    """Agreement beyond chance with any number of labels an item (Krippendorff 2011, Computing alpha).

    1 - D_o/D_e over the coincidences o_ck = sum_u n_uc (n_uk - [c=k]) / (n_u - 1). `values` are the numbers
    that the columns stand for ("interval" and "ratio" need them, "ordinal" needs the columns in order).
    """
    table = as_counts(counts)
    if metric in ("interval", "ratio") and values is None:
        raise ValueError(f"the {metric} metric needs the columns' values")
    numbers = (
        np.arange(table.shape[1], dtype=np.float64) if values is None else np.asarray(values, np.float64)
    )
    if numbers.shape != (table.shape[1],):
        raise ValueError(f"{numbers.size} values for {table.shape[1]} columns")
    n = table.sum(1)
    scale = np.where(n >= 2, 1 / np.maximum(n - 1, 1), 0.0)

    def alpha(weights: Floats) -> float | str:
        w = weights * scale
        coincidence = table.T @ (table * w[:, None]) - np.diag(w @ table)
        marginal = coincidence.sum(1)
        total = float(marginal.sum())
        if total == 0:
            return "no item has two labels"
        distance = _distance(metric, numbers, marginal)
        expected = float(marginal @ distance @ marginal) / (total - 1)
        if expected == 0:
            return "all labels are the same value, so chance agreement is complete"
        return 1 - float((coincidence * distance).sum()) / expected

    return _estimate(alpha, table.shape[0], clusters, resamples, seed)


def _distance(metric: Metric, values: Floats, marginal: Floats) -> Floats:
    """Squared difference of every two values: values x values."""
    a, b = values[:, None], values[None, :]
    if metric == "nominal":
        return np.asarray(1 - np.eye(values.size))
    if metric == "interval":
        return (a - b) ** 2
    if metric == "ratio":
        both = a + b
        return np.where(both == 0, 0.0, (a - b) / np.where(both == 0, 1.0, both)) ** 2
    # Ordinal: the labels between two values, half of the two values' own included.
    upto = np.cumsum(marginal) - marginal / 2
    return (upto[:, None] - upto[None, :]) ** 2


def _estimate(
    statistic: Callable[[Floats], float | str],
    n: int,
    clusters: Clusters | None,
    resamples: int,
    seed: int,
) -> Estimate:
    if n == 0:
        return undefined("there are no labels")
    value = statistic(np.ones(n))
    if isinstance(value, str):
        return undefined(value, n)
    if not resamples:
        return Estimate(value, n=n)

    def number(weights: Floats) -> float | None:
        found = statistic(weights)
        return None if isinstance(found, str) else found

    return bootstrap(number, n, clusters=clusters, resamples=resamples, seed=seed)
