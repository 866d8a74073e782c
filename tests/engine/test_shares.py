"""Shares of a step: nothing lost, none idle, equal work, and together the same step."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny
from heedful.engine.batch import Packed, Tree, collate, plain
from heedful.engine.fit import Term, fit
from heedful.engine.optim import Optimizer
from heedful.engine.score import use_packed_attention
from heedful.engine.shares import cost, shares
from heedful.errors import UserError
from heedful.losses.supervised import next_token

HIDDEN = 32


def work(packed: Packed) -> int:
    """The cost of a row by the mask of who sees whom."""
    return packed.layout.total + int(packed.layout.mask().sum()) // (6 * HIDDEN)


def test_a_trees_cost_counts_who_sees_whom() -> None:
    for tree in tiny.trees():
        assert cost(tree, HIDDEN) == work(collate([tree]))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(2, 60), min_size=12, max_size=60), st.integers(1, 4), st.integers(120, 400))
def test_every_example_is_in_one_share_and_no_share_is_idle(
    sizes: list[int], parts: int, budget: int
) -> None:
    trees = [plain(range(100 * i, 100 * i + n)) for i, n in enumerate(sizes)]
    found = shares(trees, budget, parts, hidden_size=HIDDEN)
    assert {len(row) for row in found} == {parts}
    rows = [packed for row in found for packed in row]
    assert sorted(i for p in rows for i in p.ids.tolist()) == sorted(i for t in trees for i in t.prompt.ids)
    assert all(0 < p.layout.total <= budget for p in rows)
    longest = max(cost(t, HIDDEN) for t in trees)
    costs = [sum(cost(trees[int(p.ids[g.prompt[0]]) // 100], HIDDEN) for g in p.layout.groups) for p in rows]
    assert max(costs) - min(costs) <= longest  # the longest first, each to the least loaded
    totals = [sum(costs[r * parts + part] for r in range(len(found))) for part in range(parts)]
    assert max(totals) - min(totals) <= longest


def test_quadratic_work_is_shared_and_not_tokens_alone() -> None:
    """One long sequence costs more than the short ones of as many tokens."""
    trees = [plain(range(3000)), *[plain(range(30)) for _ in range(500)]]
    ((long, short),) = shares(trees, 20_000, 2, hidden_size=64)
    assert long.layout.total < 0.6 * short.layout.total  # half of all tokens would be 9,000
    work = [
        sum(cost(plain(range(g.prompt[1] - g.prompt[0])), 64) for g in p.layout.groups) for p in (long, short)
    ]
    assert abs(work[0] - work[1]) < 100


def test_shares_together_are_the_step() -> None:
    trees = [Tree(t.prompt, t.branches, weight=w) for w in (1.0, 0.3) for t in tiny.trees(int(w * 10))]

    def step(batch: list[Packed]) -> list[torch.Tensor]:
        model = tiny.llama()
        use_packed_attention(model)
        taken = fit(
            model,
            [batch],
            [Term(next_token)],
            Optimizer(model, learning_rate=1e-2, eps=1e-2),
            max_grad_norm=1e9,
        )
        next(taken)
        return [p.detach() for p in model.parameters()]

    whole = step([collate(trees)])
    for parts in (1, 2, 3):
        rows = [p for row in shares(trees, 40, parts, hidden_size=HIDDEN) for p in row]
        for a, b in zip(step(rows), whole, strict=True):
            torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_too_few_examples_for_all_is_an_error_with_a_sentence() -> None:
    with pytest.raises(UserError, match="3 examples cannot be shared by 4 processes"):
        shares(tiny.trees(), 100, 4, hidden_size=HIDDEN)
