"""What a policy loss is divided by, against padded definitions; and that answers left out change nothing."""

from typing import Any

import numpy as np
import pytest
import torch

import tiny
from heedful.engine.batch import Packed, Tree, answer_node, microbatches, prompt_node, trained_tokens
from heedful.engine.fit import Term, fit
from heedful.engine.optim import Optimizer
from heedful.engine.reduction import Reduction, informative, reduced
from heedful.engine.score import use_packed_attention
from heedful.losses.bind import bind
from heedful.losses.kl import k3
from heedful.losses.policy import approx_kl, clip_fraction, ppo_clip

LONGEST = 16
REDUCTIONS: tuple[Reduction, ...] = ("token", "sequence", "constant")


def rollout(seed: int, advantages: tuple[tuple[float, ...], ...]) -> list[Tree]:
    """Random prompts with answers of 1 to 12 tokens, off-policy enough that clipping happens."""
    rng = np.random.default_rng(seed)

    def answer(advantage: float) -> Any:
        n = int(rng.integers(1, 13))
        behavior = rng.normal(-4.5, 1.0, n).astype(np.float32)
        ref = rng.normal(-4.5, 1.0, n).astype(np.float32)
        column = np.full(n, advantage, dtype=np.float32)
        ids = rng.integers(3, tiny.VOCAB, n)
        return answer_node(ids, behavior_logp=behavior, ref_logp=ref, advantage=column)

    return [
        Tree(prompt_node(rng.integers(3, tiny.VOCAB, 5)), tuple(answer(a) for a in group))
        for group in advantages
    ]


SOME = ((1.0, -0.5, -0.5), (0.0, 0.0), (0.7, 0.0, -0.7), (-1.2, 1.2))
NONE = ((0.0, 0.0, 0.0), (0.0, 0.0))


def by_definition(model: Any, trees: list[Tree], reduction: Reduction, beta: float) -> torch.Tensor:
    """The published formulas over answers padded on the right, one plain forward an answer."""
    losses = torch.zeros(sum(len(t.branches) for t in trees), LONGEST)
    mask = torch.zeros_like(losses)
    row = 0
    for tree in trees:
        for branch in tree.branches:
            ids = torch.from_numpy(np.concatenate([tree.prompt.ids, branch.ids]))
            table = model(ids[None], use_cache=False).logits[0].log_softmax(-1)
            n = len(branch.ids)
            logp = table[-n - 1 : -1].gather(-1, ids[-n:, None])[:, 0]
            old, ref, a = (
                torch.from_numpy(branch.columns[c]) for c in ("behavior_logp", "ref_logp", "advantage")
            )
            ratio = (logp - old).exp()
            surrogate = torch.min(ratio * a, ratio.clamp(0.8, 1.2) * a)
            kl = (ref - logp).exp() - (ref - logp) - 1
            losses[row, :n] = -surrogate + beta * kl
            mask[row, :n] = 1
            row += 1
    if reduction == "token":
        return losses.sum() / mask.sum()
    if reduction == "sequence":
        return (losses.sum(1) / mask.sum(1)).mean()
    return losses.sum() / (len(losses) * LONGEST)


def steps(batches: list[list[Packed]], terms: list[Term]) -> tuple[list[Any], list[torch.Tensor]]:
    """Optimiser steps of a fresh model, and its weights after them."""
    model = tiny.llama()
    use_packed_attention(model)
    optimizer = Optimizer(model, learning_rate=1e-3, eps=1e-2)
    watch = {"approx_kl": approx_kl, "clip_ratio": clip_fraction}
    taken = list(fit(model, batches, terms, optimizer, watch=watch, max_grad_norm=1e9))
    return taken, [p.detach().clone() for p in model.parameters()]


# Log-probs now, when sampled and under the reference, and advantages; then TRL 1.16.0's loss and its gradient by each
# log-prob, from GRPOTrainer._compute_loss with max_completion_length 5 and loss_type dapo, grpo and dr_grpo.
NOW = ([-1.0, -2.0, -0.5, -3.0], [-0.7, -1.1], [-2.5])
OLD = ([-1.3, -1.9, -0.5, -2.0], [-0.7, -1.6], [-2.4])
REF = ([-1.1, -2.2, -0.9, -2.5], [-1.0, -1.0], [-2.0])
ADVANTAGES = (1.0, -0.5, 0.25)
TRL: dict[tuple[Reduction, float], tuple[float, list[float]]] = {
    ("token", 0.0): (-0.339224, [0.0, -0.129262, -0.142857, -0.052554, 0.071429, 0.117766, -0.032316]),
    ("sequence", 0.0): (-0.144069, [0.0, -0.075403, -0.083333, -0.030657, 0.083333, 0.137393, -0.075403]),
    ("constant", 0.0): (-0.158304, [0.0, -0.060322, -0.066667, -0.024525, 0.033333, 0.054957, -0.015081]),
    ("token", 0.3): (-0.320481, [0.004078, -0.121494, -0.128728, -0.080357, 0.082536, 0.113258, -0.060118]),
    ("sequence", 0.3): (
        -0.120833,
        [0.002379, -0.070871, -0.075091, -0.046875, 0.096292, 0.132135, -0.140275],
    ),
    ("constant", 0.3): (-0.149558, [0.001903, -0.056697, -0.060073, -0.0375, 0.038517, 0.052854, -0.028055]),
}


@pytest.mark.parametrize(("reduction", "beta"), TRL)
def test_golden_numbers_of_trl(reduction: Reduction, beta: float) -> None:
    def column(values: list[float]) -> Any:
        return np.asarray(values, dtype=np.float32)

    answers = [
        answer_node(
            range(3, 3 + len(old)),
            behavior_logp=column(old),
            ref_logp=column(ref),
            advantage=column([a] * len(old)),
        )
        for old, ref, a in zip(OLD, REF, ADVANTAGES, strict=True)
    ]
    trees = [Tree(prompt_node([1, 2]), tuple(answers))]
    (packed,) = reduced(microbatches(trees, 100), trees, reduction, longest=5)
    logp = torch.cat([torch.tensor(row) for row in NOW]).requires_grad_()
    values = {**packed.columns, "logp": logp}
    per_token = bind(ppo_clip, values) + beta * bind(k3, values)
    loss = (per_token * packed.weights["token"]).sum() / packed.count("token")
    loss.backward()
    expected, gradient = TRL[reduction, beta]
    assert loss.item() == pytest.approx(expected, abs=2e-6)
    assert logp.grad is not None
    assert logp.grad.tolist() == pytest.approx(gradient, abs=2e-6)


@pytest.mark.parametrize("budget", [46, 1000])
@pytest.mark.parametrize("beta", [0.0, 0.3])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_a_reduction_is_its_published_formula_in_any_split(
    reduction: Reduction, beta: float, budget: int
) -> None:
    trees = rollout(0, SOME)
    model = tiny.llama()
    expected = by_definition(model, trees, reduction, beta)
    expected.backward()
    norm = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]).norm()
    batch = reduced(microbatches(trees, budget), trees, reduction, longest=LONGEST)
    assert (len(batch) > 1) == (budget < 1000)
    terms = [Term(ppo_clip)] + ([Term(k3, weight=beta)] if beta else [])
    (step,), _ = steps([batch], terms)
    assert step.loss == pytest.approx(float(expected.detach()), rel=1e-5)
    assert step.grad_norm == pytest.approx(float(norm), rel=1e-5)
    assert step.metrics["clip_ratio"] > 0


def test_the_token_mean_is_bit_for_bit_what_it_is_without_a_reduction() -> None:
    trees = rollout(1, SOME)
    plain, weights = steps([microbatches(trees, 46)], [Term(ppo_clip)])
    same, others = steps(
        [reduced(microbatches(trees, 46), trees, "token", longest=LONGEST)], [Term(ppo_clip)]
    )
    assert [s.loss for s in plain] == [s.loss for s in same]
    assert all(torch.equal(a, b) for a, b in zip(weights, others, strict=True))


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_skipping_answers_without_advantage_changes_nothing(reduction: Reduction) -> None:
    """Three steps, one of which has nothing to learn from and still moves the weights by its momentum."""
    iterations = [rollout(2, SOME), rollout(3, NONE), rollout(4, SOME)]

    def run(*, skip: bool) -> tuple[list[Any], list[torch.Tensor]]:
        batches = [
            reduced(microbatches(informative(t) if skip else t, 46), t, reduction, longest=LONGEST)
            for t in iterations
        ]
        return steps(batches, [Term(ppo_clip)])

    (whole, expected), (less, found) = run(skip=False), run(skip=True)
    assert [a.tokens > b.tokens for a, b in zip(whole, less, strict=True)] == [True] * 3
    for a, b in zip(whole, less, strict=True):
        assert b.loss == pytest.approx(a.loss, rel=1e-6, abs=1e-9)
        assert b.grad_norm == pytest.approx(a.grad_norm, rel=1e-5)
    assert less[1].grad_norm == 0
    for b, a in zip(found, expected, strict=True):
        torch.testing.assert_close(b, a, atol=2e-7, rtol=0)


def test_only_what_has_no_advantage_is_left_out() -> None:
    trees = rollout(0, SOME)
    kept = informative(trees)
    assert [len(t.branches) for t in kept] == [3, 2, 2]
    assert all(b.columns["advantage"].any() for t in kept for b in t.branches)
    assert trained_tokens(kept) < trained_tokens(trees)
    assert [t.size for t in informative(rollout(0, NONE))] == [min(t.size for t in rollout(0, NONE))]


@pytest.mark.parametrize("reduction", ["token", "constant"])
def test_a_watched_mean_is_over_what_was_computed(reduction: Reduction) -> None:
    trees = rollout(0, SOME)
    kept = informative(trees)
    (alone,), _ = steps([microbatches(kept, 1000)], [Term(ppo_clip)])
    (step,), _ = steps(
        [reduced(microbatches(kept, 1000), trees, reduction, longest=LONGEST)], [Term(ppo_clip)]
    )
    assert step.metrics["approx_kl"] == alone.metrics["approx_kl"]
    assert step.loss != alone.loss
