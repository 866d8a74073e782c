"""An average of a model's weights over its training."""

import copy
from typing import Any

import torch
from torch import nn


class Average(nn.Module):
    """An exponential moving average of a policy's weights, after each step (Ouyang et al. 2022, C.4)."""

    def __init__(self, policy: Any, decay: float) -> None:
        super().__init__()
        self.policy = copy.deepcopy(policy).float().requires_grad_(False)
        self.decay = decay

    def update(self, policy: nn.Module) -> None:
        with torch.no_grad():
            for mean, now in zip(self.policy.parameters(), policy.parameters(), strict=True):
                mean.lerp_(now.float(), 1 - self.decay)
