"""Rollouts for policy gradients: sample, score, subtract the KL, estimate advantages; then PPO's epochs."""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from heedful.data.packing import shuffled
from heedful.engine.batch import Packed, Tree, answer_node, microbatches, prompt_node
from heedful.engine.policy import Policy
from heedful.engine.randomness import key
from heedful.engine.reward_model import RewardModel
from heedful.engine.sample import Sample, Sampling
from heedful.engine.score import sequence_columns
from heedful.losses import advantage, kl
from heedful.nn.actor_critic import ActorCritic
from heedful.types import Prompt


@dataclass(frozen=True)
class RolloutSettings:
    """How answers are sampled and turned into advantages; names and defaults as in the stage's configuration."""

    seed: int = 0
    prompts_per_step: int = 64
    num_generations: int = 4
    max_completion_length: int = 64
    gamma: float = 1.0
    lam: float = 0.95
    whiten_rewards: bool = False
    whiten_advantages: bool = True
    missing_eos_penalty: float = 1.0
    kl_target: float | None = 6.0
    kl_horizon: int = 10_000
    epochs: int = 2
    minibatches: int = 2
    token_budget: int = 8192
    slots: int = 64


@dataclass
class Rollouts:
    """A generator of PPO batches that samples from the policy it trains; `kl_coef` is the controller's state."""

    model: ActorCritic
    policy: Policy
    reference: Any
    reward: RewardModel
    prompts: Sequence[Prompt]
    settings: RolloutSettings
    kl_coef: float
    metrics: dict[str, float] = field(default_factory=dict)

    def batches(self, iterations: int, start: int = 0) -> Iterator[list[Packed]]:
        """Yield `epochs` x `minibatches` optimiser steps an iteration; each iteration samples anew."""
        s = self.settings
        for iteration in range(start, iterations):
            trees = self._collect(iteration)
            for epoch in range(s.epochs):
                order = shuffled(len(trees), key("ppo", s.seed, iteration), epoch)
                for chosen in np.array_split(order, s.minibatches):
                    yield microbatches([trees[i] for i in chosen], s.token_budget)

    def chosen_prompts(self, iteration: int) -> list[Prompt]:
        """The prompts of an iteration: passes over all prompts, each in a fresh order."""
        s, n = self.settings, len(self.prompts)
        wanted = range(iteration * s.prompts_per_step, (iteration + 1) * s.prompts_per_step)
        orders = {epoch: shuffled(n, s.seed, epoch) for epoch in {i // n for i in wanted}}
        return [self.prompts[orders[i // n][i % n]] for i in wanted]

    def _collect(self, iteration: int) -> list[Tree]:
        s = self.settings
        prompts = self.chosen_prompts(iteration)
        answered = self.policy.answer(
            prompts,
            Sampling(s.max_completion_length),
            seed=(s.seed, "rollout", iteration),
            n=s.num_generations,
            slots=s.slots,
        )
        flat = [sample for a in answered for sample in a.samples]
        scores = torch.tensor(self.reward.scores(prompts, [a.texts for a in answered])).flatten()
        scores = scores - s.missing_eos_penalty * torch.tensor([float(not a.finished) for a in flat])
        trees = [
            Tree(prompt_node(a.prompt), tuple(answer_node(x.ids, behavior_logp=x.logp) for x in a.samples))
            for a in answered
        ]
        return self._with_advantages(trees, flat, scores)

    def _with_advantages(self, trees: list[Tree], flat: list[Sample], scores: Tensor) -> list[Tree]:
        s = self.settings
        lengths = torch.tensor([len(a.ids) for a in flat])
        ref_logp = padded([t for row in sequence_columns(self.reference, trees, "logp") for t in row])
        values = padded([t for row in sequence_columns(self.model, trees, "value") for t in row])
        logp = padded([torch.from_numpy(a.logp) for a in flat])
        mask = torch.arange(logp.shape[1]) < lengths[:, None]
        divergence = kl.k1(logp, ref_logp) * mask
        rewards = -self.kl_coef * divergence
        rewards[torch.arange(len(flat)), lengths - 1] += scores
        if s.whiten_rewards:
            rewards[mask] = advantage.whiten(rewards[mask], shift_mean=False)
        advantages, returns = advantage.gae(rewards, values, mask, gamma=s.gamma, lam=s.lam)
        if s.whiten_advantages:
            advantages[mask] = advantage.whiten(advantages[mask])
        sequence_kl = divergence.sum(1)
        self.metrics = {
            "reward": float(scores.mean()),
            "reward_std": float(scores.std(correction=0)),
            "kl": float(sequence_kl.mean()),
            "kl_k3": float((kl.k3(logp, ref_logp) * mask).sum(1).mean()),
            "kl_coef": self.kl_coef,
            "completions/mean_length": float(lengths.float().mean()),
            "completions/clipped_ratio": float(np.mean([not a.finished for a in flat])),
            "value_explained": explained(values[mask], returns[mask]),
        }
        if s.kl_target is not None:
            self.kl_coef = kl.adapted(
                self.kl_coef,
                float(sequence_kl.mean()),
                target=s.kl_target,
                episodes=len(flat),
                horizon=s.kl_horizon,
            )
        columns = [
            {"advantage": a[:n].numpy(), "old_value": v[:n].numpy(), "returns": r[:n].numpy()}
            for a, v, r, n in zip(advantages, values, returns, lengths.tolist(), strict=True)
        ]
        rest = iter(columns)
        return [
            dataclasses.replace(
                tree,
                branches=tuple(
                    dataclasses.replace(b, columns={**b.columns, **next(rest)}) for b in tree.branches
                ),
            )
            for tree in trees
        ]


def padded(rows: Sequence[Tensor]) -> Tensor:
    """Rows of different lengths as one tensor, zeros on the right."""
    return torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True).float()


def explained(values: Tensor, returns: Tensor) -> float:
    """The share of the returns' variance that the critic explains."""
    return 1.0 - float((returns - values).var(correction=0) / returns.var(correction=0).clamp_min(1e-8))
