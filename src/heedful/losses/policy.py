"""Policy-gradient surrogates and the critic's loss. One value per token, unreduced."""

import torch
from torch import Tensor

from heedful.losses.shapes import PerToken


def reinforce(logp: PerToken, advantage: PerToken) -> PerToken:
    """-A log pi: its gradient is the policy gradient. Williams 1992, eq. 4; with a critic's A, A2C."""
    return -advantage.detach() * logp


def importance(logp: PerToken, behavior_logp: PerToken, advantage: PerToken) -> PerToken:
    """-r A, r = pi / pi_old: for TRPO and PPO with a KL penalty. Schulman et al. 2015, eq. 14 (arXiv:1502.05477)."""
    return -(logp - behavior_logp.detach()).exp() * advantage.detach()


def ppo_clip(
    logp: PerToken, behavior_logp: PerToken, advantage: PerToken, *, clip_range: float = 0.2
) -> PerToken:
    """-min(r A, clip(r, 1-e, 1+e) A), r = pi / pi_old. Schulman et al. 2017, eq. 7 (arXiv:1707.06347)."""
    ratio = (logp - behavior_logp.detach()).exp()
    advantage = advantage.detach()
    return -torch.minimum(ratio * advantage, ratio.clamp(1 - clip_range, 1 + clip_range) * advantage)


def value_clip(
    value: PerToken, old_value: PerToken, returns: PerToken, *, clip_range: float = 0.2
) -> PerToken:
    """1/2 max((V-R)^2, (V_old + clip(V-V_old, -e, e) - R)^2). Ziegler et al. 2019, code (arXiv:1909.08593)."""
    old_value, returns = old_value.detach(), returns.detach()
    clipped = old_value + (value - old_value).clamp(-clip_range, clip_range)
    return 0.5 * torch.maximum((value - returns) ** 2, (clipped - returns) ** 2)


def value_error(value: PerToken, returns: PerToken) -> PerToken:
    """1/2 (V-R)^2. Mnih et al. 2016, section 4 (arXiv:1602.01783)."""
    return 0.5 * (value - returns.detach()) ** 2


def entropy_bonus(entropy: PerToken) -> PerToken:
    """-H: minimised, it keeps a policy undecided. Mnih et al. 2016, section 4 (arXiv:1602.01783)."""
    return -entropy


def clip_fraction(logp: PerToken, behavior_logp: PerToken, *, clip_range: float = 0.2) -> Tensor:
    """1 where the probability ratio lies outside the clip range."""
    return (((logp - behavior_logp).exp() - 1).abs() > clip_range).float()


def approx_kl(logp: PerToken, behavior_logp: PerToken) -> Tensor:
    """The k3 estimate of KL(old || new) at each sampled token: r - 1 - log r, r = pi / pi_old."""
    log_ratio = logp - behavior_logp
    return log_ratio.exp() - 1 - log_ratio


def mean_entropy(entropy: PerToken) -> Tensor:
    """The policy's entropy at each token, in nats."""
    return entropy
