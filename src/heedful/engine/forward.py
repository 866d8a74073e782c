"""Calls of the model while answers are written: prompts into their slots, then a token an answer at a time."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from heedful.engine.attention import using
from heedful.engine.decode import Cache, DecodeRows, PrefillRows
from heedful.engine.layout import Layout


def prefill(model: nn.Module, cache: Cache, prompts: Sequence[Sequence[int]], slots: Tensor) -> Tensor:
    """Compute prompts into their slots; the logits [prompts, V] of what follows each, where the model lies."""
    layout = Layout([(len(p), ()) for p in prompts])
    ids = torch.from_numpy(np.concatenate([np.asarray(p, dtype=np.int64) for p in prompts]))
    ends = torch.tensor([g.prompt[1] - 1 for g in layout.groups])
    rows = PrefillRows(cache, layout, slots, _device(model))
    return call(model, rows, ids, layout.positions, ends)


def decode(
    model: nn.Module,
    cache: Cache,
    prompt_length: Tensor,
    slot: Tensor,
    sample: Tensor,
    token: Tensor,
    written: Tensor,
) -> Tensor:
    """Run each answer's last token, of which `written` [B] stand before it; the logits [B, V] that follow.

    What is given may lie on the CPU, where it is kept; the logits lie where the model does.
    """
    device = _device(model)
    prompt_length, slot, sample, written = (x.to(device) for x in (prompt_length, slot, sample, written))
    rows = DecodeRows(cache, prompt_length, slot, sample, written)
    return call(model, rows, token, prompt_length[slot] + written, torch.arange(len(slot)))


def call(model: nn.Module, rows: PrefillRows | DecodeRows, ids: Tensor, at: Tensor, keep: Tensor) -> Tensor:
    """Run the model on ids [T] at the positions `at`; the logits of those to `keep`."""
    ids, at, keep = (x.to(_device(model)) for x in (ids, at, keep))
    with using(rows) as keywords:
        out = model(ids[None], position_ids=at[None], use_cache=False, logits_to_keep=keep, **keywords)
    logits: Tensor = out.logits[0]
    return logits


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters(), torch.empty(0)).device
