"""The sampler's slots behind transformers' own cache, for models whose attention cannot read slots.

A decoding step lays each answer's keys and values in a left-padded row: alibi and local windows need them without
gaps. That copies the whole cache at every step, as transformers' own cache does.
"""

from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from heedful.engine.decode import DecodeRows, PrefillRows


def recall(rows: DecodeRows) -> tuple[Any, Tensor, Tensor]:
    """What stands before each answer's new token: the cache, the mask [B, S + 1] and the lengths [B].

    The mask's last column is the new token.
    """
    before = rows.prompt_length[rows.slot]
    length = before + rows.written
    longest = int(length.max())
    at = torch.arange(longest, device=length.device) - (longest - length)[:, None]
    cache = DynamicCache()
    for layer, prompts in rows.cache.prompt.items():
        room = prompts[0].shape[2]
        index = torch.where(at < before[:, None], at, room + at - before[:, None]).clamp_min(0)
        keys, values = (
            _rows(torch.cat([prompt[rows.slot], answer[rows.slot, :, rows.sample]], 2), index)
            for prompt, answer in zip(prompts, rows.cache.answer[layer], strict=True)
        )
        cache.update(keys, values, layer)
    mask = torch.cat([at >= 0, at.new_ones(len(at), 1, dtype=torch.bool)], 1).long()
    return cache, mask, length


def _rows(stored: Tensor, index: Tensor) -> Tensor:
    """Of stored [B, H, P + T, D] the places index [B, S]: [B, H, S, D]."""
    wide = index[:, None, :, None].expand(-1, stored.shape[1], -1, stored.shape[3])
    return stored.gather(2, wide)


def remember(rows: PrefillRows | DecodeRows, cache: Any, where: tuple[Tensor, Tensor]) -> None:
    """Put the new tokens' keys and values into their slots: those at rows and columns `where` of the cache."""
    row, column = where
    prefill = isinstance(rows, PrefillRows)
    if isinstance(rows, PrefillRows):
        place: tuple[Any, ...] = (rows.slot, slice(None), rows.position)
    else:
        place = (rows.slot, slice(None), rows.sample, rows.written)
    for layer, held in enumerate(cache.layers):
        prompt, answer = rows.cache.layer(layer, held.keys)
        for stored, found in zip(prompt if prefill else answer, (held.keys, held.values), strict=True):
            stored[place] = found[row, :, column]
