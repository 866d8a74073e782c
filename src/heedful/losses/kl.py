"""Estimates of KL(policy || reference) from sampled tokens, and the controller of its coefficient."""

from torch import Tensor


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


def adapted(coefficient: float, kl: float, *, target: float, episodes: int, horizon: int) -> float:
    """Return the KL coefficient after `episodes` more answers whose mean sequence KL (nats) was `kl`.

    beta * (1 + clip(kl/target - 1, -0.2, 0.2) * episodes / horizon).
    Ziegler et al. 2019, section 2.2, with the constants of its code (arXiv:1909.08593).
    """
    error = min(max(kl / target - 1.0, -0.2), 0.2)
    return coefficient * (1.0 + error * episodes / horizon)
