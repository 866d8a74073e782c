"""The answers that are being written, as rows of static slots: rows join, take a token at each step, and leave."""

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor, nn

from heedful.engine.decode import Cache
from heedful.engine.forward import decode, prefill
from heedful.engine.graphs import Steps, recorded_steps
from heedful.engine.kernels.step import StepKernel
from heedful.engine.whole import whole_step

COLUMNS = ("slot", "sample", "token", "written", "key")


class Slots:
    """Row b is answer `sample[b]` of the prompt in `slot[b]`; `written[b]` tokens of it exist, `token[b]` is the last.

    Whoever draws the tokens says so by `put`, once after every `join` and `step`. `slots` prompts of at most
    `prompt_room` tokens are in work at once, each with at most `samples` answers of `answer_room` tokens.
    The columns lie on the CPU, keys, values and logits on the model's device.
    """

    def __init__(
        self, model: nn.Module, slots: int, samples: int, prompt_room: int, answer_room: int
    ) -> None:
        self.model = model
        self.cache = Cache(slots, samples, prompt_room, answer_room)
        self.prompt_length = torch.zeros(slots, dtype=torch.long)
        self.free = list(range(slots))[::-1]
        self.left = [0] * slots
        empty = torch.zeros(0, dtype=torch.long)
        self.slot = self.sample = self.token = self.written = self.key = empty

    def __len__(self) -> int:
        return len(self.slot)

    def join(self, prompts: Sequence[Sequence[int]], keys: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Compute prompts into free slots, with a row for every key; their slots, and the logits [prompts, V]."""
        slots = torch.tensor([self.free.pop() for _ in prompts])
        self.prompt_length[slots] = torch.tensor([len(p) for p in prompts])
        logits = prefill(self.model, self.cache, prompts, slots)
        self._add(slots, keys)
        return slots, logits

    def join_beside(self, source: int, keys: Sequence[int]) -> Tensor:
        """Copy the prompt of slot `source` into a free slot for each key, with one row there; their slots."""
        slots = torch.tensor([self.free.pop() for _ in keys])
        self.prompt_length[slots] = int(self.prompt_length[source])
        self.cache.copy(source, slots)
        self._add(slots, [[key] for key in keys])
        return slots

    def _add(self, slots: Tensor, keys: Sequence[Sequence[int]]) -> None:
        answers = [len(row) for row in keys]
        for slot, n in zip(slots.tolist(), answers, strict=True):
            self.left[slot] = n
        self.slot = torch.cat([self.slot, slots.repeat_interleave(torch.tensor(answers))])
        self.sample = torch.cat([self.sample, *map(torch.arange, answers)])
        self.key = torch.cat([self.key, torch.tensor([k for row in keys for k in row])])
        fresh = torch.zeros(sum(answers), dtype=torch.long)
        self.written, self.token = torch.cat([self.written, fresh]), torch.cat([self.token, fresh])

    def step(self) -> Tensor:
        """Run the model on every row's last token; the logits [B, V] of what follows."""
        rows = (self.prompt_length, self.slot, self.sample, self.token, self.written - 1)
        if self.whole is not None:
            return self.whole(*rows)
        if self.recorded is not None:
            return self.recorded(*rows)
        return decode(self.model, self.cache, *rows)

    @cached_property
    def whole(self) -> StepKernel | None:
        """The compiled call for steps of this model, where there is one; looked for when the cache has its layers."""
        return whole_step(self.model, self.cache)

    @cached_property
    def recorded(self) -> Steps | None:
        """Steps that are recorded and replayed, where this device has them; the cache must have its layers."""
        return recorded_steps(self.model, self.cache)

    def put(self, where: slice, token: Tensor) -> None:
        """Write the tokens that were drawn for these rows."""
        self.token[where] = token
        self.written[where] += 1

    def leave(self, done: Tensor) -> None:
        """Take out the rows of the mask [B]; a slot whose rows have all left is free again."""
        for slot in self.slot[done].tolist():
            self.left[slot] -= 1
            if self.left[slot] == 0:
                self.free.append(slot)
        for name in COLUMNS:
            setattr(self, name, getattr(self, name)[~done])
