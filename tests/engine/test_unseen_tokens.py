"""A packed row with tokens that nothing attends to equals transformers' own attention under a mask that says so."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import tiny
from heedful.engine.attention import TreeRows, Variant, masked_attention
from heedful.engine.batch import Tree, collate
from heedful.engine.layout import Layout
from heedful.engine.score import columns, use_packed_attention
from heedful.errors import UserError

ARCHITECTURES = ("llama", "mistral", "gemma2", "gpt2", "gpt_oss", "phi3")


def forgetful(trees: list[Tree]) -> list[Tree]:
    """A third of all tokens is not seen, but for each tree's first."""
    rng = np.random.default_rng(7)

    def hidden(node: Any) -> Any:
        return replace(node, unseen=rng.random(len(node.ids)) < 1 / 3)

    found = [replace(t, prompt=hidden(t.prompt), branches=tuple(map(hidden, t.branches))) for t in trees]
    for tree in found:
        assert tree.prompt.unseen is not None
        tree.prompt.unseen[0] = False
    return found


def by_transformers(model: Any, ids: Tensor, unseen: Tensor, prompt: int) -> Tensor:
    """The log-probs of what follows the prompt, from eager attention with a mask [1, 1, T, T] of our own."""
    n = len(ids)
    seen = torch.ones(n, n, dtype=torch.bool).tril() & ~unseen
    least = torch.finfo(torch.float32).min
    kinds = set(getattr(model.config, "layer_types", None) or ("full_attention",))
    masks = {}
    for kind in kinds | {"full_attention"}:
        near = torch.ones(n, n, dtype=torch.bool)
        if kind == "sliding_attention" or (model.config.model_type == "mistral"):
            near = near.triu(-(model.config.sliding_window - 1))
        masks[kind] = torch.zeros(1, 1, n, n).masked_fill(~(seen & near), least)
    mask = masks if len(kinds) > 1 else masks["full_attention"]
    logp = model(ids[None], attention_mask=mask).logits[0].log_softmax(-1)
    return logp[prompt - 1 : -1].gather(-1, ids[prompt:, None])[:, 0]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_log_probs_and_gradients(name: str) -> None:
    trees = forgetful(tiny.trees())
    if name in (
        "mistral",
        "gemma2",
        "gpt_oss",
    ):  # a window may hide all that is seen: one of two sides then differs
        trees = [replace(t, prompt=replace(t.prompt, unseen=None)) for t in trees]
        trees = [
            replace(t, branches=tuple(replace(b, unseen=np.arange(len(b.ids)) % 3 == 1) for b in t.branches))
            for t in trees
        ]
    mine, theirs = (tiny.model(tiny.configs()[name]) for _ in range(2))
    use_packed_attention(mine)
    packed = collate(trees)
    logp = columns(mine, packed, ["logp"])["logp"]
    expected = []
    for tree in trees:
        for branch in tree.branches:
            ids = torch.from_numpy(np.concatenate([tree.prompt.ids, branch.ids]))
            flags = [
                np.zeros(len(n.ids), bool) if n.unseen is None else n.unseen for n in (tree.prompt, branch)
            ]
            unseen = torch.from_numpy(np.concatenate(flags))
            expected.append(by_transformers(theirs, ids, unseen, len(tree.prompt.ids)))
    torch.testing.assert_close(logp, torch.cat(expected), atol=2e-5, rtol=1e-4)
    along = torch.randn(len(logp), generator=torch.Generator().manual_seed(0))
    (logp * along).sum().backward()
    (torch.cat(expected) * along).sum().backward()
    for one, other in zip(mine.parameters(), theirs.parameters(), strict=True):
        if other.grad is not None:
            assert one.grad is not None
            torch.testing.assert_close(one.grad, other.grad, atol=1e-4, rtol=1e-3)


def test_without_a_mask_it_is_the_attention_under_one() -> None:
    layout = Layout([(30, (5, 70, 9)), (80, ())])
    g = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, heads, layout.total, 16, generator=g) for heads in (4, 2, 2))
    unseen = torch.rand(layout.total, generator=g) < 0.3
    unseen[[0, 114]] = False
    variant = Variant(0.25)
    found = TreeRows(layout, unseen).attend(0, q, k, v, variant)
    expected = masked_attention(q, k, v, layout.mask() & ~unseen, variant).transpose(1, 2)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_a_model_that_cannot_overlook_tokens_is_refused() -> None:
    model = tiny.model(tiny.padded_configs()["bloom"])
    use_packed_attention(model)
    with pytest.raises(UserError, match="set mask_ratio=0"):
        columns(model, collate(forgetful(tiny.trees())), ["logp"])
