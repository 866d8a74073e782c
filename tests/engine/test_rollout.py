"""Rollouts: what PPO learns from, recomputed slowly and by another way; and a reward that must rise."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from engine.toy_rl import EOS, PROMPTS, SETTINGS, Row, Share, answers, collected, logps, rewards, rollouts
from heedful.engine.batch import Packed
from heedful.engine.rollout import Rollouts
from heedful.engine.score import sequence_columns
from heedful.losses import advantage


@torch.no_grad()
def values(critic: Any, row: Row) -> list[float]:
    """The critic's value before each token of an answer is written."""
    critic.set_attn_implementation("eager")
    hidden = critic.base_model(torch.tensor([row.prompt + row.ids])).last_hidden_state[0]
    scores = critic.score(hidden)[:, 0]
    return [float(scores[len(row.prompt) + t - 1]) for t in range(len(row.ids))]


def by_definition(rewards: list[float], values: list[float], gamma: float, lam: float) -> list[float]:
    """Generalised advantages as the sum that defines them, not as a recursion."""
    after = [*values[1:], 0.0]
    delta = [r + gamma * b - v for r, b, v in zip(rewards, after, values, strict=True)]
    n = len(delta)
    return [sum((gamma * lam) ** k * delta[t + k] for k in range(n - t)) for t in range(n)]


def whitened(x: Any, *, centred: bool = True) -> Any:
    mean = sum(x) / len(x)
    deviation = math.sqrt(sum((v - mean) ** 2 for v in x) / len(x) + 1e-8)
    return np.array([(v - mean) / deviation + (0.0 if centred else mean) for v in x])


@pytest.mark.parametrize("whiten_rewards", [False, True])
@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 0.95), (0.9, 0.7)])
def test_a_batch_equals_a_slow_computation_of_each_answer(
    whiten_rewards: bool, gamma: float, lam: float
) -> None:
    kl_coef, penalty = 0.3, 0.7
    toy = rollouts(
        kl_coef=kl_coef,
        prompts_per_step=3,
        epochs=1,
        minibatches=1,
        gamma=gamma,
        lam=lam,
        whiten_rewards=whiten_rewards,
        missing_eos_penalty=penalty,
    )
    rows = collected(toy)
    tokenizer = toy.policy.tokenizer
    token_rewards, critic_values, divergences, scores = [], [], [], []
    for row in rows:
        own, other = logps(toy.model.policy, row), logps(toy.reference, row)
        np.testing.assert_allclose(row.behavior_logp, own, atol=1e-5)
        np.testing.assert_allclose(row.ref_logp, other, atol=1e-5)
        divergence = [a - b for a, b in zip(own, other, strict=True)]
        score = Share().of(tokenizer.decode(row.ids, skip_special_tokens=True))
        score -= 0.0 if row.ids[-1] == EOS else penalty
        scores.append(score)
        divergences.append(sum(divergence))
        token_rewards.append([-kl_coef * d for d in divergence])
        token_rewards[-1][-1] += score
        critic_values.append(values(toy.model.critic, row))
    if whiten_rewards:
        flat = iter(whitened([r for row in token_rewards for r in row], centred=False))
        token_rewards = [[next(flat) for _ in row] for row in token_rewards]
    estimates = [by_definition(r, v, gamma, lam) for r, v in zip(token_rewards, critic_values, strict=True)]
    flat = iter(whitened([a for row in estimates for a in row]))
    assert len(rows) == 12
    assert len({len(row.ids) for row in rows}) > 1
    for row, estimate, value in zip(rows, estimates, critic_values, strict=True):
        np.testing.assert_allclose(row.old_value, value, atol=1e-5)
        np.testing.assert_allclose(row.returns, np.add(estimate, value), atol=1e-4)
        np.testing.assert_allclose(row.advantage, [next(flat) for _ in estimate], atol=1e-4)
    assert toy.metrics["kl"] == pytest.approx(np.mean(divergences), abs=1e-5)
    assert toy.metrics["reward"] == pytest.approx(np.mean(scores), abs=1e-6)
    assert abs(toy.metrics["kl"]) > 0.1


def test_an_answer_that_was_cut_pays_the_penalty() -> None:
    """The same answers with and without it: the mean reward differs by its share."""
    without, with_penalty = (rollouts(missing_eos_penalty=p, minibatches=1, epochs=1) for p in (0.0, 2.0))
    rows = [collected(toy) for toy in (without, with_penalty)]
    assert [row.ids for row in rows[0]] == [row.ids for row in rows[1]]
    cut = np.mean([row.ids[-1] != EOS for row in rows[0]])
    assert 0 < cut < 1
    assert without.metrics["completions/clipped_ratio"] == pytest.approx(cut)
    paid = without.metrics["reward"] - with_penalty.metrics["reward"]
    assert paid == pytest.approx(2 * cut, abs=1e-5)


@pytest.mark.parametrize(("target", "grows"), [(0.01, True), (1000.0, False)])
def test_the_controller_moves_the_coefficient_towards_the_target(target: float, grows: bool) -> None:
    toy = rollouts(kl_coef=0.1, kl_target=target, reward=Share())
    seen = []
    for n, _ in enumerate(toy.batches(3)):
        if n % 4 == 0:
            assert toy.metrics["kl_coef"] == (seen[-1] if seen else 0.1)  # this iteration's, before it moved
            seen.append(toy.kl_coef)
    assert seen == sorted(seen, reverse=not grows)
    assert len(set(seen)) == 3


def test_a_started_again_generator_yields_what_it_would_have_yielded() -> None:
    """Without training in between, iteration 2 is the same whether 0 and 1 were drawn in this life or not."""
    whole = list(rollouts(kl_target=1.0, kl_coef=0.2).batches(3))
    first = rollouts(kl_target=1.0, kl_coef=0.2)
    list(first.batches(2))
    second = list(rollouts(kl_target=1.0, kl_coef=first.kl_coef).batches(3, start=2))
    forgetful = list(rollouts(kl_target=1.0, kl_coef=0.2).batches(3, start=2))
    per_iteration = SETTINGS.epochs * SETTINGS.minibatches

    def advantages(batches: list[list[Packed]]) -> Any:
        return torch.cat([p.columns["advantage"] for batch in batches for p in batch])

    assert torch.equal(advantages(whole[2 * per_iteration :]), advantages(second))
    assert not torch.equal(
        advantages(second), advantages(forgetful)
    )  # the coefficient is a part of the state


def test_all_prompts_are_asked_before_one_is_asked_again() -> None:
    n = len(PROMPTS)
    toy = rollouts(prompts_per_step=8)
    asked = [prompt.id for iteration in range(10) for prompt in toy.chosen_prompts(iteration)]
    passes = [asked[i : i + n] for i in range(0, len(asked), n)]
    assert len(passes) == 4
    assert all(sorted(one) == sorted(p.id for p in PROMPTS) for one in passes)
    assert len(set(map(tuple, passes))) == 4
    other = [prompt.id for prompt in rollouts(seed=1, prompts_per_step=n).chosen_prompts(0)]
    assert other != passes[0]


def test_an_epoch_learns_from_every_answer_once() -> None:
    toy = rollouts(epochs=2, minibatches=2)
    batches = list(toy.batches(1))
    assert len(batches) == 4
    seen = [
        sorted(
            (tuple(row.prompt), tuple(row.ids))
            for batch in epoch
            for packed in batch
            for row in answers(packed)
        )
        for epoch in (batches[:2], batches[2:])
    ]
    assert seen[0] == seen[1]
    assert len(seen[0]) == SETTINGS.prompts_per_step * SETTINGS.num_generations


def test_one_answer_alone_has_figures() -> None:
    toy = rollouts(prompts_per_step=1, num_generations=1, minibatches=1, max_completion_length=1)
    next(toy.batches(1))
    assert all(math.isfinite(figure) for figure in toy.metrics.values())


def test_the_samplers_log_probs_are_those_of_a_fresh_forward() -> None:
    toy = rollouts()
    list(toy.batches(2))
    assert toy.metrics["sampling/logp_gap"] < 1e-5


@pytest.mark.parametrize("advantage_name", ["gae", "group"])
def test_a_sampler_that_is_off_is_noticed_and_computed_anew(
    monkeypatch: pytest.MonkeyPatch, advantage_name: str
) -> None:
    toy = rollouts(advantage=advantage_name, kl_coef=0.1)
    answer = toy.policy.answer

    def wrong(*args: Any, **kwargs: Any) -> Any:
        return [
            replace(a, samples=tuple(replace(s, logp=s.logp + 0.01) for s in a.samples))
            for a in answer(*args, **kwargs)
        ]

    expected = [packed.columns for packed in next(toy.batches(1))]
    monkeypatch.setattr(toy.policy, "answer", wrong)
    found = [packed.columns for packed in next(toy.batches(1))]
    assert toy.metrics["sampling/logp_gap"] == pytest.approx(0.01, abs=1e-4)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, atol=2e-4, rtol=1e-4)


def test_no_forward_is_computed_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers are read once by the reference and once by the critic; of the policy one prompt is read to check."""
    toy = rollouts()
    reads: list[tuple[int, str, int]] = []

    def counted(model: Any, trees: Any, name: str, **kwargs: Any) -> Any:
        reads.append((id(model), name, len(trees)))
        return sequence_columns(model, trees, name, **kwargs)

    monkeypatch.setattr("heedful.engine.rollout.sequence_columns", counted)
    list(toy.batches(1))
    n = SETTINGS.prompts_per_step
    assert sorted(reads) == sorted(
        [(id(toy.reference), "logp", n), (id(toy.model), "value", n), (id(toy.policy.model), "logp", 1)]
    )


@pytest.mark.parametrize("seed", [0, 1])
def test_the_reward_goes_up(seed: int) -> None:
    found = rewards(rollouts(seed=seed), 14)
    assert np.mean(found[:2]) < 0.55
    assert np.mean(found[-3:]) > 0.85


def test_with_the_sign_of_the_advantage_flipped_it_goes_down(monkeypatch: pytest.MonkeyPatch) -> None:
    estimate = advantage.gae

    def flipped(*args: Any, **kwargs: Any) -> Any:
        advantages, returns = estimate(*args, **kwargs)
        return -advantages, returns

    monkeypatch.setattr(advantage, "gae", flipped)
    found = rewards(rollouts(), 14)
    assert np.mean(found[:2]) > 0.25
    assert np.mean(found[-3:]) < 0.1


def test_a_strong_penalty_keeps_the_policy_near_the_reference() -> None:
    """The reward still rises, but less than without the penalty."""

    def near(kl_coef: float) -> Rollouts:
        toy = rollouts(kl_coef=kl_coef)
        toy.reference.load_state_dict(toy.model.policy.state_dict())
        rewards(toy, 12)
        return toy

    free, held = near(0.0), near(1.0)
    assert held.metrics["kl"] < 0.5 * free.metrics["kl"]
