"""Rewards of steps in rollouts: where they stand, what they sum to, and that they teach."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from engine import toy_rl
from heedful.engine.process_reward import ProcessRewardModel
from heedful.engine.scorer import StepScore
from heedful.engine.table import Table
from heedful.types import Prompt


class Letters(ProcessRewardModel):
    """A process reward model's stand-in: every letter is a step, and right if it is one of a, b, c and d."""

    def __init__(self) -> None:
        pass

    def steps(
        self, prompts: Sequence[Prompt], answers: Sequence[Sequence[str]]
    ) -> list[list[tuple[StepScore, ...]]]:
        return [
            [
                tuple(StepScore(i + 1, float(c in "abcd")) for i, c in enumerate(text) if c in toy_rl.LETTERS)
                for text in row
            ]
            for row in answers
        ]


def test_rewards_stand_where_they_were_earned_and_the_kl_beside_them() -> None:
    logp, reference = [torch.tensor([-1.0, -2.0, -1.0])], [torch.tensor([-1.5, -2.0, -1.0])]
    earned = [torch.tensor([1.0, 0.0, 0.5])]
    table = Table.of(logp, torch.tensor([1.5]), reference, earned)
    assert table.rewards(0.2).tolist() == [pytest.approx([0.9, 0.0, 0.5])]
    assert Table.of(logp, torch.tensor([1.5]), reference).rewards(0.2).tolist() == [
        pytest.approx([-0.1, 0.0, 1.5])
    ]


def test_the_kl_stands_at_every_token_and_the_score_at_the_last() -> None:
    """Three answers of three tokens, with the numbers of torchtune's test of its rewards with KL."""
    kl, score = torch.tensor([-0.1, -0.2, -0.3]), torch.tensor([1.0, 2.0, 3.0])
    reference = [torch.full((3,), -1.0)] * 3
    table = Table.of([r + k for r, k in zip(reference, kl, strict=True)], score, reference)
    expected = torch.tensor([[0.05, 0.05, 1.05], [0.1, 0.1, 2.1], [0.15, 0.15, 3.15]])
    torch.testing.assert_close(table.rewards(0.5), expected)


def test_returns_are_the_steps_that_are_still_to_come() -> None:
    toy = toy_rl.rollouts(
        reward=Letters(), step_rewards=True, lam=1.0, missing_eos_penalty=0.25, epochs=1, minibatches=1
    )
    letters = {toy_rl.WORDS.index(letter) for letter in "abcd"}
    for row in toy_rl.collected(toy):
        right = np.asarray([float(token in letters) for token in row.ids])
        right[-1] -= 0.25 * (row.ids[-1] != toy_rl.EOS)
        assert row.returns == pytest.approx(right[::-1].cumsum()[::-1], abs=1e-5)


def test_it_learns_from_steps() -> None:
    toy = toy_rl.rollouts(reward=Letters(), step_rewards=True, advantage="monte_carlo")
    found = toy_rl.rewards(toy, 25)
    assert np.mean(found[-5:]) > np.mean(found[:5]) + 1


def test_metrics_of_the_reward_and_the_penalty_are_logged_by_themselves() -> None:
    class Two(toy_rl.Share):
        @property
        def metrics(self) -> Any:
            return {"rewards/share/mean": 0.5}

    toy = toy_rl.rollouts(reward=Two(), missing_eos_penalty=2.0)
    next(toy.batches(1))
    assert toy.metrics["rewards/share/mean"] == 0.5
    cut = toy.metrics["completions/clipped_ratio"]
    assert toy.metrics["rewards/missing_eos/mean"] == pytest.approx(-2.0 * cut)
