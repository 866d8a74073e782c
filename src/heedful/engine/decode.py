"""Keys and values of sequences that are being written: static slots, a prompt stored once for its samples.

A *slot* holds one prompt and the answers that grow from it: prompt keys [slots, H, P, D], answer keys
[slots, n, H, T, D]. Decoding reads both without gathering: queries are laid out by slot, so the prompt's keys
are read once for its n answers. On a CPU that is one compiled call a layer where the kernel is built
(engine/kernels), and else the products and masks below.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from heedful.engine.attention import TreeRows, Variant
from heedful.engine.kernels.choice import decoding
from heedful.engine.layout import Layout


@dataclass
class Cache:
    """Per layer: keys and values of prompts and answers; grown on first use, reused for the whole call."""

    slots: int
    samples: int
    prompt_room: int
    answer_room: int

    def __post_init__(self) -> None:
        self.prompt: dict[int, tuple[Tensor, Tensor]] = {}
        self.answer: dict[int, tuple[Tensor, Tensor]] = {}

    def layer(self, index: int, like: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """The prompt and answer tensors of a layer, for keys shaped like `like` [1, H, T, D]."""
        if index not in self.prompt:
            heads, width = like.shape[1], like.shape[3]
            prompt = (self.slots, heads, self.prompt_room, width)
            answer = (self.slots, heads, self.samples, self.answer_room, width)
            self.prompt[index] = (_zeros(prompt, like), _zeros(prompt, like))
            self.answer[index] = (_zeros(answer, like), _zeros(answer, like))
        return self.prompt[index], self.answer[index]

    def copy(self, source: int, slots: Tensor) -> None:
        """Give these slots the prompt of slot `source` too."""
        for layer in self.prompt.values():
            for stored in layer:
                stored[slots] = stored[source].clone()


def _zeros(shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Zeros of the type of `like`. On a CPU the system hands out zeroed pages when they are first touched: most
    answers end long before their room does.
    """
    if like.device.type != "cpu":
        return like.new_zeros(shape)
    pages = np.zeros(math.prod(shape) * like.element_size(), dtype=np.uint8)
    return torch.from_numpy(pages).view(like.dtype).view(shape)


class PrefillRows:
    """Prompts packed into one row, computed as any packed row and remembered in their slots."""

    def __init__(self, cache: Cache, layout: Layout, slots: Tensor, device: torch.device) -> None:
        self.cache, self.tree = cache, TreeRows(layout)
        lengths = torch.tensor([g.prompt[1] - g.prompt[0] for g in layout.groups])
        self.slot = slots.repeat_interleave(lengths).to(device)
        self.position = layout.positions.to(device)

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, variant: Variant) -> Tensor:
        (keys, values), _ = self.cache.layer(layer, k)
        keys[self.slot, :, self.position] = k[0].transpose(0, 1)
        values[self.slot, :, self.position] = v[0].transpose(0, 1)
        return self.tree.attend(layer, q, k, v, variant)


class DecodeRows:
    """One new token for each active answer: row b belongs to sample `sample[b]` of slot `slot[b]`.

    prompt_length [slots]: tokens of each slot's prompt; written [B]: answer tokens already stored. All of them lie on
    the model's device.
    """

    def __init__(
        self, cache: Cache, prompt_length: Tensor, slot: Tensor, sample: Tensor, written: Tensor
    ) -> None:
        self.cache, self.slot, self.sample, self.written = cache, slot, sample, written
        self.prompt_length = prompt_length
        self.kernel = decoding(slot, sample, written, prompt_length)

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, variant: Variant) -> Tensor:
        prompt, answer = self.cache.layer(layer, k)
        if self.kernel is not None and self.kernel.takes(q, answer[0]):
            return self.kernel.attend(q, k, v, prompt, answer, variant)
        return self.grid.attend(q, k, v, prompt, answer, variant)

    @cached_property
    def grid(self) -> "_Grid":
        with self.slot.device:  # what is made there lies beside the rows
            return _Grid(self.cache, self.prompt_length, self.slot, self.sample, self.written)


class _Grid:
    """A step's attention in torch: rows are laid out as [slots, samples], absent ones as zeros."""

    def __init__(
        self, cache: Cache, prompt_length: Tensor, slot: Tensor, sample: Tensor, written: Tensor
    ) -> None:
        # Free slots above those in use cost nothing.
        self.slots, self.samples = int(slot.max()) + 1, cache.samples
        self.slot, self.sample, self.written = slot, sample, written
        prompt_length = prompt_length[: self.slots]
        self.room = int(written.max()) + 1
        self.prompt_room = int(prompt_length[slot].max())
        slots, samples = self.slots, self.samples
        # Every answer active and in order, as in the first steps: the rows are the grid already.
        self.dense = len(slot) == slots * samples and torch.equal(
            slot * samples + sample, torch.arange(slots * samples)
        )
        position = torch.zeros(slots, samples, dtype=torch.long)
        position[slot, sample] = written
        self.query_position = position + prompt_length[:, None]
        seen = torch.arange(self.prompt_room) < prompt_length[:, None]
        own = torch.arange(self.room) <= position[..., None]
        self.seen = torch.cat([seen[:, None].expand(-1, samples, -1), own], -1)
        self.key_position = torch.cat(
            [
                torch.arange(self.prompt_room).expand(slots, -1),
                prompt_length[:, None] + torch.arange(self.room),
            ],
            -1,
        )
        self._hidden: dict[int | None, Tensor] = {}

    def attend(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        prompt: tuple[Tensor, Tensor],
        answer: tuple[Tensor, Tensor],
        variant: Variant,
    ) -> Tensor:
        """Store k and v in `answer`; return [1,B,H,D]."""
        (pk, pv), (ak, av) = prompt, answer
        ak[self.slot, :, self.sample, self.written] = k[0].transpose(0, 1)
        av[self.slot, :, self.sample, self.written] = v[0].transpose(0, 1)
        slots, samples = self.slots, self.samples
        heads, kv_heads, width = q.shape[1], k.shape[1], q.shape[3]
        repeat = heads // kv_heads
        rows = q[0].transpose(0, 1).reshape(-1, kv_heads, repeat, width)
        if self.dense:
            by_slot = rows.view(slots, samples, kv_heads, repeat, width)
        else:
            by_slot = rows.new_zeros(slots, samples, kv_heads, repeat, width)
            by_slot[self.slot, self.sample] = rows
        by_slot = by_slot.transpose(1, 2)  # [slots, kv heads, samples, repeat, D]
        pk, pv = pk[:slots, :, : self.prompt_room], pv[:slots, :, : self.prompt_room]
        ak, av = ak[:slots, :, :, : self.room], av[:slots, :, :, : self.room]
        on_prompt = by_slot.reshape(slots, kv_heads, samples * repeat, width) @ pk.transpose(-1, -2)
        on_own = by_slot @ ak.transpose(-1, -2)
        scores = torch.cat([on_prompt.view(slots, kv_heads, samples, repeat, -1), on_own], -1).float()
        weights = self._weights(scores * variant.scale, variant, kv_heads, repeat).to(v.dtype)
        of_prompt, of_own = torch.split(weights, [self.prompt_room, self.room], -1)
        out = (of_prompt.reshape(slots, kv_heads, samples * repeat, -1) @ pv).view(
            slots, kv_heads, samples, repeat, width
        ) + of_own @ av
        out = out.transpose(1, 2)
        flat = (
            out.reshape(-1, heads, width)
            if self.dense
            else out[self.slot, self.sample].reshape(-1, heads, width)
        )
        return flat[None]

    def hidden(self, window: int | None) -> Tensor:
        """What each answer does not see [slots, 1, samples, 1, keys]; made once for all layers."""
        if window not in self._hidden:
            seen = self.seen
            if window is not None:
                seen = seen & (self.query_position[..., None] - self.key_position[:, None] < window)
            self._hidden[window] = ~seen[:, None, :, None]
        return self._hidden[window]

    def _weights(self, scores: Tensor, variant: Variant, kv_heads: int, repeat: int) -> Tensor:
        """Softmax over what each row may see; scores [slots, kv heads, samples, repeat, keys]."""
        if variant.softcap is not None:
            scores = variant.softcap * torch.tanh(scores / variant.softcap)
        scores = scores.masked_fill_(self.hidden(variant.window), float("-inf"))
        if variant.sinks is None:
            return scores.softmax(-1)
        sinks = variant.sinks.float().view(1, kv_heads, 1, repeat, 1).expand(*scores.shape[:-1], 1)
        return torch.cat([scores, sinks], -1).softmax(-1)[..., :-1]
