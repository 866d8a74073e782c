"""Losses on a chosen and a rejected answer. One value per pair, unreduced."""

import torch.nn.functional as F
from torch import Tensor

from heedful.losses.shapes import PerPair


def margin(
    chosen_logp: PerPair, rejected_logp: PerPair, chosen_ref_logp: PerPair, rejected_ref_logp: PerPair
) -> PerPair:
    """How much more than the reference the policy prefers the chosen answer, in nats."""
    return (chosen_logp - chosen_ref_logp) - (rejected_logp - rejected_ref_logp)


def dpo(
    chosen_logp: PerPair,
    rejected_logp: PerPair,
    chosen_ref_logp: PerPair,
    rejected_ref_logp: PerPair,
    *,
    beta: float = 0.1,
) -> PerPair:
    """-log sigmoid(beta * margin). Rafailov et al. 2023, eq. 7 (arXiv:2305.18290)."""
    return -F.logsigmoid(beta * margin(chosen_logp, rejected_logp, chosen_ref_logp, rejected_ref_logp))


def accuracy(
    chosen_logp: PerPair, rejected_logp: PerPair, chosen_ref_logp: PerPair, rejected_ref_logp: PerPair
) -> Tensor:
    """1 where the implicit reward of the chosen answer is the higher one."""
    return (margin(chosen_logp, rejected_logp, chosen_ref_logp, rejected_ref_logp) > 0).float()
