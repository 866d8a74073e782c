"""The shape of a packed row: groups of one prompt and its branches, laid end to end.

A row holds prompt, branch, branch, ..., prompt, branch, ... A branch sees its prompt and itself; nothing
sees another group. A group without branches is a plain sequence.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Group:
    """Where one prompt and its branches lie in the row: half-open spans."""

    prompt: Span
    branches: tuple[Span, ...]


class Layout:
    """Spans and positions of a packed row of `total` tokens.

    `shapes` lists (prompt length, branch lengths); prompts have at least one token.
    """

    def __init__(self, shapes: Sequence[tuple[int, Sequence[int]]]) -> None:
        groups: list[Group] = []
        positions: list[np.ndarray] = []
        offset = 0
        for prompt, branches in shapes:
            if prompt < 1 or any(b < 1 for b in branches):
                raise ValueError(f"a packed row cannot hold an empty segment: {prompt}, {list(branches)}")
            start, offset = offset, offset + prompt
            positions.append(np.arange(prompt))
            spans = []
            for length in branches:
                spans.append((offset, offset + length))
                positions.append(np.arange(prompt, prompt + length))
                offset += length
            groups.append(Group((start, start + prompt), tuple(spans)))
        self.groups = tuple(groups)
        self.total = offset
        self.positions = torch.from_numpy(np.concatenate(positions))
        # Length of the longest root-to-leaf path; kept, since every layer with a window asks for it.
        self.longest = max((int(p[-1]) + 1 for p in positions), default=0)

    def mask(self, window: int | None = None) -> Tensor:
        """Bool [total, total], True where row i may see column j: the slow, obvious form of this layout."""
        seen = torch.zeros(self.total, self.total, dtype=torch.bool)
        for group in self.groups:
            prompt = slice(*group.prompt)
            seen[prompt, prompt] = True
            for span in group.branches:
                seen[slice(*span), prompt] = True
                seen[slice(*span), slice(*span)] = True
        distance = self.positions[:, None] - self.positions[None]
        seen &= distance >= 0
        return seen if window is None else seen & (distance < window)
