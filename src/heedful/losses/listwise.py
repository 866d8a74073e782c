"""Losses on all answers of a prompt side by side, in the order of their rank (0 is best). One value per prompt.

An answer competes with those that are ranked strictly below it: answers of one rank are not compared.
"""

import torch
from torch import Tensor

from heedful.losses.shapes import Listed, PerGroup


def rrhf(
    listed_logp: Listed,
    listed_length: Listed,
    listed_rank: Listed,
    listed_present: Listed,
    *,
    length_penalty: float = 1.0,
    alpha: float = 1.0,
) -> PerGroup:
    """sum over rank_i > rank_j of max(0, p_i - p_j), less alpha log pi of the best. Yuan et al. 2023, section 3.

    p = log pi / length^penalty; of several best answers the mean is taken (arXiv:2304.05302).
    """
    p = listed_logp / listed_length.clamp_min(1) ** length_penalty
    ranking = (torch.relu(p[:, None, :] - p[:, :, None]) * beats(listed_rank, listed_present)).sum((1, 2))
    return ranking - alpha * of_the_best(listed_logp, listed_rank, listed_present)


def pro(
    listed_logp: Listed,
    listed_length: Listed,
    listed_rank: Listed,
    listed_present: Listed,
    *,
    alpha: float = 0.05,
) -> PerGroup:
    """Plackett-Luce on mean log-probs, less alpha log pi of the best answer. Song et al. 2023, section 3.

    arXiv:2306.17492, without the temperatures that a reward model's scores would set.
    """
    worth = listed_logp / listed_length.clamp_min(1)
    ranking = top_of_the_rest(worth, beats(listed_rank, listed_present)).sum(1)
    return ranking - alpha * of_the_best(listed_logp, listed_rank, listed_present)


def plackett_luce(
    listed_logp: Listed,
    listed_ref_logp: Listed,
    listed_rank: Listed,
    listed_present: Listed,
    *,
    beta: float = 0.1,
) -> PerGroup:
    """-sum_k log(exp(b r_k) / sum_{i not better than k} exp(b r_i)), r the log-ratios. Rafailov et al. 2023, eq. 20.

    DPO for a ranking of K answers (arXiv:2305.18290, appendix A.3); with two answers it is DPO.
    """
    worth = beta * (listed_logp - listed_ref_logp)
    return top_of_the_rest(worth, beats(listed_rank, listed_present)).sum(1)


def contrast(
    listed_logp: Listed,
    listed_ref_logp: Listed,
    listed_rank: Listed,
    listed_present: Listed,
    *,
    beta: float = 0.1,
) -> PerGroup:
    """-log(exp(b r_best) / sum_i exp(b r_i)): the best answer against all others at once, r the log-ratios.

    Where the others are the best answers to other prompts (`borrowed`), this is InfoNCE (van den Oord et al. 2018,
    eq. 4, arXiv:1807.03748): an answer that would fit any prompt gains nothing. Of several best, the mean.
    """
    worth = beta * (listed_logp - listed_ref_logp)
    below = beats(listed_rank, listed_present)
    return of_the_best(top_of_the_rest(worth, below), listed_rank, listed_present)


def beats(rank: Listed, present: Listed) -> Tensor:
    """[G, K, K]: 1 where answer j is ranked below answer k and both exist."""
    both = present[:, :, None] * present[:, None, :]
    return both * (rank[:, None, :] > rank[:, :, None])


def top_of_the_rest(worth: Listed, below: Tensor) -> Listed:
    """-log(exp(w_k) / (exp(w_k) + sum over the answers below k of exp(w_j))): 0 where none is below."""
    gap = (worth[:, None, :] - worth[:, :, None]).masked_fill(below == 0, -torch.inf)
    return torch.cat([torch.zeros_like(gap[..., :1]), gap], -1).logsumexp(-1)


def of_the_best(value: Listed, rank: Listed, present: Listed) -> PerGroup:
    """The mean value of the answers of the best rank."""
    lowest = rank.masked_fill(present == 0, torch.inf).amin(1, keepdim=True)
    best = present * (rank == lowest)
    return (value * best).sum(1) / best.sum(1)
