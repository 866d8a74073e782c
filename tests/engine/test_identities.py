"""Algorithms that are one another: equal gradients or equal steps, bit for bit or up to rounding."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

import tiny
from engine.toy_rl import SETTINGS, rollouts
from heedful.engine.batch import Packed, Tree, answer_node, collate, microbatches, plain, prompt_node
from heedful.engine.fit import Term, fit
from heedful.engine.optim import Optimizer
from heedful.engine.rollout import Rollouts
from heedful.engine.score import columns, use_packed_attention
from heedful.engine.streams import beside
from heedful.losses import policy
from heedful.losses.supervised import next_token
from heedful.nn.actor_critic import ActorCritic, SharedTrunk

ONE_STEP: dict[str, Any] = {"epochs": 1, "minibatches": 1, "whiten_advantages": False, "lam": 1.0}


def weights_after(toy: Rollouts, terms: Sequence[Term], *, times: int = 1) -> list[torch.Tensor]:
    """The weights after Adam has stepped `times` on one batch, whose old log-probs are the trained forward's own."""
    batch = next(toy.batches(1))
    for packed in batch:
        with torch.no_grad():
            packed.columns["behavior_logp"] = columns(toy.model, packed, ("logp",))["logp"]
    for _ in fit(toy.model, [batch] * times, terms, Optimizer(toy.model, learning_rate=1e-2)):
        pass
    return [p.detach().clone() for p in toy.model.parameters()]


def same(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_ppo_with_one_epoch_and_one_minibatch_is_a2c_exactly() -> None:
    """Huang et al. 2022 (arXiv:2205.09123): the ratio is 1 and nothing is clipped. Bit for bit after a step of Adam."""
    value = Term(policy.value_error, weight=0.5)
    ppo, a2c = (
        weights_after(rollouts(**ONE_STEP, kl_coef=0.1), [Term(surrogate), value])
        for surrogate in (policy.ppo_clip, policy.reinforce)
    )
    assert same(ppo, a2c)
    assert not same(ppo, list(rollouts(**ONE_STEP).model.parameters()))


def test_with_a_second_epoch_it_is_not() -> None:
    ppo, a2c = (
        weights_after(rollouts(**ONE_STEP), [Term(surrogate)], times=2)
        for surrogate in (partial(policy.ppo_clip, clip_range=0.01), policy.reinforce)
    )
    assert not same(ppo, a2c)


def test_grpo_without_its_clip_is_reinforce_with_the_group_mean_as_its_baseline() -> None:
    """The first step's gradient, computed once by GRPO's objective and once by hand, an answer at a time."""
    toy = rollouts(
        advantage="group",
        scale_rewards="none",
        reduction="sequence",
        epochs=1,
        minibatches=1,
        prompts_per_step=3,
    )
    (batch,) = toy.batches(1)
    parameters = list(toy.model.parameters())
    divisor = sum(p.count("token") for p in batch)
    total: Any = 0.0
    for packed in batch:
        values = columns(toy.model, packed, ("logp", "behavior_logp", "advantage"))
        loss = policy.ppo_clip(values["logp"], values["behavior_logp"], values["advantage"], clip_range=1e9)
        total = total + (loss * packed.weights["token"]).sum() / divisor
    found = torch.autograd.grad(total, parameters)
    by_hand: Any = 0.0
    for packed in batch:
        logp = columns(toy.model, packed, ("logp",))["logp"]
        score = packed.columns["advantage"]
        for answer in range(len(packed.last)):
            rows = packed.sequence == answer
            by_hand = by_hand - float(score[rows][0]) * logp[rows].mean() / 12
    expected = torch.autograd.grad(by_hand, parameters)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4)
    assert max(float(g.abs().max()) for g in found) > 1e-3


def test_rloo_is_group_reinforce_times_n_over_n_minus_1() -> None:
    def advantages(name: str) -> np.ndarray:
        toy = rollouts(advantage=name, scale_rewards="none", epochs=1, minibatches=1)
        (batch,) = toy.batches(1)
        return torch.cat([p.columns["advantage"] for p in batch]).numpy()

    n = SETTINGS.num_generations
    np.testing.assert_allclose(advantages("leave_one_out"), n / (n - 1) * advantages("group"), atol=1e-6)


def test_a_shared_trunk_gives_the_policys_log_probs_and_values_from_its_states() -> None:
    model = tiny.llama()
    shared = SharedTrunk(model)
    torch.nn.init.normal_(shared.value_head.weight, std=0.3)
    use_packed_attention(shared)
    packed = collate(tiny.trees())
    found = columns(shared, packed, ("logp", "entropy", "value"))
    alone = columns(model, packed, ("logp", "entropy"))
    torch.testing.assert_close(found["logp"], alone["logp"])
    torch.testing.assert_close(found["entropy"], alone["entropy"])
    critic = tiny.model(tiny.configs()["llama"], scorer=True)
    critic.base_model.load_state_dict(model.base_model.state_dict())
    with torch.no_grad():
        critic.score.weight.copy_(shared.value_head.weight)
    apart = ActorCritic(model, critic)
    use_packed_attention(apart)
    torch.testing.assert_close(found["value"], columns(apart, packed, ("value",))["value"])


def _texts(n: int) -> list[Tree]:
    rng = np.random.default_rng(1)
    return [plain(rng.integers(3, tiny.VOCAB, 4 + i)) for i in range(n)]


def _answers() -> list[Tree]:
    rng = np.random.default_rng(0)
    made = []
    for n in (3, 5, 8):
        ids = rng.integers(3, tiny.VOCAB, n)
        made.append(
            Tree(
                prompt_node(rng.integers(3, tiny.VOCAB, 4)),
                (answer_node(ids, advantage=np.ones(n, np.float32)),),
            )
        )
    return made


def _step(rows: list[Packed], terms: Sequence[Term]) -> tuple[Any, list[torch.Tensor]]:
    model = tiny.llama()
    optimizer = Optimizer(model, learning_rate=1e-3)
    gradients: list[torch.Tensor] = []
    optimizer.step = lambda: gradients.extend(p.grad.clone() for p in model.parameters())  # type: ignore[method-assign]
    (step,) = fit(model, [rows], terms, optimizer, max_grad_norm=1e9)
    return step, gradients


def test_a_second_stream_has_its_own_terms_and_its_own_denominator() -> None:
    """The gradient of both is the sum of each alone, however the rows are split; neither counts the other's tokens."""
    rollout, text = Term(policy.reinforce), Term(next_token, weight=3.0, stream="ptx")
    answers = microbatches(_answers(), 4096)
    texts = [replace(p, stream="ptx") for p in microbatches(_texts(4), 4096)]
    split = [replace(p, stream="ptx") for p in microbatches(_texts(4), 12)]
    assert len(split) > len(texts)
    step, both = _step([*answers, *texts], [rollout, text])
    _, again = _step([*split, *microbatches(_answers(), 16)], [rollout, text])
    first, one = _step(answers, [rollout])
    second, other = _step(microbatches(_texts(4), 4096), [Term(next_token, weight=3.0)])
    for a, b, c, d in zip(both, one, other, again, strict=True):
        torch.testing.assert_close(a, b + c, atol=1e-6, rtol=1e-4)
        torch.testing.assert_close(a, d, atol=1e-6, rtol=1e-4)
    assert step.loss == pytest.approx(first.loss + second.loss, abs=1e-5)
    assert step.metrics == pytest.approx(
        {"reinforce": first.metrics["reinforce"], "ptx/next_token": second.metrics["next_token"]}, abs=1e-5
    )


def test_a_weight_that_is_a_function_is_asked_at_every_step() -> None:
    model, weights = tiny.llama(), iter([1.0, 0.5])
    terms = [Term(policy.reinforce, weight=lambda: next(weights))]
    rows = microbatches(_answers(), 4096)
    first, second = fit(model, [rows, rows], terms, Optimizer(model, learning_rate=1e-9))
    assert second.loss == pytest.approx(0.5 * first.loss, rel=1e-3)
    assert second.metrics["reinforce"] == pytest.approx(first.metrics["reinforce"], rel=1e-3)


def test_which_texts_a_step_gets_depends_on_its_place_alone() -> None:
    texts = _texts(5)

    def at(places: list[int]) -> list[list[int]]:
        where = iter(places)
        rows = microbatches(_answers(), 4096)
        batches = beside(
            [rows] * len(places),
            texts,
            stream="ptx",
            per_step=2,
            seed=7,
            place=lambda: next(where),
            token_budget=64,
        )
        return [sorted(len(g) for p in batch if p.stream for g in [p.ids]) for batch in batches]

    assert at([0, 1, 2, 3])[2:] == at([2, 3])
    lengths = sum(length for step in at([0, 1, 2, 3, 4]) for length in step)
    assert lengths == 2 * sum(len(t.prompt.ids) for t in texts)  # five steps of two are two passes over five
