"""Rollouts without a critic: an answer is compared with the others to its prompt; and a reward that must rise."""

from typing import Any

import numpy as np
import pytest

from engine.toy_rl import EOS, SETTINGS, Share, collected, logps, rewards, rollouts
from heedful.engine.rollout import Rollouts


def grouped(**settings: Any) -> Rollouts:
    """A toy without a critic, whose three prompts are one batch."""
    shape = {"prompts_per_step": 3, "epochs": 1, "minibatches": 1}
    return rollouts(advantage="group", **shape | settings)


@pytest.mark.parametrize("scale_rewards", ["group", "batch", "none"])
def test_group_advantages_equal_a_slow_computation_of_each_answer(scale_rewards: str) -> None:
    kl_coef, penalty, n = 0.3, 0.7, SETTINGS.num_generations
    toy = grouped(kl_coef=kl_coef, missing_eos_penalty=penalty, scale_rewards=scale_rewards)
    rows = collected(toy)
    rewards = []
    for row in rows:
        own, other = logps(toy.model, row), logps(toy.reference, row)
        score = Share().of(toy.policy.tokenizer.decode(row.ids, skip_special_tokens=True))
        rewards.append(score - (row.ids[-1] != EOS) * penalty - kl_coef * (sum(own) - sum(other)))
    assert len(rows) == 12
    prompts = [tuple(row.prompt) for row in rows]
    assert [prompts[i] == prompts[i - i % n] for i in range(12)] == [True] * 12
    whole = np.std(rewards, ddof=1)
    for first in range(0, 12, n):
        group = rewards[first : first + n]
        deviation = {"group": np.std(group, ddof=1) + 1e-4, "batch": whole + 1e-4, "none": 1.0}[scale_rewards]
        for reward, row in zip(group, rows[first:], strict=False):
            expected = (reward - np.mean(group)) / deviation
            np.testing.assert_allclose(row.advantage, [expected] * len(row.ids), atol=1e-4)
            assert row.old_value is None


def test_prompts_whose_answers_earn_the_same_are_counted_and_left_out() -> None:
    toy = grouped(reward=Share("a"), skip_zero_advantages=True, prompts_per_step=8)
    whole = grouped(reward=Share("a"), prompts_per_step=8)
    kept, rows = collected(toy), collected(whole)
    assert toy.metrics == whole.metrics
    assert 0 < toy.metrics["frac_reward_zero_std"] < 1
    assert [row.ids for row in kept] == [row.ids for row in rows if row.advantage.any()]
    assert len(kept) < len(rows)


def test_without_a_reference_there_is_no_distance_and_all_else_is_the_same() -> None:
    near, far = grouped(), grouped()
    far.reference = None
    expected, found = collected(near), collected(far)
    assert [row.advantage.tolist() for row in found] == [row.advantage.tolist() for row in expected]
    assert far.metrics == {k: v for k, v in near.metrics.items() if k not in ("kl", "kl_k3")}
    assert all(row.ref_logp is None for row in found)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"reduction": "sequence", "scale_rewards": "batch"},
        {"reduction": "constant", "scale_rewards": "none"},
    ],
)
def test_the_reward_goes_up_without_a_critic(settings: dict[str, Any]) -> None:
    found = rewards(rollouts(advantage="group", skip_zero_advantages=True, **settings), 14)
    assert np.mean(found[:2]) < 0.55
    assert np.mean(found[-3:]) > 0.8


def test_a_kl_term_in_the_loss_keeps_the_policy_near_the_reference() -> None:
    def near(beta: float) -> float:
        toy = rollouts(advantage="group")
        toy.reference.load_state_dict(toy.model.state_dict())
        rewards(toy, 12, beta=beta)
        return toy.metrics["kl"]

    assert near(1.0) < 0.5 * near(0.0)
