"""A policy beside the frozen teacher that it learns from."""

from typing import Any

from torch import nn


class Pupil(nn.Module):
    """`policy` is trained; the `teacher`, a causal language model over the same tokens, is not and is not saved."""

    def __init__(self, policy: nn.Module, teacher: Any) -> None:
        super().__init__()
        self.policy = policy
        self._teacher = [
            teacher.eval().requires_grad_(False)
        ]  # in a list, so that it is no part of the module

    @property
    def teacher(self) -> Any:
        return self._teacher[0]
