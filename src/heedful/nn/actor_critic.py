"""A policy and its critic as one module, so that one optimiser step moves both."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

HEAD_FILE = "value_head.safetensors"


class ActorCritic(nn.Module):
    """`policy` is a causal language model, `critic` a sequence classifier with one label."""

    def __init__(self, policy: nn.Module, critic: nn.Module) -> None:
        super().__init__()
        self.policy = policy
        self.critic = critic


class SharedTrunk(nn.Module):
    """A policy whose last hidden states are read by a value head too, which starts at zero."""

    def __init__(self, policy: Any) -> None:
        super().__init__()
        self.policy = policy
        width = policy.config.get_text_config().hidden_size
        self.value_head = nn.Linear(width, 1, bias=False, dtype=policy.dtype, device=policy.device)
        with torch.no_grad():
            self.value_head.weight.zero_()

    def save_head(self, folder: Path) -> None:
        """Write the head alone: the trunk is the policy's."""
        save_file({"value": self.value_head.weight.detach()}, folder / HEAD_FILE)
