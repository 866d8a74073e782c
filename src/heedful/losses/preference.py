"""Losses on a chosen and a rejected answer. One value per pair, unreduced.

Log-probs are sums over an answer's tokens; lengths turn them into means.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from heedful.losses.shapes import PerPair


def margin(
    chosen_logp: PerPair, rejected_logp: PerPair, chosen_ref_logp: PerPair, rejected_ref_logp: PerPair
) -> PerPair:
    """How much more than the reference the policy prefers the chosen answer, in nats."""
    return (chosen_logp - chosen_ref_logp) - (rejected_logp - rejected_ref_logp)


def accuracy(
    chosen_logp: PerPair, rejected_logp: PerPair, chosen_ref_logp: PerPair, rejected_ref_logp: PerPair
) -> Tensor:
    """1 where the implicit reward of the chosen answer is the higher one."""
    return (margin(chosen_logp, rejected_logp, chosen_ref_logp, rejected_ref_logp) > 0).float()


def dpo(
    chosen_logp: PerPair,
    rejected_logp: PerPair,
    chosen_ref_logp: PerPair,
    rejected_ref_logp: PerPair,
    *,
    beta: float = 0.1,
    label_smoothing: float = 0.0,
) -> PerPair:
    """-(1-e) log sigmoid(b h) - e log sigmoid(-b h), h the margin. Rafailov et al. 2023, eq. 7 (arXiv:2305.18290).

    With label smoothing e it is cDPO, whose minimum is at sigmoid(b h) = 1 - e.
    """
    h = beta * margin(chosen_logp, rejected_logp, chosen_ref_logp, rejected_ref_logp)
    return -(1 - label_smoothing) * F.logsigmoid(h) - label_smoothing * F.logsigmoid(-h)


def soft_dpo(
    chosen_logp: PerPair,
    rejected_logp: PerPair,
    chosen_ref_logp: PerPair,
    rejected_ref_logp: PerPair,
    probability: PerPair,
    *,
    beta: float = 0.1,
) -> PerPair:
    """-p log sigmoid(b h) - (1-p) log sigmoid(-b h): DPO on how sure a judge is that the chosen answer is better.

    p are soft labels, as a judge's log-probs give them; with p = 1 it is DPO.
    """
    h = beta * margin(chosen_logp, rejected_logp, chosen_ref_logp, rejected_ref_logp)
    return -probability * F.logsigmoid(h) - (1 - probability) * F.logsigmoid(-h)


def rdpo(
    chosen_logp: PerPair,
    rejected_logp: PerPair,
    chosen_ref_logp: PerPair,
    rejected_ref_logp: PerPair,
    *,
    beta: float = 0.1,
    label_smoothing: float = 0.1,
) -> PerPair:
    """(-(1-e) log sigmoid(b h) + e log sigmoid(-b h)) / (1 - 2e); may be negative. Chowdhury et al. 2024.

    An unbiased estimate of DPO's loss where a share e < 1/2 of the labels is flipped (arXiv:2403.00409).
    """
    h = beta * margin(chosen_logp, rejected_logp, chosen_ref_logp, rejected_ref_logp)
    robust = -(1 - label_smoothing) * F.logsigmoid(h) + label_smoothing * F.logsigmoid(-h)
    return robust / (1 - 2 * label_smoothing)


def hinge(
    chosen_logp: PerPair,
    rejected_logp: PerPair,
    chosen_ref_logp: PerPair,
    rejected_ref_logp: PerPair,
    *,
    beta: float = 0.1,
) -> PerPair:
    """max(0, 1 - b h). Liu et al. 2023, RSO, eq. 9 (arXiv:2309.06657), whose gamma is beta here."""
    return torch.relu(1 - beta * margin(chosen_logp, rejected_logp, chosen_ref_logp, rejected_ref_logp))


def dpo_norm(
    chosen_logp: PerPair,
    rejected_logp: PerPair,
    chosen_ref_logp: PerPair,
    rejected_ref_logp: PerPair,
    chosen_length: PerPair,
    rejected_length: PerPair,
    *,
    beta: float = 2.0,
) -> PerPair:
    """DPO on log-ratios per token, so that long answers weigh no more. Lambert et al. 2024 (arXiv:2411.15124)."""
    chosen = (chosen_logp - chosen_ref_logp) / chosen_length
    rejected = (rejected_logp - rejected_ref_logp) / rejected_length
    return -F.logsigmoid(beta * (chosen - rejected))


def dpo_nll(
    chosen_logp: PerPair,
    rejected_logp: PerPair,
    chosen_ref_logp: PerPair,
    rejected_ref_logp: PerPair,
    chosen_length: PerPair,
    *,
    beta: float = 0.1,
    alpha: float = 1.0,
) -> PerPair:
    """DPO + alpha * NLL of the chosen answer per token. Pang et al. 2024 (arXiv:2404.19733), who weight DPO instead.

    The second term holds the log-prob of the chosen answer up, which DPO alone lets fall.
    """
    h = margin(chosen_logp, rejected_logp, chosen_ref_logp, rejected_ref_logp)
    return -F.logsigmoid(beta * h) - alpha * chosen_logp / chosen_length


def ipo(
    chosen_logp: PerPair,
    rejected_logp: PerPair,
    chosen_ref_logp: PerPair,
    rejected_ref_logp: PerPair,
    chosen_length: PerPair,
    rejected_length: PerPair,
    *,
    tau: float = 0.1,
    average: bool = True,
) -> PerPair:
    """(h - 1/(2 tau))^2, h the margin. Azar et al. 2023, eq. 17 (arXiv:2310.12036).

    With `average` the log-ratios are per token, as the authors meant (TRL asked them); without, sums.
    """
    chosen, rejected = chosen_logp - chosen_ref_logp, rejected_logp - rejected_ref_logp
    if average:
        chosen, rejected = chosen / chosen_length, rejected / rejected_length
    return (chosen - rejected - 1 / (2 * tau)) ** 2


def simpo(
    chosen_logp: PerPair,
    rejected_logp: PerPair,
    chosen_length: PerPair,
    rejected_length: PerPair,
    *,
    beta: float = 2.0,
    gamma: float = 1.0,
) -> PerPair:
    """-log sigmoid(b (mean log-prob chosen - rejected) - gamma). Meng et al. 2024, eq. 6 (arXiv:2405.14734)."""
    return -F.logsigmoid(beta * (chosen_logp / chosen_length - rejected_logp / rejected_length) - gamma)


def orpo(
    chosen_logp: PerPair,
    rejected_logp: PerPair,
    chosen_length: PerPair,
    rejected_length: PerPair,
    *,
    beta: float = 0.1,
) -> PerPair:
    """NLL(chosen) - b log sigmoid(log odds ratio). Hong et al. 2024, eqs. 6 and 7 (arXiv:2403.07691), b their lambda.

    odds = P / (1 - P) with P = exp(mean log-prob); the NLL is per token of the chosen answer.
    """
    chosen, rejected = chosen_logp / chosen_length, rejected_logp / rejected_length
    return -chosen - beta * F.logsigmoid(log_odds(chosen) - log_odds(rejected))


def log_odds(logp: Tensor) -> Tensor:
    """log(p / (1 - p)) of a log-probability; 1 - p is at least the smallest number of its kind."""
    return logp - torch.log((-torch.expm1(logp)).clamp_min(torch.finfo(logp.dtype).tiny))


def cpo(
    chosen_logp: PerPair,
    rejected_logp: PerPair,
    chosen_length: PerPair,
    *,
    beta: float = 0.1,
    alpha: float = 1.0,
) -> PerPair:
    """-log sigmoid(b (log pi_w - log pi_l)) + alpha * NLL of the chosen answer per token.

    Xu et al. 2024, section 3 (arXiv:2401.08417); the NLL as TRL takes it, where lengths are equal.
    """
    return -F.logsigmoid(beta * (chosen_logp - rejected_logp)) - alpha * chosen_logp / chosen_length


def slic(chosen_logp: PerPair, rejected_logp: PerPair, *, delta: float = 1.0, alpha: float = 0.1) -> PerPair:
    """max(0, delta - log pi_w + log pi_l) - alpha log pi_w. Zhao et al. 2023, eq. 1 (arXiv:2305.10425).

    The target of the second term is the chosen answer, as in HALOs, not a third text.
    """
    return torch.relu(delta - chosen_logp + rejected_logp) - alpha * chosen_logp
