"""Losses for reward models. One value per pair, unreduced."""

import torch.nn.functional as F
from torch import Tensor

from heedful.losses.shapes import PerPair


def bradley_terry(chosen_score: PerPair, rejected_score: PerPair) -> PerPair:
    """-log sigmoid(r_w - r_l). Ouyang et al. 2022, eq. 1 (arXiv:2203.02155).

    Weight the K(K-1)/2 pairs of one ranking by 1 / (K choose 2), so that a prompt counts once.
    """
    return -F.logsigmoid(chosen_score - rejected_score)


def accuracy(chosen_score: PerPair, rejected_score: PerPair) -> Tensor:
    """1 where the chosen answer scores higher, 0.5 at a tie, else 0."""
    return 0.5 * ((chosen_score > rejected_score).float() + (chosen_score >= rejected_score).float())
