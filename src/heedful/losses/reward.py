"""Losses for reward models. One value per answer, pair, prompt or step, unreduced."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from heedful.losses.shapes import Listed, PerGroup, PerPair, PerSequence, PerToken

STRENGTH_STEP = {"small": 1 / 3, "large": 1.0}
"""The margin by which each step of strength (1 slightly, 2 better, 3 significantly) parts two answers: with 1/3
the small, with 1 the large margins of Touvron et al. 2023, table 27 (arXiv:2307.09288)."""


def bradley_terry(chosen_score: PerPair, rejected_score: PerPair) -> PerPair:
    """-log sigmoid(r_w - r_l). Ouyang et al. 2022, eq. 1 (arXiv:2203.02155).

    Weight the K(K-1)/2 pairs of one ranking by 1 / (K choose 2), so that a prompt counts once.
    """
    return -F.logsigmoid(chosen_score - rejected_score)


def graded_bradley_terry(
    chosen_score: PerPair,
    rejected_score: PerPair,
    strength: PerPair,
    probability: PerPair,
    *,
    margin: float = 0.0,
    label_smoothing: float = 0.0,
) -> PerPair:
    """-p log sigmoid(d) - (1 - p) log sigmoid(-d) with d = r_w - r_l - margin * strength.

    The margin is that of Touvron et al. 2023, eq. 2 (arXiv:2307.09288). p is the probability that the choice is
    right, moved to 1/2 by the smoothing: p (1 - e) + (1 - p) e. A tie has p = 1/2 and strength 0.
    """
    apart = chosen_score - rejected_score - margin * strength
    right = probability * (1 - label_smoothing) + (1 - probability) * label_smoothing
    return -right * F.logsigmoid(apart) - (1 - right) * F.logsigmoid(-apart)


def rao_kupper(
    chosen_score: PerPair, rejected_score: PerPair, probability: PerPair, *, threshold: float = 0.5
) -> PerPair:
    """-log P of a choice or a tie, where P(better) = sigmoid(d - t) and P(tie) = 1 - P(better) - P(worse).

    d = r_w - r_l. Rao & Kupper 1967 (JASA 62:194) with theta = e^t: two answers nearer than about t are hard to
    tell apart. `probability` is 1 for a choice, 1/2 for a tie, and between them the share of choices is linear.
    """
    apart = chosen_score - rejected_score
    better, worse = F.logsigmoid(apart - threshold), F.logsigmoid(-apart - threshold)
    # P(tie) = (theta^2 - 1) P(better) P(worse), which keeps its digits where the difference loses them.
    tie = better + worse + _log_expm1(2 * threshold)
    tied = 2 * (1 - probability)
    return -(1 - tied) * better - tied * tie


def _log_expm1(value: float) -> float:
    return math.log(math.expm1(value))


def plackett_luce(listed_score: Listed, listed_rank: Listed, listed_present: Listed) -> PerGroup:
    """-sum_i log( e^{r_i} / sum_{j not better than i} e^{r_j} ): the best is drawn, then the next, ...

    Plackett 1975; Luce 1959. Rank 0 is the best; equal ranks are a tie, of which each answer is drawn from all
    that are left with it (Breslow 1974), so that tied answers are drawn together. The last answer's own term is
    zero, the first one's the cross-entropy of the best answer (Ziegler et al. 2019, eq. 1, arXiv:1909.08593).
    """
    here = listed_present.bool()
    left = (listed_rank[:, None, :] >= listed_rank[:, :, None]) & here[:, None, :]
    # Answers that are not there keep themselves, so that no row is empty; they are not counted.
    left = left | torch.eye(here.shape[1], dtype=torch.bool, device=here.device)
    among = listed_score[:, None, :].expand(left.shape).masked_fill(~left, -math.inf).logsumexp(2)
    return ((among - listed_score) * here).sum(1)


def pointwise(score: PerSequence, rating: PerSequence) -> PerSequence:
    """(r - rating)^2, for ratings on one scale for all annotators."""
    return (score - rating) ** 2


def imitation(listed_logp: Listed, listed_length: Listed, listed_best: Listed) -> PerGroup:
    """-mean log p over the tokens of the best answer, averaged over several best ones; 0 where none is known.

    The regulariser of a reward model that stays a writer: Zheng et al. 2023, eq. 3 (arXiv:2307.04964).
    """
    per_token = listed_logp / listed_length.clamp_min(1)
    return -(per_token * listed_best).sum(1) / listed_best.sum(1).clamp_min(1)


def process(step_score: PerToken, step_label: PerToken) -> PerToken:
    """-y log sigmoid(r) - (1 - y) log(1 - sigmoid(r)) of every step that is told right or wrong.

    y is 1 or 0 (Lightman et al. 2023, arXiv:2305.20050), or the share of rollouts from the step that came out
    right (Wang et al. 2024, Math-Shepherd, eq. 5, arXiv:2312.08935).
    """
    return F.binary_cross_entropy_with_logits(step_score, step_label, reduction="none")


def accuracy(chosen_score: PerPair, rejected_score: PerPair) -> Tensor:
    """1 where the chosen answer scores higher, 0.5 at a tie, else 0."""
    return 0.5 * ((chosen_score > rejected_score).float() + (chosen_score >= rejected_score).float())


def step_accuracy(step_score: PerToken, step_label: PerToken) -> Tensor:
    """1 where a step's score and its label lie on the same side of one half."""
    return ((step_score > 0) == (step_label > 0.5)).float()
