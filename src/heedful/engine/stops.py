"""Stop strings: seen as soon as an answer's text contains one, and cut from the text that is shown."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def cut(text: str, stop: Sequence[str]) -> str:
    """The text up to where the first of the stop strings begins."""
    return text[: min((at for s in stop if (at := text.find(s)) >= 0), default=len(text))]


class StopStrings:
    """The last tokens of each answer in static slots, as many as a stop string can span.

    A token that has text has at least a byte of it, so the longest stop string in bytes bounds its tokens; special
    tokens have none and are not kept. One more stands before, for decoders that drop a leading space.
    """

    def __init__(self, tokenizer: Any, stop: Sequence[str], slots: int, samples: int) -> None:
        self.tokenizer, self.stop = tokenizer, tuple(stop)
        self.special = torch.tensor(sorted(tokenizer.all_special_ids), dtype=torch.long)
        room = max(len(s.encode()) for s in stop) + 1
        self.tail = torch.full((slots, samples, room), -1)

    def start(self, slots: Tensor) -> None:
        """Forget the answers that were written in `slots`."""
        self.tail[slots] = -1

    def write(self, slot: Tensor, sample: Tensor, token: Tensor) -> Tensor:
        """Take in a token an answer [B]; return whether its text now contains a stop string [B]."""
        tail = self.tail[slot, sample]
        moved = torch.cat([tail[:, 1:], token[:, None]], -1)
        tail = torch.where(torch.isin(token, self.special)[:, None], tail, moved)
        self.tail[slot, sample] = tail
        rows = [[t for t in row if t >= 0] for row in tail.tolist()]
        texts = self.tokenizer.batch_decode(rows, skip_special_tokens=True)
        return torch.tensor([any(s in text for s in self.stop) for text in texts], dtype=torch.bool)
