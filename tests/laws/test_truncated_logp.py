"""Log-probs under truncation: what the sampler says, what a fresh forward says, and what enumeration says."""

from typing import Any

import numpy as np
import pytest
import torch

import tiny
from engine.toy_rl import answers, rollouts
from heedful.engine.batch import collate
from heedful.engine.sampling import Sampling
from heedful.engine.score import as_drawn, columns, sequence_columns, use_packed_attention

HOWS = [
    {"temperature": 0.7},
    {"top_k": 3},
    {"top_p": 0.8},
    {"temperature": 1.3, "top_k": 6, "top_p": 0.9, "min_p": 0.05},
]


@pytest.mark.parametrize("how", HOWS)
def test_by_enumeration_over_a_small_vocabulary(how: dict[str, Any]) -> None:
    """Sorted by hand, cut by hand, normalised by hand."""
    s = Sampling(**how)
    logits = torch.randn(5, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    targets = logits.argmax(-1)
    found = as_drawn(logits, targets, s).log_softmax(-1)
    for row in range(5):
        p = np.exp(logits[row].numpy() / s.temperature)
        p /= p.sum()
        kept = set(range(9))
        if s.top_k:
            kept = set(np.argsort(-p)[: s.top_k].tolist())
        if s.top_p < 1:
            mass, order = 0.0, sorted(kept, key=lambda i: -p[i])
            whole, inside = sum(p[i] for i in kept), set()
            for i in order:
                if mass < s.top_p * whole:
                    inside.add(i)
                mass += p[i]
            kept = inside
        kept = {i for i in kept if p[i] >= s.min_p * max(p[j] for j in kept)}
        total = sum(p[i] for i in kept)
        for i in range(9):
            expected = np.log(p[i] / total) if i in kept else -np.inf
            assert float(found[row, i]) == pytest.approx(expected, abs=1e-9)


def test_a_token_that_was_drawn_is_never_dropped_and_has_a_gradient() -> None:
    logits = torch.tensor([[4.0, 3.0, 0.0]]).requires_grad_()
    z = as_drawn(logits, torch.tensor([2]), Sampling(top_k=1))
    found = z.log_softmax(-1)
    assert torch.isfinite(found[0, [0, 2]]).all()
    assert found[0, 1] == -torch.inf
    (gradient,) = torch.autograd.grad(found[0, 2], logits)
    assert torch.isfinite(gradient).all()
    assert gradient[0, 1] == 0


@pytest.mark.parametrize("how", HOWS)
def test_the_samplers_log_probs_are_a_fresh_forwards_under_the_same_rule(how: dict[str, Any]) -> None:
    toy = rollouts(advantage="leave_one_out", epochs=1, minibatches=1, **how)
    (batch,) = toy.batches(1)
    assert toy.metrics["sampling/logp_gap"] < 1e-4
    for packed in batch:
        values = columns(toy.model, packed, ("logp", "entropy", "behavior_logp"))
        torch.testing.assert_close(values["logp"], values["behavior_logp"], atol=1e-4, rtol=1e-4)
        assert torch.isfinite(values["entropy"]).all()
    rows = [row for packed in batch for row in answers(packed)]
    assert min(float(row.behavior_logp.max()) for row in rows) < 0


def test_without_the_rule_they_are_not_those_of_the_model() -> None:
    toy = rollouts(advantage="leave_one_out", epochs=1, minibatches=1, top_k=3)
    (batch,) = toy.batches(1)
    packed = batch[0]
    packed.drawn = None
    plain = columns(toy.model, packed, ("logp",))["logp"].detach()
    likelier = packed.columns["behavior_logp"] - plain  # what is dropped makes the rest likelier
    assert float(likelier.min()) >= -1e-5
    assert float(likelier.max()) > 0.05


def test_the_reference_is_tempered_and_not_truncated() -> None:
    toy = rollouts(advantage="leave_one_out", epochs=1, minibatches=1, temperature=0.5, top_k=2)
    (batch,) = toy.batches(1)
    packed = batch[0]
    packed.drawn = Sampling(temperature=0.5)
    expected = columns(toy.reference, packed, ("logp",))["logp"]
    torch.testing.assert_close(packed.columns["ref_logp"], expected, atol=1e-5, rtol=1e-4)


def test_cutting_up_respects_how_answers_were_drawn() -> None:
    model = tiny.llama()
    use_packed_attention(model)
    trees, how = tiny.trees(), Sampling(temperature=0.7, top_k=5)
    rows = sequence_columns(model, trees, "logp", drawn=how)
    packed = collate(trees)
    packed.drawn = how
    whole = columns(model, packed, ("logp",))["logp"]
    torch.testing.assert_close(
        torch.cat([v for row in rows for v in row]), whole.detach(), atol=1e-5, rtol=1e-4
    )
