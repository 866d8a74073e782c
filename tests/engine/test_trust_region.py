"""TRPO: the Fisher product against the matrix, conjugate gradients against a solver, steps against the region."""

import copy
from typing import Any

import pytest
import torch
import transformers as hf

import tiny
from engine.toy_rl import rollouts
from heedful.engine.batch import Packed, collate
from heedful.engine.fit import Term, fit
from heedful.engine.optim import Optimizer
from heedful.engine.score import columns, logits, use_packed_attention
from heedful.engine.trust_region import (
    Region,
    TrustRegion,
    conjugate_gradient,
    divergence,
    fisher_product,
    log_probs,
)
from heedful.losses import policy


@pytest.fixture(scope="module")
def small() -> tuple[Any, list[str], Packed]:
    """A model of a few hundred parameters and a row of two prompts with answers."""
    shape = {"hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 2, "num_key_value_heads": 1}
    config = hf.LlamaConfig(**{**tiny._COMMON, "vocab_size": 11, "num_hidden_layers": 1, **shape})
    model = tiny.model(config)
    use_packed_attention(model)
    trees = tiny.trees(shapes=((3, (2, 3)), (2, (2,))))
    packed = collate(trees)
    packed.ids = 3 + packed.ids % 8  # never the padding, whose embedding gets no gradient
    packed.targets = 3 + packed.targets % 8
    return model, [n for n, p in model.named_parameters() if p.requires_grad], packed


def explicit(model: Any, packed: Packed) -> torch.Tensor:
    """The Fisher matrix, from one backward for each logit of each token."""
    weights = list(model.parameters())
    z = logits(model, packed, packed.rows)
    n, words = z.shape
    total: Any = 0.0
    for token in range(n):
        rows = []
        for word in range(words):
            g = torch.autograd.grad(z[token, word], weights, retain_graph=True, allow_unused=True)
            rows.append(
                torch.cat(
                    [
                        torch.zeros_like(w).flatten() if x is None else x.flatten()
                        for x, w in zip(g, weights, strict=True)
                    ]
                )
            )
        jacobian = torch.stack(rows).double()
        p = z[token].detach().double().softmax(-1)
        total = total + jacobian.T @ (torch.diag(p) - torch.outer(p, p)) @ jacobian / n
    return total


def test_the_fisher_vector_product_is_the_explicit_matrixs(small: tuple[Any, list[str], Packed]) -> None:
    model, names, packed = small
    matrix = explicit(model, packed)
    for seed in range(3):
        v = torch.randn(len(matrix), generator=torch.Generator().manual_seed(seed))
        expected = (matrix @ v.double()).float()
        torch.testing.assert_close(fisher_product(model, names, [packed], v), expected, atol=1e-4, rtol=1e-4)


def test_it_is_the_mean_score_outer_product_and_does_not_depend_on_the_split(
    small: tuple[Any, list[str], Packed],
) -> None:
    model, names, packed = small
    v = torch.randn(sum(p.numel() for p in model.parameters()), generator=torch.Generator().manual_seed(0))
    whole = fisher_product(model, names, [packed], v)
    torch.testing.assert_close(fisher_product(model, names, [packed, packed], v), whole, atol=1e-5, rtol=1e-4)
    assert float(v @ whole) > 0


def test_the_kl_of_a_small_step_is_its_quadratic_form(small: tuple[Any, list[str], Packed]) -> None:
    model, names, packed = small
    weights = list(model.parameters())
    start = [w.detach().clone() for w in weights]
    v = torch.randn(sum(w.numel() for w in weights), generator=torch.Generator().manual_seed(1))
    quadratic = 0.5 * float(v @ fisher_product(model, names, [packed], v))
    before, size = [log_probs(model, packed)], 3e-3
    with torch.no_grad():
        for w, part in zip(weights, torch.split(v, [w.numel() for w in weights]), strict=True):
            w.add_(size * part.view_as(w))
    found = divergence(model, [packed], before) / size**2
    with torch.no_grad():
        for w, old in zip(weights, start, strict=True):
            w.copy_(old)
    assert found == pytest.approx(quadratic, rel=0.1)


def test_conjugate_gradients_are_exact_after_as_many_steps_as_dimensions() -> None:
    g = torch.Generator().manual_seed(0)
    root = torch.randn(12, 12, generator=g, dtype=torch.float64)
    matrix, b = root @ root.T + torch.eye(12), torch.randn(12, generator=g, dtype=torch.float64)
    found = conjugate_gradient(lambda v: matrix @ v, b, 12, tolerance=0)
    assert float((matrix @ found - b).norm()) < 1e-8
    assert float((matrix @ conjugate_gradient(lambda v: matrix @ v, b, 3) - b).norm()) > 1e-3


def stepped(region: Region, *, flat: bool = False) -> tuple[TrustRegion, float, list[torch.Tensor]]:
    """One TRPO step on a toy: what it said, the true KL of the move, and the move."""
    toy = rollouts(advantage="leave_one_out", epochs=1, minibatches=1)
    terms = [Term(policy.importance)]
    trust = TrustRegion(toy.model, toy.model, region, terms, None, None)
    start = [p.detach().clone() for p in toy.model.parameters()]
    batches = trust.seen(toy.batches(1))
    batch = next(batches)
    if flat:
        for packed in batch:
            packed.columns["advantage"] = torch.zeros_like(packed.columns["advantage"])
    before = [log_probs(toy.model, p) for p in batch]
    next(fit(toy.model, [batch], terms, trust))
    moved = [p.detach() - s for p, s in zip(toy.model.parameters(), start, strict=True)]
    return trust, divergence(toy.model, batch, before), moved


@pytest.mark.parametrize("max_kl", [0.001, 0.02])
def test_a_step_stays_within_the_region_and_improves(max_kl: float) -> None:
    trust, kl, _ = stepped(Region(max_kl=max_kl))
    assert trust.metrics["trust/accepted"] == 1
    assert 0.2 * max_kl < kl <= max_kl * (1 + 1e-4)
    assert trust.metrics["trust/kl"] == pytest.approx(kl, rel=1e-3)
    assert trust.metrics["trust/gain"] > 0


def test_without_anything_to_gain_nothing_moves() -> None:
    trust, kl, moved = stepped(Region(), flat=True)
    assert trust.metrics["trust/accepted"] == 0
    assert kl == pytest.approx(0, abs=1e-9)
    assert not any(m.any() for m in moved)


def test_a_whole_step_is_the_natural_gradient_with_a_quadratic_kl_of_max_kl(
    small: tuple[Any, list[str], Packed],
) -> None:
    """Against a solver with the explicit matrix: where the step goes, and how long it is before it is shrunk."""
    model, packed = copy.deepcopy(small[0]), copy.deepcopy(small[2])
    with torch.no_grad():
        packed.columns["behavior_logp"] = columns(model, packed, {"logp"})["logp"]
    terms, max_kl, damping = [Term(policy.importance)], 1e-4, 0.1
    loss = policy.importance(**columns(model, packed, {"logp", "behavior_logp", "advantage"})).mean()
    gradient = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))])
    matrix = explicit(model, packed)
    damped = matrix + damping * torch.eye(len(matrix), dtype=torch.float64)
    expected = -torch.linalg.solve(damped, gradient.double())

    trust = TrustRegion(model, model, Region(max_kl, cg_iterations=60, cg_damping=damping), terms, None, None)
    start = [w.detach().clone() for w in model.parameters()]
    next(fit(model, trust.seen(iter([[packed]])), terms, trust))
    moved = [(w.detach() - old).flatten() for w, old in zip(model.parameters(), start, strict=True)]
    whole = torch.cat(moved).double() / trust.metrics["trust/share"]
    assert float(torch.cosine_similarity(whole, expected, dim=0)) > 0.999
    assert float(0.5 * whole @ matrix @ whole) == pytest.approx(max_kl, rel=0.01)


def test_the_critic_is_fitted_as_often_as_asked() -> None:
    errors = []
    for updates in (1, 10):
        toy = rollouts(epochs=1, minibatches=1)
        terms, value = [Term(policy.importance)], Term(policy.value_error)
        critic = Optimizer(toy.model.critic, learning_rate=1e-3)
        region = Region(critic_updates=updates, cg_iterations=2)
        trust = TrustRegion(toy.model, toy.model.policy, region, terms, critic, value)
        steps = list(fit(toy.model, trust.seen(toy.batches(2)), [*terms, value], trust))
        errors.append(steps[1].metrics["value_error"])
    assert errors[1] < errors[0]
