"""Given texts through a model, token by token: log-probs with the likeliest alternatives, and mean hidden states."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from heedful.engine.attention import TreeRows, using
from heedful.engine.head import linear_head
from heedful.engine.layout import Layout
from heedful.engine.score import device_of

CHUNK = 256
"""Rows of logits that exist at once."""


class TokenLogp(NamedTuple):
    """A token's log-prob given those before it, and the likeliest tokens there with theirs, likeliest first."""

    logp: float
    top: tuple[tuple[int, float], ...]


def token_logps(model: Any, texts: Sequence[Sequence[int]], top: int) -> list[list[TokenLogp]]:
    """For each text the log-probs of its tokens from the second on, at temperature 1, with `top` alternatives."""
    layout, ids = _packed(model, texts)
    ends = torch.tensor([g.prompt[1] - 1 for g in layout.groups])
    rows = torch.ones(layout.total, dtype=torch.bool)
    rows[ends] = False
    at = rows.nonzero()[:, 0]
    targets = ids[at + 1]
    found: list[TokenLogp] = []
    for start, logits in _logits(model, layout, ids, at):
        logp = logits.float().log_softmax(-1)
        own = logp.gather(-1, targets[start : start + len(logp), None])[:, 0].tolist()
        best = logp.topk(min(top, logp.shape[-1]), -1)
        pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        found += [
            TokenLogp(value, tuple(zip(*pair, strict=True))) for value, pair in zip(own, pairs, strict=True)
        ]
    cuts = np.cumsum([len(t) - 1 for t in texts]).tolist()
    return [found[a:b] for a, b in zip([0, *cuts], cuts, strict=False)]


def embeddings(model: Any, texts: Sequence[Sequence[int]]) -> list[list[float]]:
    """For each text the mean of its last hidden states, scaled to length 1."""
    layout, ids = _packed(model, texts)
    hidden = _hidden(model, layout, ids).float()
    means = torch.stack([hidden[g.prompt[0] : g.prompt[1]].mean(0) for g in layout.groups])
    rows: list[list[float]] = torch.nn.functional.normalize(means, dim=-1).tolist()
    return rows


def _packed(model: Any, texts: Sequence[Sequence[int]]) -> tuple[Layout, Tensor]:
    ids = torch.from_numpy(np.concatenate([np.asarray(t, dtype=np.int64) for t in texts]))
    return Layout([(len(t), ()) for t in texts]), ids.to(device_of(model))


def _hidden(model: Any, layout: Layout, ids: Tensor) -> Tensor:
    with using(TreeRows(layout)) as keywords, torch.no_grad():
        out = model.base_model(
            ids[None], position_ids=layout.positions[None].to(ids.device), use_cache=False, **keywords
        )
    found: Tensor = out.last_hidden_state[0]
    return found


def _logits(model: Any, layout: Layout, ids: Tensor, rows: Tensor) -> Any:
    """(first row, logits) a chunk; where the head is not a plain one, the model makes them all at once."""
    if not len(rows):
        return
    if (head := linear_head(model)) is not None:
        hidden = _hidden(model, layout, ids)[rows]
        for start in range(0, len(rows), CHUNK):
            with torch.no_grad():
                yield start, head.logits(hidden[start : start + CHUNK])
        return
    with using(TreeRows(layout)) as keywords, torch.no_grad():
        positions = layout.positions[None].to(ids.device)
        out = model(ids[None], position_ids=positions, use_cache=False, logits_to_keep=rows, **keywords)
    yield 0, out.logits[0]
