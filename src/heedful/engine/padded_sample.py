"""Sampling from models whose attention cannot be packed: left-padded batches over transformers' own cache.

A prompt is computed once for its answers; answers that have ended leave the batch, but new prompts wait until
all of a batch have.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from heedful.engine.padded import accepts
from heedful.engine.randomness import uniform
from heedful.engine.sample import Request, Sample, Sampling, choose
from heedful.errors import UserError


def sample_padded(
    model: Any, requests: Sequence[Request], how: Sampling, *, stop: Sequence[int], slots: int
) -> list[list[Sample]]:
    """As `engine.sample.sample`, `slots` prompts at a time."""
    if not accepts(model.base_model, "past_key_values"):
        raise UserError(
            f"{model.config.model_type} models keep no keys and values, so nothing can be sampled from them: "
            "choose a model of another architecture"
        )
    found: list[list[Sample]] = []
    with torch.no_grad():
        for start in range(0, len(requests), slots):
            found += _batch(model, requests[start : start + slots], how, torch.tensor(list(stop)))
    return found


def _batch(model: Any, requests: Sequence[Request], how: Sampling, stop: Tensor) -> list[list[Sample]]:
    """Answer some requests together. The rows of the batch are request by request, key by key."""
    n, room = len(requests[0].keys), how.max_completion_length
    keys = torch.tensor([k for r in requests for k in r.keys])
    tokens, logps = torch.zeros(len(keys), room, dtype=torch.long), torch.zeros(len(keys), room)
    lengths, finished = torch.zeros(len(keys), dtype=torch.long), torch.zeros(len(keys), dtype=torch.bool)
    logits, cache, mask = _prefill(model, requests)
    logits, mask = logits.repeat_interleave(n, 0), mask.repeat_interleave(n, 0)
    cache.batch_repeat_interleave(n)
    active = torch.arange(len(keys))
    for written in range(room):
        token, logp = choose(logits, uniform(keys[active], torch.full_like(active, written)), how)
        tokens[active, written], logps[active, written] = token, logp
        lengths[active], finished[active] = written + 1, torch.isin(token, stop)
        going = ~finished[active]
        if written + 1 == room or not bool(going.any()):
            break
        if not bool(going.all()):
            cache.batch_select_indices(going.nonzero()[:, 0])
            active, token, mask = active[going], token[going], mask[going]
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], 1)
        logits, cache = _forward(model, token[:, None], mask, cache)
    samples = [
        Sample(tokens[i, :length].numpy().copy(), logps[i, :length].numpy().copy(), bool(finished[i]))
        for i, length in enumerate(lengths.tolist())
    ]
    return [samples[i * n : (i + 1) * n] for i in range(len(requests))]


def _prefill(model: Any, requests: Sequence[Request]) -> tuple[Tensor, Any, Tensor]:
    """Logits [B, V] after each prompt, the cache, and the mask [B, P] of what is not padding."""
    longest = max(len(r.prompt) for r in requests)
    ids, mask = (torch.zeros(len(requests), longest, dtype=torch.long) for _ in range(2))
    for row, seen, request in zip(ids, mask, requests, strict=True):
        row[longest - len(request.prompt) :] = torch.from_numpy(np.asarray(request.prompt, dtype=np.int64))
        seen[longest - len(request.prompt) :] = 1
    return *_forward(model, ids, mask, None), mask


def _forward(model: Any, ids: Tensor, mask: Tensor, cache: Any) -> tuple[Tensor, Any]:
    """Logits [B, V] of the last column of `ids` [B, L], whose cells are the last of `mask` [B, all so far]."""
    more = {"logits_to_keep": 1, "past_key_values": cache, "use_cache": True}
    if accepts(model, "position_ids"):
        more["position_ids"] = (mask.cumsum(-1) - 1).clamp_min(0)[:, -ids.shape[1] :]
    out = model(ids, attention_mask=mask, **more)
    return out.logits[:, -1], out.past_key_values
