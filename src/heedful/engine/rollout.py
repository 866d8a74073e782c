"""Rollouts for policy gradients: sample, score, subtract the KL, estimate advantages; then epochs over them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from heedful.data.packing import shuffled
from heedful.engine.ahead import Ahead
from heedful.engine.asking import Change, in_other_words, open_to, taken
from heedful.engine.batch import Packed, Tree, answer_node, microbatches, prompt_node
from heedful.engine.estimate import Estimator, Whitening, estimated
from heedful.engine.policy import Policy
from heedful.engine.process_reward import step_rewards
from heedful.engine.randomness import key
from heedful.engine.reduction import Reduction, informative, reduced
from heedful.engine.sample import Sample, Sampling
from heedful.engine.sampler import Answered
from heedful.engine.score import sequence_columns
from heedful.engine.scorer import Scorer, StepScorer
from heedful.engine.table import Table, padded, with_columns
from heedful.losses import kl
from heedful.losses.advantage import Baseline, Scale
from heedful.nn import adapters
from heedful.types import Prompt

LOGP_TOLERANCE = 1e-3
"""How far the sampler's log-probs may be from a fresh forward's: far below any clip range, far above rounding."""


@dataclass(frozen=True)
class RolloutSettings:
    """How answers are sampled and turned into advantages; names and defaults as in the stage's configuration.

    `skip_zero_advantages` leaves out answers that a clipped surrogate cannot learn from: exact where the objective
    has no other term. `step_rewards` gives each step of an answer its reward where it ends.
    """

    seed: int = 0
    prompts_per_step: int = 64
    num_generations: int = 4
    max_completion_length: int = 64
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    dynamic_sampling: int = 1
    curriculum: int = 0
    augment: tuple[Change, ...] = ()
    augment_ratio: float = 0.5
    gamma: float = 1.0
    lam: float = 0.95
    whiten_rewards: bool = False
    whiten_advantages: Whitening = True
    missing_eos_penalty: float = 1.0
    step_rewards: bool = False
    kl_in: Literal["reward", "loss"] = "reward"
    kl_estimator: kl.Estimator = "k1"
    kl_target: float | None = 6.0
    kl_horizon: int = 10_000
    epochs: int = 2
    minibatches: int = 2
    token_budget: int = 8192
    slots: int = 64
    advantage: Estimator = "gae"
    baseline: Baseline = "mean"
    scale_rewards: Scale = "group"
    reduction: Reduction = "token"
    skip_zero_advantages: bool = False

    @property
    def sampling(self) -> Sampling:
        """How a token of an answer is drawn; where some are dropped, with the log-probs under what is left."""
        how = Sampling(self.max_completion_length, self.temperature, self.top_k, self.top_p, self.min_p)
        return replace(how, behavior_logp=how.truncated)

    @property
    def drawn(self) -> Sampling | None:
        """How answers are drawn where that is not from the model as it is."""
        how = self.sampling
        return how if how.truncated or how.temperature != 1 else None


@dataclass(frozen=True)
class Group:
    """A prompt, its answers and their scores, and by token where they were earned, if not on the last."""

    prompt: Prompt
    answered: Answered
    scores: tuple[float, ...]
    earned: tuple[Tensor, ...] = ()

    @property
    def varied(self) -> bool:
        """Whether there is anything to choose between."""
        return min(self.scores) < max(self.scores)


@dataclass
class Rollouts:
    """A generator of batches that samples from the policy it trains; `kl_coef` is the controller's state.

    `model` is what is trained: the policy with its critic, or the policy alone where advantages need no critic.
    Without a `reference` there is neither a penalty nor a measured distance from it; a reference with an adapter counts
    without it, so it may be the policy itself. With a curriculum, `prompts` come
    easiest first. `place` is how many optimiser steps of a whole run lie before this one, and `ended` whether an
    iteration has come to its end: between iterations there is nothing but these and `kl_coef` to remember, and what
    the policy's sampler was asked `ahead`, if it is one that can be. `last` is whether this is the last iteration.
    """

    model: Any
    policy: Policy
    reference: Any
    reward: Scorer
    prompts: Sequence[Prompt]
    settings: RolloutSettings
    kl_coef: float
    metrics: dict[str, float] = field(default_factory=dict)
    place: int = 0
    ended: bool = False
    last: bool = False

    @property
    def ahead(self) -> Ahead | None:
        """The sampler that draws an iteration's answers while the one before is learnt from, where it does."""
        sampler = self.policy.sampler
        return sampler if isinstance(sampler, Ahead) else None

    def batches(self, iterations: int, start: int = 0) -> Iterator[list[Packed]]:
        """Yield `epochs` x `minibatches` optimiser steps an iteration; each iteration samples anew."""
        s = self.settings
        per_iteration = s.epochs * s.minibatches
        for iteration in range(start, iterations):
            self.last = iteration + 1 == iterations
            trees = self._collect(iteration)
            self.ended = False
            self.place = iteration * per_iteration
            for epoch in range(s.epochs):
                order = shuffled(len(trees), key("ppo", s.seed, iteration), epoch)
                for chosen in np.array_split(order, s.minibatches):
                    if self.ended:
                        break
                    batch = self._step([trees[i] for i in chosen])
                    self.ended = self.place + 1 == (iteration + 1) * per_iteration
                    yield batch
                    self.place += 1

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps once an iteration has `ended`, as JSON."""
        done = self.place // (self.settings.epochs * self.settings.minibatches) + 1
        ahead = self.ahead.state() if self.ahead else {}
        return {"kl_coef": self.kl_coef, "iterations": done, **ahead}

    def load(self, state: Mapping[str, Any]) -> int:
        """Put back what `state` returned; how many iterations are behind."""
        self.kl_coef = float(state["kl_coef"])
        if self.ahead:
            self.ahead.load(state)
        return int(state["iterations"])

    def chosen_prompts(self, block: int) -> list[Prompt]:
        """The prompts of the `block`-th draw, one an iteration: passes over all prompts, each in a fresh order."""
        s = self.settings
        n = open_to(len(self.prompts), s.prompts_per_step, block // s.dynamic_sampling, s.curriculum)
        wanted = range(block * s.prompts_per_step, (block + 1) * s.prompts_per_step)
        return [self.prompts[i] for i in taken(n, wanted, s.seed)]

    def _step(self, trees: Sequence[Tree]) -> list[Packed]:
        """The micro-batches of one optimiser step."""
        s = self.settings
        computed = informative(trees) if s.skip_zero_advantages else trees
        batch = microbatches(computed, s.token_budget)
        for packed in batch:
            packed.drawn = s.drawn
        return reduced(batch, trees, s.reduction, longest=s.max_completion_length)

    def _collect(self, iteration: int) -> list[Tree]:
        s = self.settings
        groups, figures = self._groups(iteration)
        flat = [sample for g in groups for sample in g.answered.samples]
        scores = torch.tensor([score for g in groups for score in g.scores])
        trees = [
            Tree(prompt_node(g.answered.prompt), tuple(answer_node(x.ids) for x in g.answered.samples))
            for g in groups
        ]
        logp, gap = self._behavior_logp(trees, flat)
        ref_logp = None if self.reference is None else self._reference_logp(trees)
        earned = [row for g in groups for row in g.earned] if s.step_rewards else None
        table = Table.of(logp, scores, ref_logp, earned)
        in_reward = self.kl_coef if s.kl_in == "reward" else 0.0
        rewards = table.rewards(in_reward, s.kl_estimator)
        columns, found = estimated(
            rewards, table, s, lambda: padded(self._per_token(self.model, trees, "value"))
        )
        self.metrics = {
            **table.figures(),
            "kl_coef": self.kl_coef,
            "completions/clipped_ratio": (cut := float(np.mean([not a.finished for a in flat]))),
            **self.reward.metrics,
            "rewards/missing_eos/mean": -s.missing_eos_penalty * cut,
            "sampling/logp_gap": gap,
            **({"sampling/policy_age": self.ahead.age} if self.ahead else {}),
            **figures,
            **found,
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

    def _groups(self, iteration: int) -> tuple[list[Group], Mapping[str, float]]:
        """The iteration's prompts with their answers, and how many were passed over.

        With dynamic sampling (Yu et al. 2025, arXiv:2503.14476) prompts whose answers all earn the same make room for
        others, at most `dynamic_sampling` draws of prompts long; if these are not enough, some of them stay.
        """
        s = self.settings
        varied: list[Group] = []
        alike: list[Group] = []
        for attempt in range(s.dynamic_sampling):
            for group in self._answered(iteration, attempt):
                (varied if group.varied or s.dynamic_sampling == 1 else alike).append(group)
            if len(varied) >= s.prompts_per_step:
                break
        groups = [*varied, *alike][: s.prompts_per_step]
        if s.dynamic_sampling == 1:
            return groups, {}
        asked = len(varied) + len(alike)
        return groups, {
            "dynamic/asked": asked,
            "dynamic/alike": len(alike),
            "dynamic/unused": asked - len(groups),
        }

    def _answered(self, iteration: int, attempt: int) -> list[Group]:
        s = self.settings
        prompts = self.chosen_prompts(iteration * s.dynamic_sampling + attempt)
        answered = self.policy.answer(**self._question(prompts, iteration))
        if self.ahead and not self.last:
            self.ahead.ask(**self._question(self.chosen_prompts(iteration + 1), iteration + 1))
        if s.step_rewards:
            return self._step_by_step(prompts, answered)
        rows = self.reward.scores(prompts, [a.texts for a in answered])
        return [
            Group(prompt, a, tuple(score - p for score, p in zip(row, self._penalties(a), strict=True)))
            for prompt, a, row in zip(prompts, answered, rows, strict=True)
        ]

    def _question(self, prompts: Sequence[Prompt], iteration: int) -> dict[str, Any]:
        """What a sampler is asked for these prompts' answers."""
        s = self.settings
        return {
            "prompts": [in_other_words(p, s.augment, s.augment_ratio, s.seed, iteration) for p in prompts],
            "how": s.sampling,
            "seed": (s.seed, "rollout", iteration),
            "n": s.num_generations,
            "slots": s.slots,
        }

    def _step_by_step(self, prompts: Sequence[Prompt], answered: Sequence[Answered]) -> list[Group]:
        """Each step's reward where it ends, and the penalty on the last token; an answer's score is their sum."""
        assert isinstance(self.reward, StepScorer)
        ids = [sample.ids for a in answered for sample in a.samples]
        texts = [a.texts for a in answered]
        rows = iter(step_rewards(self.reward, prompts, texts, self.policy.tokenizer, ids))
        groups = []
        for prompt, a in zip(prompts, answered, strict=True):
            earned = [torch.from_numpy(next(rows)) for _ in a.samples]
            for row, penalty in zip(earned, self._penalties(a), strict=True):
                row[-1] -= penalty
            groups.append(Group(prompt, a, tuple(float(row.sum()) for row in earned), tuple(earned)))
        return groups

    def _penalties(self, answered: Answered) -> list[float]:
        """What an answer loses that did not end by itself."""
        return [self.settings.missing_eos_penalty * (not sample.finished) for sample in answered.samples]

    def _behavior_logp(self, trees: Sequence[Tree], flat: Sequence[Sample]) -> tuple[list[Tensor], float]:
        """The log-probs that answers were drawn with, and how far the first prompt's are from a fresh forward's.

        Where the two are not the same up to rounding (low precision, another kernel), all are computed anew: a
        ratio that differs from 1 before the first step would be clipped and learnt from. Answers that are asked for
        `ahead` keep theirs: the gap of older weights' answers is how far the policy has moved since.
        """
        drawn = self.settings.drawn
        found = [torch.from_numpy(a.logp if a.behavior_logp is None else a.behavior_logp) for a in flat]
        fresh = torch.cat(sequence_columns(self.policy.model, trees[:1], "logp", drawn=drawn)[0])
        gap = float((fresh - torch.cat(found[: len(trees[0].branches)])).abs().max())
        if self.ahead:
            self.ahead.check(gap)
        if self.ahead or gap <= LOGP_TOLERANCE:
            return found, gap
        rows = sequence_columns(self.policy.model, trees, "logp", drawn=drawn)
        return [values for row in rows for values in row], gap

    def _reference_logp(self, trees: Sequence[Tree]) -> list[Tensor]:
        """The reference's log-probs at the sampling temperature; not truncated, or they could be minus infinity."""
        temperature = self.settings.temperature
        drawn = None if temperature == 1 else Sampling(temperature=temperature)
        with adapters.switched_off(self.reference):
            rows = sequence_columns(self.reference, trees, "logp", drawn=drawn)
        return [values for row in rows for values in row]

    def _per_token(self, model: Any, trees: Sequence[Tree], name: str) -> list[Tensor]:
        return [values for row in sequence_columns(model, trees, name) for values in row]
