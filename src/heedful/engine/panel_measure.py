"""What a model makes of given passages, token by token, under one context or another."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from heedful.data.packing import pack
from heedful.engine.batch import Tree, collate, prompt_node
from heedful.engine.panel_trees import encoded, trained
from heedful.engine.score import device_of, logits, use_packed_attention


@dataclass(frozen=True)
class Tokens:
    """The tokens of one passage: nats that each costs, the entropy before it, whether it was the likeliest."""

    ids: NDArray[np.int64]
    nats: NDArray[np.float64]
    entropy: NDArray[np.float64]
    right: NDArray[np.bool_]


def measured(
    model: Any,
    tokenizer: Any,
    contexts: Sequence[Sequence[int]],
    passages: Sequence[str],
    *,
    token_budget: int = 8192,
) -> list[Tokens]:
    """Each passage after its context: the same tokens whatever the context; the end of the passage is not counted."""
    use_packed_attention(model)
    trees = [
        Tree(prompt_node(tuple(c)), (trained(encoded(tokenizer, p)),))
        for c, p in zip(contexts, passages, strict=True)
    ]
    found: dict[int, Tokens] = {}
    for bin_ in pack([t.size for t in trees], max(token_budget, max(t.size for t in trees))):
        packed = collate([trees[i] for i in bin_]).to(device_of(model))
        with torch.no_grad():
            z = logits(model, packed, packed.rows).float().log_softmax(-1).cpu()
        targets = packed.targets.cpu()
        nats = -z.gather(-1, targets[:, None])[:, 0]
        entropy = -(z.exp() * z).sum(-1)
        right = z.argmax(-1) == targets
        at = 0
        for i in bin_:
            n = len(trees[i].branches[0].ids)
            cut = slice(at, at + n)
            found[i] = Tokens(
                targets[cut].numpy(),
                nats[cut].double().numpy(),
                entropy[cut].double().numpy(),
                right[cut].numpy(),
            )
            at += n
    return [found[i] for i in range(len(trees))]
