"""Advantages from rewards and values. Rows are answers, padded on the right; `mask` marks real tokens."""

import torch
from torch import Tensor

from heedful.losses.shapes import Padded, PaddedMask


def gae(
    rewards: Padded, values: Padded, mask: PaddedMask, *, gamma: float = 1.0, lam: float = 0.95
) -> tuple[Padded, Padded]:
    """Generalised advantage estimates and returns (A + V), zero outside the mask.

    A_t = sum_l (gamma lam)^l (r_{t+l} + gamma V_{t+l+1} - V_{t+l}), with V = 0 after the last token.
    Schulman et al. 2016, eq. 16 (arXiv:1506.02438).
    """
    values = values * mask
    after = torch.cat([values[:, 1:], torch.zeros_like(values[:, :1])], dim=1)
    delta = (rewards + gamma * after - values) * mask
    advantage = torch.zeros_like(delta)
    running = torch.zeros_like(delta[:, 0])
    for t in reversed(range(delta.shape[1])):
        running = delta[:, t] + gamma * lam * running
        advantage[:, t] = running
    return advantage, (advantage + values) * mask


def whiten(x: Tensor, *, shift_mean: bool = True) -> Tensor:
    """Scale to unit population variance and, unless told otherwise, to mean zero (Ziegler et al. 2019, code)."""
    mean = x.mean()
    white = (x - mean) * torch.rsqrt(x.var(correction=0) + 1e-8)
    return white if shift_mean else white + mean
