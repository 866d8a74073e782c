"""A stage's work in small, measured in a process of its own: random weights, few tokens, real code.

Reads a `Script` as JSON on standard input and writes one measured `Point` a line. Run by `engine.planner`.
"""

import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import AutoModelForCausalLM

from heedful.engine import allocator, process
from heedful.engine.algorithms import policy_terms, value_term, watched
from heedful.engine.batch import Pair, Tree, answer_node, microbatches, plain, prompt_node
from heedful.engine.fit import Term, fit
from heedful.engine.optim import Optimizer
from heedful.engine.precision import Precision, dtype
from heedful.engine.recompute import recompute_layers
from heedful.engine.sample import Request, Sampling, sample
from heedful.engine.score import sequence_columns, use_packed_attention
from heedful.engine.train import new_optimizer
from heedful.losses import preference, reward
from heedful.losses.bind import Loss
from heedful.losses.supervised import next_token
from heedful.nn import hub
from heedful.nn.actor_critic import ActorCritic, SharedTrunk
from heedful.nn.likelihood_scorer import LikelihoodScorer
from heedful.nn.scorer_with_writer import ScorerWithWriter

Shape = tuple[int, tuple[int, ...]]
"""Untrained tokens, and the answers that continue them: lengths."""


@dataclass(frozen=True)
class Script:
    """What is played: a stage's settings, the model's configuration as JSON, shapes of examples, sizes a phase."""

    stage: str
    settings: dict[str, Any]
    model: str
    reward: str
    layers: int | None
    shapes: Sequence[Shape]
    sizes: dict[str, list[int]]


@dataclass(frozen=True)
class Point:
    """One measurement: the most bytes held while `phase` worked on `size` tokens, and the seconds it took."""

    phase: str
    layers: int
    size: int
    peak: int
    seconds: float


def play(script: Script) -> Iterator[Point]:
    """Measure every phase at its sizes, smallest first, in the order in which a stage runs them.

    What one phase leaves in the heap, the next stands beside: as in the stage, so it is not released in between.
    """
    cast = Cast(script)
    cast.train(64)  # makes the optimiser's state, which every later phase stands beside
    for number in range(max(map(len, script.sizes.values()))):
        allocator.release()
        for phase, sizes in script.sizes.items():
            if number < len(sizes):
                work: Callable[[int], tuple[int, float]] = getattr(cast, phase)
                process.forget_peak_memory()
                size, seconds = work(sizes[number])
                yield Point(phase, cast.layers, size, process.peak_memory_bytes(), seconds)


class Cast:
    """The models of a stage with random weights, and the phases of its work.

    A phase works on about as many tokens as it is told and returns how many those were, and the seconds they took.
    """

    def __init__(self, script: Script) -> None:
        self.stage, self.shapes = script.stage, script.shapes
        self.settings = SimpleNamespace(**script.settings)
        torch.manual_seed(0)
        base = random_model(script.model, script.layers, self.settings.precision)
        self.layers: int = base.config.get_text_config().num_hidden_layers
        self.vocabulary: int = base.config.get_text_config().vocab_size
        self.policy = base
        self.model: nn.Module = base
        self.readers: list[Any] = [base]
        self.scorers: list[Any] = []
        if self.stage == "reward":
            likelihood = self.settings.head == "likelihood"
            self.model = LikelihoodScorer(base) if likelihood else hub.scorer_from(base, seed=0)
            self.readers, self.scorers = [], [self.model]
            if self.settings.lm_coef and not likelihood:
                self.model = ScorerWithWriter(base, self.model)
        elif self.stage == "rl":
            self.readers = [random_model(script.model, script.layers, self.settings.precision)]
            if (
                self.settings.precision == "bf16"
            ):  # the sampler's log-probs are not near enough to a fresh forward's
                self.readers.append(base)
            self.scorers = [hub.scorer_from(random_model(script.reward, script.layers, "fp32"), seed=0)]
            if self.settings.advantage == "gae" and self.settings.critic == "shared":
                self.model = SharedTrunk(base)
            elif self.settings.advantage == "gae":
                body = random_model(script.reward, script.layers, self.settings.precision)
                critic = hub.scorer_from(body, seed=0)
                self.model = ActorCritic(base, critic)
                self.scorers.append(critic)
        for part in (self.model, *self.readers, *self.scorers):
            use_packed_attention(part)
        if self.settings.gradient_checkpointing:
            recompute_layers(self.model)
        self.optimizer: Optimizer = new_optimizer(self.model, self.settings)

    def train(self, size: int) -> tuple[int, float]:
        """Optimiser steps of one micro-batch; seconds of a step."""
        trees = self.trees(size)
        tokens = sum(t.size for t in trees)
        batch = microbatches(trees, tokens)
        terms, watch = objective(self.stage, self.settings)
        steps = fit(self.model, [batch] * 3, terms, self.optimizer, watch=watch, max_grad_norm=1.0)
        return tokens, min(step.seconds for step in steps)  # what else the machine does only adds

    def optimize(self, size: int) -> tuple[int, float]:
        """The update alone, on gradients of zero: norm, step and copies; `size` plays no part."""
        seconds = []
        for _ in range(3):
            for parameter in self.optimizer.parameters:
                parameter.grad = torch.zeros_like(parameter)
            began = time.perf_counter()
            self.optimizer.clip(1.0)
            self.optimizer.step()
            seconds.append(time.perf_counter() - began)
        return size, min(seconds)

    def score(self, size: int) -> tuple[int, float]:
        """What a stage computes without gradient on a row of tokens: reference, held-out loss, rewards, values."""
        trees = self.trees(size)
        began = time.perf_counter()
        for reader in self.readers:
            sequence_columns(reader, trees, "logp", token_budget=size)
        for scorer in self.scorers:
            sequence_columns(scorer, trees, "score", token_budget=size)
        return sum(t.size for t in trees), time.perf_counter() - began

    def sample(self, size: int) -> tuple[int, float]:
        """Answers of `size` tokens for as many prompts as are in work at once."""
        s = self.settings
        prompts = min(s.slots, s.prompts_per_step)
        rng = np.random.default_rng(0)
        requests = [
            Request(
                rng.integers(0, self.vocabulary, self.shapes[i % len(self.shapes)][0]).tolist(),
                tuple(range(i * s.num_generations, (i + 1) * s.num_generations)),
            )
            for i in range(prompts)
        ]
        began = time.perf_counter()
        sample(self.policy, requests, Sampling(size), stop=[-1], slots=s.slots)
        return size, time.perf_counter() - began

    def trees(self, size: int) -> list[Tree]:
        """Random examples of the stage's shapes, as many as `size` tokens hold; if they hold none, a smaller one.

        Filling up what is left with small ones would make attention's segments shorter than they are in the stage.
        """
        rng = np.random.default_rng(0)
        made: list[Tree] = []
        left = size
        for prompt, answers in itertools.cycle(self.shapes):
            whole = prompt + sum(answers)
            if made and whole > left:
                return made
            part = min(1.0, size / whole)
            shape = max(1, int(prompt * part)), tuple(max(1, int(a * part)) for a in answers)
            made.append(self._tree(shape, rng))
            left -= made[-1].size
        return made

    def _tree(self, shape: Shape, rng: np.random.Generator) -> Tree:
        prompt, answers = shape
        ids = rng.integers(0, self.vocabulary, prompt)
        if self.stage in ("pretrain", "sft"):
            whole = np.concatenate([ids, rng.integers(0, self.vocabulary, sum(answers))])
            return plain(whole, np.arange(len(whole)) >= prompt)
        names = {
            "prefer": ("ref_logp",),
            "rl": ("behavior_logp", "ref_logp", "advantage", "old_value", "returns"),
        }
        nodes = tuple(
            answer_node(
                rng.integers(0, self.vocabulary, n),
                **{name: np.full(n, -1.0, dtype=np.float32) for name in names.get(self.stage, ())},
            )
            for n in answers
        )
        chosen = tuple(Pair(i, i + 1) for i in range(len(nodes) - 1))
        return Tree(
            prompt_node(ids), nodes, chosen, labels={"best": [float(i == 0) for i in range(len(nodes))]}
        )


def objective(stage: str, settings: Any) -> tuple[list[Term], dict[str, Loss]]:
    """The losses of a stage, and what it watches."""
    if stage == "reward":
        writes = [Term(reward.imitation)] if settings.lm_coef else []
        return [Term(reward.bradley_terry), *writes], {"accuracy": reward.accuracy}
    if stage == "prefer":
        return [Term(partial(preference.dpo, beta=0.1))], {"accuracy": preference.accuracy}
    if stage == "rl":
        terms = policy_terms(settings, kl_coef=lambda: 1.0, step_kl_coef=lambda: 1.0)
        terms = [t for t in terms if not t.stream]  # rollouts are what takes memory
        return [*terms, *([value_term(settings)] if settings.advantage == "gae" else [])], watched(settings)
    return [Term(next_token)], {}


def random_model(source: str, layers: int | None, precision: Precision) -> Any:
    """A causal language model in the shape of `source`, of `layers` layers if given, with random weights."""
    config = hub.read_config(source)
    text = config.get_text_config()
    if layers is not None:
        text.num_hidden_layers = layers
        if getattr(text, "layer_types", None):
            text.layer_types = text.layer_types[:layers]
    return hub.without_dropout(AutoModelForCausalLM.from_config(config, dtype=dtype(precision)).eval())


def main() -> None:
    """Play the script that stands on standard input."""
    allocator.keep_heap()
    process.use_cores()
    for point in play(Script(**json.load(sys.stdin))):
        print(json.dumps(asdict(point)), flush=True)


if __name__ == "__main__":
    main()
