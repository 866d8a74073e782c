"""Estimates of KL(policy || reference) from sampled tokens, and the controller of its coefficient."""

from collections.abc import Callable
from typing import Literal

from torch import Tensor

from heedful.losses.shapes import PerToken

Estimator = Literal["k1", "k2", "k3"]


def k1(logp: Tensor, ref_logp: Tensor) -> Tensor:
    """log pi - log ref: unbiased, may be negative for one sample."""
    return logp - ref_logp


def k2(logp: Tensor, ref_logp: Tensor) -> Tensor:
    """(log pi - log ref)^2 / 2: biased, low variance."""
    return 0.5 * (logp - ref_logp) ** 2


def k3(logp: Tensor, ref_logp: Tensor) -> Tensor:
    """ref/pi - 1 - log(ref/pi): unbiased and never negative. Schulman 2020, "Approximating KL"."""
    log_ratio = ref_logp - logp
    return log_ratio.exp() - 1 - log_ratio


def vocabulary(ref_kl: PerToken) -> PerToken:
    """sum_v pi(v) (log pi(v) - log ref(v)) after each token: the KL itself, of which the others see one word.

    Lu et al. 2022, eq. 2 (Quark, arXiv:2205.13636).
    """
    return ref_kl


def k1_weighted(logp: Tensor, behavior_logp: Tensor, ref_logp: Tensor) -> Tensor:
    """r (log pi - log ref), r = pi / pi_old, to be minimised: k1 with the gradient of the KL.

    The gradient of k1 by itself is grad log pi, whose mean is zero: as a loss it would pull nowhere. Weighted by r,
    mean and gradient are the KL's, also after steps away from the policy that sampled.
    """
    return (logp - behavior_logp.detach()).exp() * (logp - ref_logp.detach())


MEASURES: dict[Estimator, Callable[[Tensor, Tensor], Tensor]] = {"k1": k1, "k2": k2, "k3": k3}
"""What is subtracted from rewards, and logged."""

PENALTIES: dict[Estimator, Callable[..., Tensor]] = {"k1": k1_weighted, "k2": k2, "k3": k3}
"""What is minimised. For the policy that sampled k1's and k2's gradients are the KL's, k3's that of KL(ref || pi)."""


def adapted(coefficient: float, kl: float, *, target: float, episodes: int, horizon: int) -> float:
    """Return the KL coefficient after `episodes` more answers whose mean sequence KL (nats) was `kl`.

    beta * (1 + clip(kl/target - 1, -0.2, 0.2) * episodes / horizon).
    Ziegler et al. 2019, section 2.2, with the constants of its code (arXiv:1909.08593).
    """
    error = min(max(kl / target - 1.0, -0.2), 0.2)
    return coefficient * (1.0 + error * episodes / horizon)


def doubled(coefficient: float, kl: float, *, target: float) -> float:
    """Return the coefficient of the distance from the policy that sampled: halved below target / 1.5, doubled above.

    Schulman et al. 2017, section 4 (arXiv:1707.06347).
    """
    if kl < target / 1.5:
        return coefficient / 2
    return coefficient * 2 if kl > target * 1.5 else coefficient
