"""Advantages from rewards, with a critic's values (a value per token) or without (a value per answer)."""

from typing import Literal

import torch
from torch import Tensor

from heedful.losses.shapes import Padded, PaddedMask, PerAnswer

Scale = Literal["group", "batch", "none"]
Baseline = Literal["mean", "none"]


def gae(
    rewards: Padded, values: Padded, mask: PaddedMask, *, gamma: float = 1.0, lam: float = 0.95
) -> tuple[Padded, Padded]:
    """Generalised advantage estimates and returns (A + V), zero outside the mask.

    Rows are answers, padded on the right; `mask` marks real tokens.
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


def to_go(rewards: Padded, mask: PaddedMask, *, gamma: float = 1.0) -> Padded:
    """The discounted rewards from each token on, zero outside the mask: R_t = sum_l gamma^l r_{t+l}."""
    found = torch.zeros_like(rewards)
    running = torch.zeros_like(rewards[:, 0])
    for t in reversed(range(rewards.shape[1])):
        running = rewards[:, t] * mask[:, t] + gamma * running
        found[:, t] = running
    return found * mask


def monte_carlo(
    rewards: Padded, mask: PaddedMask, *, gamma: float = 1.0, baseline: Baseline = "mean"
) -> Padded:
    """Rewards to go, less their mean over all tokens unless told otherwise. Williams 1992 (REINFORCE)."""
    returns = to_go(rewards, mask, gamma=gamma)
    return returns if baseline == "none" else (returns - returns[mask].mean()) * mask


def leave_one_out(rewards: PerAnswer) -> PerAnswer:
    """r - mean of the other answers' rewards to the same prompt = n/(n-1) (r - mean). At least two answers a prompt.

    Ahmadian et al. 2024, section 3.2 (arXiv:2402.14740).
    """
    others = rewards.shape[1] - 1
    advantage = rewards - (rewards.sum(1, keepdim=True) - rewards) / others
    same = rewards.amin(1, keepdim=True) == rewards.amax(1, keepdim=True)
    return advantage.masked_fill(same, 0.0)


def whiten(x: Tensor, *, shift_mean: bool = True) -> Tensor:
    """Scale to unit population variance and, unless told otherwise, to mean zero (Ziegler et al. 2019, code)."""
    mean = x.mean()
    white = (x - mean) * torch.rsqrt(x.var(correction=0) + 1e-8)
    return white if shift_mean else white + mean


def group_relative(rewards: PerAnswer, *, scale: Scale = "group") -> PerAnswer:
    """(r - mean of the prompt's rewards) / (s + 1e-4), s the sample deviation of the prompt's or of all rewards.

    Shao et al. 2024, section 4.1.2 (arXiv:2402.03300). Without scaling: Liu et al. 2025, section 3.2
    (arXiv:2503.20783). Where all answers to a prompt earn the same, exactly zero. At least two answers a prompt.
    """
    advantage = rewards - rewards.mean(1, keepdim=True)
    # The rounding of the mean must not become an advantage, which a deviation of about zero would magnify.
    same = rewards.amin(1, keepdim=True) == rewards.amax(1, keepdim=True)
    advantage = advantage.masked_fill(same, 0.0)
    if scale == "none":
        return advantage
    deviation = rewards.std(1, keepdim=True) if scale == "group" else rewards.std()
    return advantage / (deviation + 1e-4)
