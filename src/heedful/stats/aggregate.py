"""One answer from many labels: majority, and Dawid and Skene's annotators with known habits."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array
from scipy.special import logsumexp

from heedful.stats.labels import Labels, as_counts, count_table

Floats = NDArray[np.float64]

FLOOR = 1e-10


@dataclass(frozen=True, slots=True)
class Majority:
    """Each item's leading value (its column), that value's share of the labels, and whether others lead too.

    Of several leading values the first column is given.
    """

    value: NDArray[np.intp]
    share: Floats
    tied: NDArray[np.bool_]


def majority(counts: ArrayLike) -> Majority:
    """The most frequent value of each item of a table of counts, items x values; every item needs a label."""
    table = as_counts(counts)
    n = table.sum(1)
    if (n == 0).any():
        raise ValueError("an item without labels has no majority")
    top = table.max(1)
    return Majority(table.argmax(1), top / n, (table == top[:, None]).sum(1) > 1)


@dataclass(frozen=True, slots=True)
class DawidSkene:
    """What EM found.

    `posterior` is items x values, `prior` the values' shares, `confusion[a, t, v]` the probability that
    annotator a says v where t is true; `log_likelihood` is that of the labels, in nats.
    """

    posterior: Floats
    prior: Floats
    confusion: Floats
    log_likelihood: float
    iterations: int
    converged: bool


def dawid_skene(labels: Labels, *, iterations: int = 500, tolerance: float = 1e-9) -> DawidSkene:
    """Estimate the true values and each annotator's confusion matrix by EM.

    Dawid & Skene 1979, Journal of the Royal Statistical Society C 28:20-28. It starts from the shares of the
    labels and stops when a step gains less than `tolerance` nats a label. As in crowd-kit, a value that an
    annotator uses, but not for some class, counts 1e-10 there: all but impossible. So someone who met no item
    of a class is taken to use their values evenly in it.
    """
    if labels.item.size == 0:
        raise ValueError("there are no labels")
    table = count_table(labels)
    posterior = table / table.sum(1, keepdims=True)
    said = _said(labels)
    shape = (len(labels.annotators), len(labels.values), len(labels.values))
    used = np.broadcast_to((said.sum(0) > 0).reshape(*shape[:2], 1), shape)
    before = -np.inf
    converged, step = False, 0
    while not converged and step < iterations:
        step += 1
        prior = posterior.mean(0)
        # counts[a, v, t]: how often a said v, by how likely t is true of those items.
        counts = np.maximum((said.T @ posterior).reshape(shape), FLOOR) * used
        confusion = counts / counts.sum(1, keepdims=True)
        habits = np.log(confusion, where=used, out=np.zeros(shape))
        joint = np.log(np.maximum(prior, FLOOR)) + said @ habits.reshape(-1, shape[2])
        evidence = logsumexp(joint, axis=1)
        posterior = np.exp(joint - evidence[:, None])
        likelihood = float(evidence.sum())
        converged = likelihood - before < tolerance * labels.item.size
        before = likelihood
    return DawidSkene(posterior, prior, confusion.transpose(0, 2, 1), likelihood, step, converged)


def _said(labels: Labels) -> csr_array:
    """How often each item got each value from each annotator: items x (annotator, value), sparse."""
    column = labels.annotator * len(labels.values) + labels.value
    shape = (len(labels.items), len(labels.annotators) * len(labels.values))
    return csr_array((np.ones(labels.item.size), (labels.item, column)), shape=shape)
