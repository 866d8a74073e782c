"""The shape of a packed row: groups of one prompt and its branches, laid end to end.

A row holds prompt, branch, branch, ..., prompt, branch, ... A branch sees its prompt and itself; nothing
sees another group. A group without branches is a plain sequence.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Group:
    """Where one prompt and its branches lie in the row: half-open spans."""

    prompt: Span
    branches: tuple[Span, ...]

    @property
    def size(self) -> int:
        """Its tokens; its segments lie end to end."""
        return (self.branches or (self.prompt,))[-1][1] - self.prompt[0]


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

    @cached_property
    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Where each segment starts [segments + 1] and each group's first segment [groups + 1], with both totals."""
        starts = [s for g in self.groups for s, _ in (g.prompt, *g.branches)]
        firsts = np.cumsum([0, *(1 + len(g.branches) for g in self.groups)])
        return np.array([*starts, self.total], dtype=np.int64), firsts.astype(np.int64)

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
