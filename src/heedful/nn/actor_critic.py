"""A policy and its critic as one module, so that one optimiser step moves both."""

from torch import nn


class ActorCritic(nn.Module):
    """`policy` is a causal language model, `critic` a sequence classifier with one label."""

    def __init__(self, policy: nn.Module, critic: nn.Module) -> None:
        super().__init__()
        self.policy = policy
        self.critic = critic
