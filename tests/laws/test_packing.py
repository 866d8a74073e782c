"""Law 1: packed = tree-shared = padded = alone = accumulated: the same losses and the same gradients (fp32)."""

from typing import Any

import numpy as np
import pytest
import torch

import tiny
from heedful.engine.attention import masked_attention
from heedful.engine.batch import Packed, Tree, collate, microbatches, plain
from heedful.engine.fit import Term, fit
from heedful.engine.layout import Layout
from heedful.engine.optim import Optimizer
from heedful.engine.score import columns, sequence_columns, use_packed_attention
from heedful.errors import UserError
from heedful.losses.reward import bradley_terry
from heedful.losses.supervised import next_token


def alone(model: Any, tree: Tree) -> list[torch.Tensor]:
    """Log-probs of each branch by the model's own eager attention, one sequence at a time."""
    found = []
    for branch in tree.branches:
        ids = torch.from_numpy(np.concatenate([tree.prompt.ids, branch.ids]))
        logp = model(ids[None], use_cache=False).logits[0].float().log_softmax(-1)
        start = len(tree.prompt.ids)
        found.append(logp[start - 1 : -1].gather(-1, ids[start:, None])[:, 0])
    return found


def gradient(model: Any) -> torch.Tensor:
    parts = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    return torch.cat(parts)


@pytest.mark.parametrize("name", tiny.configs())
def test_a_tree_row_equals_each_sequence_alone(name: str) -> None:
    model, trees = tiny.model(tiny.configs()[name]), tiny.trees()
    reference = torch.cat([logp for tree in trees for logp in alone(model, tree)])
    weight = torch.randn(len(reference), generator=torch.Generator().manual_seed(1))
    (reference * weight).sum().backward()
    expected = gradient(model)
    use_packed_attention(model)
    logp = columns(model, collate(trees), ["logp"])["logp"]
    (logp * weight).sum().backward()
    torch.testing.assert_close(logp, reference, atol=2e-5, rtol=1e-5)
    found = gradient(model)
    assert (found - expected).norm() / expected.norm() < 1e-5


def test_a_packed_sequence_equals_a_right_padded_batch() -> None:
    model = tiny.llama()
    rng = np.random.default_rng(0)
    rows = [rng.integers(3, tiny.VOCAB, n) for n in (5, 11, 8)]
    batch = torch.zeros(3, 11, dtype=torch.long)
    for row, ids in zip(batch, rows, strict=True):
        row[: len(ids)] = torch.from_numpy(ids)
    mask = (torch.arange(11) < torch.tensor([[5], [11], [8]])).long()
    logp = model(batch, attention_mask=mask, use_cache=False).logits.log_softmax(-1)
    padded = [
        logp[i, : len(r) - 1].gather(-1, torch.from_numpy(r)[1:, None])[:, 0] for i, r in enumerate(rows)
    ]
    use_packed_attention(model)
    packed = columns(model, collate([plain(r) for r in rows]), ["logp"])["logp"]
    torch.testing.assert_close(packed, torch.cat(padded), atol=2e-5, rtol=1e-5)


def test_the_flash_path_equals_the_mask_path() -> None:
    layout = Layout([(9, [4, 1, 6]), (3, []), (5, [2])])
    g = torch.Generator().manual_seed(0)
    q = torch.randn(1, 4, layout.total, 8, generator=g).requires_grad_()
    k, v = (torch.randn(1, 2, layout.total, 8, generator=g).requires_grad_() for _ in range(2))
    from heedful.engine.attention import TreeRows, Variant

    variant = Variant(8**-0.5)
    slow = masked_attention(q, k, v, layout.mask(), variant).transpose(1, 2)
    fast = TreeRows(layout).attend(0, q, k, v, variant)
    torch.testing.assert_close(fast, slow, atol=1e-5, rtol=1e-5)
    weight = torch.randn(slow.shape, generator=g)
    expected = torch.autograd.grad((slow * weight).sum(), (q, k, v))
    found = torch.autograd.grad((fast * weight).sum(), (q, k, v))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def one_step(batch: list[Packed], terms: list[Term]) -> tuple[float, list[torch.Tensor]]:
    model = tiny.llama()
    use_packed_attention(model)
    optimizer = Optimizer(model, learning_rate=1e-2, eps=1e-2)
    step = next(fit(model, [batch], terms, optimizer, max_grad_norm=1e9))
    return step.loss, [p.detach() for p in model.parameters()]


@pytest.mark.parametrize("budget", [19, 24, 1000])
def test_any_split_into_microbatches_gives_the_same_step(budget: int) -> None:
    trees = tiny.trees() + [Tree(t.prompt, t.branches, t.pairs, weight=0.3) for t in tiny.trees(1)]
    whole_loss, whole = one_step([collate(trees)], [Term(next_token)])
    batch = microbatches(trees, max(budget, max(t.size for t in trees)))
    loss, weights = one_step(batch, [Term(next_token)])
    assert loss == pytest.approx(whole_loss, rel=1e-5)
    for a, b in zip(weights, whole, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_a_weighted_mean_is_what_the_loss_is() -> None:
    trees = [Tree(t.prompt, t.branches, weight=w) for t, w in zip(tiny.trees(), (1.0, 0.1, 2.0), strict=True)]
    model = tiny.llama()
    per_tree = [torch.cat(alone(model, t)) for t in trees]
    total = sum(float(-(logp.detach().sum())) * t.weight for t, logp in zip(trees, per_tree, strict=True))
    count = sum(len(logp) * t.weight for t, logp in zip(trees, per_tree, strict=True))
    loss, _ = one_step([collate(trees[:1]), collate(trees[1:])], [Term(next_token)])
    assert loss == pytest.approx(total / count, rel=1e-5)


def test_a_ranking_is_scored_as_its_answers_alone() -> None:
    config = tiny.configs()["llama"]
    scorer = tiny.model(config, scorer=True)
    trees = tiny.trees()
    expected = []
    for tree in trees:
        for branch in tree.branches:
            ids = torch.from_numpy(np.concatenate([tree.prompt.ids, branch.ids]))[None]
            expected.append(scorer(ids, use_cache=False).logits[0, 0])
    use_packed_attention(scorer)
    found = [s for row in sequence_columns(scorer, trees, "score") for s in row]
    torch.testing.assert_close(torch.stack(found), torch.stack(expected).detach(), atol=2e-5, rtol=1e-5)


def test_sequence_columns_come_back_in_order_whatever_the_packing() -> None:
    model, trees = tiny.llama(), tiny.trees()
    expected = [alone(model, t) for t in trees]
    use_packed_attention(model)
    for budget in (30, 1000):
        for row, want in zip(
            sequence_columns(model, trees, "logp", token_budget=budget), expected, strict=True
        ):
            for a, b in zip(row, want, strict=True):
                torch.testing.assert_close(a, b.detach(), atol=2e-5, rtol=1e-5)


def test_pairs_weigh_a_prompt_once() -> None:
    config = tiny.configs()["llama"]
    scorer = tiny.model(config, scorer=True)
    use_packed_attention(scorer)
    trees = tiny.trees()
    packed = collate(trees)
    values = columns(scorer, packed, ["chosen_score", "rejected_score"])
    pairs = [(0, 1), (3, 4), (4, 5)]
    score = torch.stack([s for row in sequence_columns(scorer, trees, "score") for s in row])
    expected = bradley_terry(score[[a for a, _ in pairs]], score[[b for _, b in pairs]])
    torch.testing.assert_close(bradley_terry(**values), expected, atol=2e-5, rtol=1e-5)
    assert packed.weights["pair"].tolist() == [0.5, 0.5, 0.5]


def test_an_empty_mask_is_an_error_with_a_sentence() -> None:
    empty = plain(np.arange(5), np.zeros(5, dtype=bool))
    with pytest.raises(UserError, match="nothing to learn from"):
        one_step([collate([empty])], [Term(next_token)])


def test_a_loss_that_is_not_finite_is_an_error_with_a_sentence() -> None:
    model = tiny.llama()
    with torch.no_grad():
        next(model.parameters()).fill_(float("nan"))
    use_packed_attention(model)
    optimizer = Optimizer(model, learning_rate=1e-2)
    with pytest.raises(UserError, match="loss of step 0 is nan"):
        next(fit(model, [[collate(tiny.trees())]], next_token, optimizer))


def test_an_example_longer_than_the_budget_is_an_error_with_a_sentence() -> None:
    with pytest.raises(UserError, match="26 tokens but a micro-batch holds 20"):
        microbatches(tiny.trees(), 20)
