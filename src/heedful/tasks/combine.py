"""Several rewards of the same answers -> one. `values` are [rewards, answers]; every function is pure."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def weighted(values: ArrayLike, weights: ArrayLike) -> Floats:
    """sum_k w_k r_k."""
    total: Floats = np.einsum("k,kn->n", np.asarray(weights, dtype=np.float64), np.asarray(values))
    return total


def whitened(values: ArrayLike) -> Floats:
    """(r - mean) / deviation over the answers (the last axis); zeros where all are alike."""
    r = np.asarray(values, dtype=np.float64)
    apart: Floats = r - r.mean(-1, keepdims=True)
    deviation = r.std(-1, keepdims=True)
    alike = deviation <= 1e-9
    return np.where(alike, 0.0, apart / np.where(alike, 1.0, deviation))


def normalised(values: ArrayLike, weights: ArrayLike) -> Floats:
    """sum_k w_k whitened(r_k): no reward counts for more because its scale is larger."""
    return weighted(whitened(values), weights)


def gated(safe: ArrayLike, helpful: ArrayLike, risky: ArrayLike, *, threshold: float = 0.15) -> Floats:
    """whitened(R), R = r_s where the prompt is `risky` or sigmoid(r_s) < threshold, else r_h.

    Touvron et al. 2023, section 3.2.3 (arXiv:2307.09288); r are logits, so that their logit(R) is r itself.
    """
    s, h = np.asarray(safe, dtype=np.float64), np.asarray(helpful, dtype=np.float64)
    unsafe = s < np.log(threshold / (1 - threshold))
    return whitened(np.where(np.asarray(risky, dtype=np.bool_) | unsafe, s, h))


def minimum(values: ArrayLike) -> Floats:
    """min_k r_k: the worst case over an ensemble. Coste et al. 2023, eq. 3 (arXiv:2310.02743)."""
    return np.asarray(np.asarray(values, dtype=np.float64).min(0))


def certain(values: ArrayLike, *, coefficient: float = 0.1) -> Floats:
    """mean_k r_k - coefficient var_k r_k: members that disagree count less. Coste et al. 2023, eq. 4."""
    r = np.asarray(values, dtype=np.float64)
    return np.asarray(r.mean(0) - coefficient * r.var(0))
