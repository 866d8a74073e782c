"""Losses on answers that are called good or bad, each by itself. One value per sequence, unreduced."""

import torch

from heedful.losses.shapes import PerSequence


def kto(
    sequence_logp: PerSequence,
    sequence_ref_logp: PerSequence,
    label: PerSequence,
    baseline: PerSequence,
    *,
    beta: float = 0.1,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
) -> PerSequence:
    """w_D (1 - sigmoid(b (r - z))) where label is 1, w_U (1 - sigmoid(b (z - r))) where it is 0, r the log-ratio.

    z, the baseline, is the KL to the reference over answers to other prompts, at least 0, without gradient.
    Ethayarajh et al. 2024, section 4 (arXiv:2402.01306).
    """
    gain = beta * (sequence_logp - sequence_ref_logp - baseline.detach().clamp_min(0))
    good, bad = 1 - torch.sigmoid(gain), 1 - torch.sigmoid(-gain)
    return torch.where(label > 0.5, desirable_weight * good, undesirable_weight * bad)


def agrees(
    sequence_logp: PerSequence, sequence_ref_logp: PerSequence, label: PerSequence, baseline: PerSequence
) -> PerSequence:
    """1 where an answer's log-ratio lies on the side of the baseline that its label says."""
    above = sequence_logp - sequence_ref_logp > baseline.clamp_min(0)
    return (above == (label > 0.5)).float()
