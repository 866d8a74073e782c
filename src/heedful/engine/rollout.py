"""Rollouts for policy gradients: sample, score, subtract the KL, estimate advantages; then epochs over them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from heedful.data.packing import shuffled
from heedful.engine.batch import Column, Packed, Tree, answer_node, microbatches, prompt_node
from heedful.engine.policy import Policy
from heedful.engine.randomness import key
from heedful.engine.reduction import Reduction, informative, reduced
from heedful.engine.reward_model import RewardModel
from heedful.engine.reward_server import ServerReward
from heedful.engine.sample import Sample, Sampling
from heedful.engine.score import sequence_columns
from heedful.losses import advantage, kl
from heedful.losses.advantage import Scale
from heedful.types import Prompt

Estimator = Literal["gae", "group"]

LOGP_TOLERANCE = 1e-3
"""How far the sampler's log-probs may be from a fresh forward's: far below any clip range, far above rounding."""


@dataclass(frozen=True)
class RolloutSettings:
    """How answers are sampled and turned into advantages; names and defaults as in the stage's configuration.

    `skip_zero_advantages` leaves out answers that a clipped surrogate cannot learn from: exact where the objective
    has no other term.
    """

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
    advantage: Estimator = "gae"
    scale_rewards: Scale = "group"
    reduction: Reduction = "token"
    skip_zero_advantages: bool = False


@dataclass(frozen=True)
class Table:
    """What is known of the sampled answers: rows are answers, columns tokens, padded on the right."""

    logp: Tensor
    ref_logp: Tensor | None
    mask: Tensor
    lengths: Tensor
    scores: Tensor

    @classmethod
    def of(cls, logp: Sequence[Tensor], scores: Tensor, ref_logp: Sequence[Tensor] | None) -> "Table":
        lengths = torch.tensor([len(row) for row in logp])
        table = padded(logp)
        mask = torch.arange(table.shape[1]) < lengths[:, None]
        return cls(table, None if ref_logp is None else padded(ref_logp), mask, lengths, scores)

    def rewards(self, kl_coef: float) -> Tensor:
        """Minus the penalised KL at every token, and the answer's score at its last."""
        rewards = -kl_coef * self.divergence(kl.k1)
        rewards[torch.arange(len(self.scores)), self.lengths - 1] += self.scores
        return rewards

    def divergence(self, estimate: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """An estimate of KL(policy || reference) from every token, zero without a reference."""
        if self.ref_logp is None:
            return torch.zeros_like(self.logp)
        return estimate(self.logp, self.ref_logp) * self.mask

    def figures(self) -> dict[str, float]:
        """Metrics of rewards, lengths and the distance from the reference."""
        figures = {
            "reward": float(self.scores.mean()),
            "reward_std": float(self.scores.std(correction=0)),
            "completions/mean_length": float(self.lengths.float().mean()),
        }
        if self.ref_logp is not None:
            figures["kl"] = float(self.divergence(kl.k1).sum(1).mean())
            figures["kl_k3"] = float(self.divergence(kl.k3).sum(1).mean())
        return figures

    def cut(self, columns: dict[str, Tensor]) -> Iterator[dict[str, Column]]:
        """The columns of each answer, its log-probs among them."""
        known = {"behavior_logp": self.logp} | ({} if self.ref_logp is None else {"ref_logp": self.ref_logp})
        for number, length in enumerate(self.lengths.tolist()):
            yield {name: values[number, :length].numpy() for name, values in (known | columns).items()}


@dataclass
class Rollouts:
    """A generator of batches that samples from the policy it trains; `kl_coef` is the controller's state.

    `model` is what is trained: the policy with its critic, or the policy alone where advantages need no critic.
    Without a `reference` there is neither a penalty nor a measured distance from it.
    """

    model: Any
    policy: Policy
    reference: Any
    reward: RewardModel | ServerReward
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
                    yield self._step([trees[i] for i in chosen])

    def chosen_prompts(self, iteration: int) -> list[Prompt]:
        """The prompts of an iteration: passes over all prompts, each in a fresh order."""
        s, n = self.settings, len(self.prompts)
        wanted = range(iteration * s.prompts_per_step, (iteration + 1) * s.prompts_per_step)
        orders = {epoch: shuffled(n, s.seed, epoch) for epoch in {i // n for i in wanted}}
        return [self.prompts[orders[i // n][i % n]] for i in wanted]

    def _step(self, trees: Sequence[Tree]) -> list[Packed]:
        """The micro-batches of one optimiser step."""
        s = self.settings
        computed = informative(trees) if s.skip_zero_advantages else trees
        batch = microbatches(computed, s.token_budget)
        return reduced(batch, trees, s.reduction, longest=s.max_completion_length)

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
        trees = [Tree(prompt_node(a.prompt), tuple(answer_node(x.ids) for x in a.samples)) for a in answered]
        logp, gap = self._behavior_logp(trees, flat)
        ref_logp = None if self.reference is None else self._per_token(self.reference, trees, "logp")
        table = Table.of(logp, scores, ref_logp)
        columns, figures = self._estimated(table, trees)
        self.metrics = {
            **table.figures(),
            "kl_coef": self.kl_coef,
            "completions/clipped_ratio": float(np.mean([not a.finished for a in flat])),
            "sampling/logp_gap": gap,
            **figures,
        }
        if s.kl_target is not None and ref_logp is not None:
            self.kl_coef = kl.adapted(
                self.kl_coef,
                self.metrics["kl"],
                target=s.kl_target,
                episodes=len(flat),
                horizon=s.kl_horizon,
            )
        return with_columns(trees, table.cut(columns))

    def _behavior_logp(self, trees: Sequence[Tree], flat: Sequence[Sample]) -> tuple[list[Tensor], float]:
        """The log-probs that the sampler found, and how far the first prompt's are from a fresh forward's.

        Where the two are not the same up to rounding (low precision, another kernel), all are computed anew: a
        ratio that differs from 1 before the first step would be clipped and learnt from.
        """
        found = [torch.from_numpy(a.logp) for a in flat]
        fresh = torch.cat(sequence_columns(self.policy.model, trees[:1], "logp")[0])
        gap = float((fresh - torch.cat(found[: len(trees[0].branches)])).abs().max())
        if gap <= LOGP_TOLERANCE:
            return found, gap
        return self._per_token(self.policy.model, trees, "logp"), gap

    def _per_token(self, model: Any, trees: Sequence[Tree], name: str) -> list[Tensor]:
        return [values for row in sequence_columns(model, trees, name) for values in row]

    def _estimated(self, table: Table, trees: Sequence[Tree]) -> tuple[dict[str, Tensor], dict[str, float]]:
        """Advantages, and whatever else the objective needs with them, as padded columns; and figures."""
        s = self.settings
        rewards = table.rewards(self.kl_coef)
        if s.advantage == "group":
            per_answer = rewards.sum(1).view(len(trees), s.num_generations)
            advantages = advantage.group_relative(per_answer, scale=s.scale_rewards)
            alike = float((advantages == 0).all(1).float().mean())
            return {"advantage": advantages.view(-1, 1) * table.mask}, {"frac_reward_zero_std": alike}
        values = padded(self._per_token(self.model, trees, "value"))
        mask = table.mask
        if s.whiten_rewards:
            rewards[mask] = advantage.whiten(rewards[mask], shift_mean=False)
        advantages, returns = advantage.gae(rewards, values, mask, gamma=s.gamma, lam=s.lam)
        if s.whiten_advantages:
            advantages[mask] = advantage.whiten(advantages[mask])
        columns = {"advantage": advantages, "old_value": values, "returns": returns}
        return columns, {"value_explained": explained(values[mask], returns[mask])}


def with_columns(trees: Sequence[Tree], columns: Iterator[Mapping[str, Column]]) -> list[Tree]:
    """Give every answer its columns, which come in the order of the answers."""
    return [
        replace(
            tree, branches=tuple(replace(b, columns={**b.columns, **next(columns)}) for b in tree.branches)
        )
        for tree in trees
    ]


def padded(rows: Sequence[Tensor]) -> Tensor:
    """Rows of different lengths as one tensor, zeros on the right."""
    return torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True).float()


def explained(values: Tensor, returns: Tensor) -> float:
    """The share of the returns' variance that the critic explains."""
    return 1.0 - float((returns - values).var(correction=0) / returns.var(correction=0).clamp_min(1e-8))
