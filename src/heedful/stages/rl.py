"""A reward model -> a better policy: REINFORCE, A2C, TRPO, PPO, RLOO, GRPO, as one loop with interchangeable parts."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator
from torch import nn

from heedful.data import atomic
from heedful.data.formats import read_prompts, read_texts
from heedful.engine import judges
from heedful.engine.ahead import Ahead, refusal
from heedful.engine.algorithms import (
    USED,
    Algorithm,
    Surrogate,
    combined,
    learns_from_surrogate_alone,
    policy_terms,
    value_term,
    watched,
)
from heedful.engine.asking import Change, easiest_first
from heedful.engine.balance import weighed
from heedful.engine.batch import Tree
from heedful.engine.checkpoint import Checkpoint
from heedful.engine.dialogues import documents
from heedful.engine.estimate import Estimator, Whitening
from heedful.engine.fit import Step, Term, fit
from heedful.engine.observed import Observed
from heedful.engine.optim import OptimizerName, Stepping, schedule
from heedful.engine.policy import Policy
from heedful.engine.precision import Precision, dtype
from heedful.engine.published import PublishedSampler
from heedful.engine.randomness import key
from heedful.engine.recompute import recompute_layers
from heedful.engine.reduction import Reduction
from heedful.engine.rewards import load_reward, reward_body, reward_inputs
from heedful.engine.rollout import Rollouts, RolloutSettings
from heedful.engine.sampler import Sampler
from heedful.engine.score import use_packed_attention
from heedful.engine.scorer import Scorer, StepScorer
from heedful.engine.stage import Inputs, Stage
from heedful.engine.streams import beside
from heedful.engine.train import new_optimizer
from heedful.engine.trust_region import Region, TrustRegion
from heedful.engine.tuning import LoraConfig, load_start
from heedful.errors import UserError
from heedful.losses import kl
from heedful.losses.advantage import Baseline, Scale
from heedful.nn import adapters, hub
from heedful.nn.actor_critic import ActorCritic, SharedTrunk
from heedful.nn.average import Average
from heedful.types import Prompt


class RlConfig(LoraConfig):
    """`model` is the policy to start from and the reference, `reward` the reward model, `prompts` a file.

    `algorithm` names a usual combination of what follows; whatever is set beside it holds. `surrogate` is what is
    optimised, `advantage` how rewards become advantages (gae needs a critic), `reduction` how tokens are weighed.
    `kl_coef` penalises the distance from the reference, in the reward or in the loss, `step_kl_coef` that from the
    policy that sampled. `ptx` are texts whose likelihood is kept up. A `judge` grades the sampled answers for the
    record alone: the report warns where its marks fall and the reward does not.

    `reward` is a reward model, a function, a YAML file that combines several, or the address of a server,
    http://host:8000/v1; so may `sampler` be, which then draws the answers from the weights that are put into `publish`,
    with `overlap` those of the next iteration while this one's are learnt from.
    """

    model: str
    reward: str
    prompts: Path
    algorithm: Algorithm | None = None
    surrogate: Surrogate = "ppo_clip"
    advantage: Estimator = "gae"
    reduction: Reduction = "token"
    iterations: int = Field(60, gt=0)
    prompts_per_step: int = Field(64, gt=0)
    num_generations: int = Field(4, gt=0)
    max_completion_length: int = Field(64, gt=0)
    temperature: float = Field(1.0, gt=0)
    top_k: int = Field(0, ge=0)
    top_p: float = Field(1.0, gt=0, le=1)
    min_p: float = Field(0.0, ge=0, lt=1)
    dynamic_sampling: int = Field(1, gt=0)
    curriculum: int = Field(0, ge=0)
    augment: tuple[Change, ...] = ()
    augment_ratio: float = Field(0.5, gt=0, le=1)
    num_ppo_epochs: int = Field(2, gt=0)
    num_mini_batches: int = Field(2, gt=0)
    learning_rate: float = Field(3e-4, gt=0)
    optimizer: OptimizerName = "adamw"
    matrix_learning_rate: float = Field(0.002, gt=0)
    offload: bool = False
    weight_decay: float = Field(0.0, ge=0)
    warmup: int = Field(4, ge=0)
    max_grad_norm: float = Field(1.0, gt=0)
    max_step_kl: float | None = Field(None, gt=0)
    ema: float | None = Field(None, gt=0, lt=1)
    missing_eos_penalty: float = Field(1.0, ge=0)
    step_rewards: bool = False
    judge: str | None = None
    kl_in: Literal["reward", "loss"] = "reward"
    kl_estimator: kl.Estimator = "k1"
    kl_coef: float = Field(0.05, ge=0)
    kl_target: float | None = Field(6.0, gt=0)
    kl_horizon: int = Field(10_000, gt=0)
    entropy_coef: float = Field(0.0, ge=0)
    clip_range: float = Field(0.2, gt=0)
    step_kl_coef: float = Field(1.0, gt=0)
    step_kl_target: float | None = Field(0.01, gt=0)
    gamma: float = Field(1.0, gt=0, le=1)
    lam: float = Field(0.95, ge=0, le=1)
    whiten_rewards: bool = False
    whiten_advantages: Whitening = True
    critic: Literal["reward", "policy", "shared"] = "reward"
    vf_coef: float = Field(0.5, ge=0)
    clip_range_value: float | None = Field(0.2, gt=0)
    baseline: Baseline = "mean"
    scale_rewards: Scale = "group"
    max_kl: float = Field(Region.max_kl, gt=0)
    cg_iterations: int = Field(Region.cg_iterations, gt=0)
    cg_damping: float = Field(Region.cg_damping, ge=0)
    line_search_steps: int = Field(Region.line_search_steps, gt=0)
    line_search_shrink: float = Field(Region.line_search_shrink, gt=0, lt=1)
    fisher_ratio: float = Field(Region.fisher_ratio, gt=0, le=1)
    critic_updates: int = Field(Region.critic_updates, gt=0)
    ptx: Path | None = None
    ptx_coef: float = Field(0.05, gt=0)
    ptx_ratio: float = Field(1.0, gt=0)
    max_length: int = Field(256, gt=1)
    token_budget: int = Field(8192, gt=0)
    slots: int = Field(64, gt=0)
    precision: Precision = "auto"
    gradient_checkpointing: bool = False
    sampler: str | None = None
    publish: Path | None = None
    overlap: bool = False

    @model_validator(mode="after")
    def _a_server_can_be_asked(self) -> Self:
        if why := refusal(self):
            raise ValueError(why)
        return self

    @model_validator(mode="before")
    @classmethod
    def _algorithm_is_a_combination(cls, values: Any) -> Any:
        return combined(values) if isinstance(values, dict) else values

    @model_validator(mode="after")
    def _no_mini_batch_is_empty(self) -> Self:
        if self.prompts_per_step < self.num_mini_batches:
            raise ValueError("num_mini_batches is larger than prompts_per_step: lower it")
        return self

    @model_validator(mode="after")
    def _settings_belong_to_the_choices(self) -> Self:
        if self.advantage in ("group", "leave_one_out") and self.num_generations < 2:
            raise ValueError(
                f"advantage={self.advantage} compares answers to one prompt: set num_generations to 2 or more"
            )
        if self.surrogate in ("reinforce", "trpo") and self.num_ppo_epochs * self.num_mini_batches > 1:
            raise ValueError(
                f"surrogate={self.surrogate} learns from answers once: set num_ppo_epochs=1 and num_mini_batches=1"
            )
        if self.surrogate == "trpo" and self.critic == "shared":
            raise ValueError("surrogate=trpo moves policy and critic apart: set critic to reward or policy")
        if self.algorithm == "ppo_ptx" and self.ptx is None:
            raise ValueError("algorithm=ppo_ptx keeps up the likelihood of texts: add ptx=FILE")
        for name, (choice, allowed) in USED.items():
            if getattr(self, choice) not in allowed and self._is_set(name):
                raise ValueError(f"{name} means nothing with {choice}={getattr(self, choice)}: leave it out")
        for name, other in (("ptx_ratio", "ptx"), ("ptx_coef", "ptx"), ("augment_ratio", "augment")):
            if self._is_set(name) and not getattr(self, other):
                raise ValueError(f"{name} means nothing without {other}: leave it out")
        return self

    def _is_set(self, name: str) -> bool:
        return bool(getattr(self, name) != type(self).model_fields[name].default)


def main(config: RlConfig) -> dict[str, Any]:
    """Improve the policy and write it to `output`/model, and its critic, if it has one, to `output`/critic."""
    inputs: Inputs = {
        "model": config.model,
        **reward_inputs(config.reward),
        **judges.inputs(config.judge),
        "prompts": config.prompts,
        "ptx": config.ptx,
    }
    stage = Stage("rl", config, inputs)
    if (done := stage.finished()) is not None:
        return done
    tokenizer = hub.load_tokenizer(config.model)
    reward = load_reward(config.reward)
    if config.step_rewards and not isinstance(reward, StepScorer):
        raise UserError(f"step_rewards needs a process reward model, and '{config.reward}' is none")
    if config.judge:
        reward = Observed(reward, judges.find(config.judge))
    actor = load_start(config)
    model = with_critic(actor, config)
    reference = starting_point(actor, config)
    for part in (model, reference):
        use_packed_attention(part)
    policy = Policy(actor, tokenizer, elsewhere(config, actor, tokenizer))
    rollouts = Rollouts(
        model=model,
        policy=policy,
        reference=reference.eval(),
        reward=reward,
        prompts=asked(config, policy, reward),
        settings=settings(config),
        kl_coef=config.kl_coef,
    )
    texts = documents(tokenizer, read_texts(config.ptx), config.max_length) if config.ptx else []
    average = Average(actor, config.ema) if config.ema else None
    last: dict[str, float] = {}
    for step in steps(stage, config, model, rollouts, texts, average):
        last = {**rollouts.metrics, "entropy": step.metrics["entropy"]}
    with atomic.new_folder(stage.folder / "model") as folder:
        hub.save_model(folder, average.policy.to(dtype(config.precision)) if average else actor, tokenizer)
    if not isinstance(model, ActorCritic | SharedTrunk):
        return stage.finish(episodes=episodes(config), **last)
    with atomic.new_folder(stage.folder / "critic") as folder:
        if isinstance(model, SharedTrunk):
            model.save_head(folder)
        else:
            hub.save_model(folder, model.critic, tokenizer)
    return stage.finish(episodes=episodes(config), **last)


def episodes(config: RlConfig) -> int:
    """How many answers were learnt from."""
    return config.iterations * config.prompts_per_step * config.num_generations


def line(result: dict[str, Any]) -> str:
    """The result in one line."""
    return f"{result['episodes']} episodes, reward {result['reward']:+.2f}, KL {result['kl']:.1f} nats"


def starting_point(actor: Any, config: RlConfig) -> Any:
    """The reference: the policy below a new adapter, which needs no copy, else a frozen copy of the start."""
    if adapters.has(actor) and adapters.base_of(config.model) is None:
        return actor
    return hub.load_model(config.model, dtype=dtype(config.precision))


def with_critic(actor: Any, config: RlConfig) -> Any:
    """What is trained: the policy with its critic, or alone where advantages need none."""
    if config.advantage != "gae":
        return actor
    return SharedTrunk(actor) if config.critic == "shared" else ActorCritic(actor, critic(config))


def elsewhere(config: RlConfig, actor: Any, tokenizer: Any) -> Sampler | None:
    """The server that draws the answers, if one does."""
    if config.sampler is None or config.publish is None:
        return None
    sampler = PublishedSampler.at(config.sampler, actor, tokenizer, config.publish)
    return Ahead(sampler) if config.overlap else sampler


def critic(config: RlConfig) -> Any:
    """A value model with the reward model's body where shapes allow, else the policy's (Ouyang et al. 2022, C.4)."""
    body = reward_body(config.reward) if config.critic == "reward" else None
    if body is not None and hub.same_vocabulary(config.model, body):
        return hub.value_model(hub.load_scorer(body, dtype=dtype(config.precision)))
    return hub.scorer_from(hub.load_model(config.model, dtype=dtype(config.precision)), seed=config.seed)


def asked(config: RlConfig, policy: Policy, reward: Scorer) -> list[Prompt]:
    """The prompts that fit, easiest first where there is a curriculum."""
    prompts = policy.fitting(read_prompts(config.prompts), config.max_completion_length)
    if not config.curriculum:
        return prompts
    how = settings(config).sampling
    return easiest_first(prompts, policy, reward, how, seed=config.seed, n=config.num_generations)


def settings(config: RlConfig) -> RolloutSettings:
    """The part of the configuration that rollouts need."""
    names = {f.name for f in dataclasses.fields(RolloutSettings)}
    values = config.model_dump(include=names)
    return RolloutSettings(
        **values,
        epochs=config.num_ppo_epochs,
        minibatches=config.num_mini_batches,
        skip_zero_advantages=config.surrogate != "trpo" and learns_from_surrogate_alone(config),
    )


@dataclasses.dataclass
class Distance:
    """The penalty on the distance from the policy that sampled, and its controller."""

    coefficient: float
    target: float | None

    def adapt(self, kl_of_last_step: float) -> None:
        if self.target is not None:
            self.coefficient = kl.doubled(self.coefficient, kl_of_last_step, target=self.target)


def steps(
    stage: Stage,
    config: RlConfig,
    model: Any,
    rollouts: Rollouts,
    texts: Sequence[Tree] = (),
    average: Average | None = None,
) -> Iterator[Step]:
    """The optimiser steps, saved between iterations only, since rollouts are not part of a checkpoint."""
    if config.gradient_checkpointing:
        recompute_layers(model)
    per_iteration = config.num_ppo_epochs * config.num_mini_batches
    distance = Distance(config.step_kl_coef, config.step_kl_target)
    terms = policy_terms(config, kl_coef=lambda: rollouts.kl_coef, step_kl_coef=lambda: distance.coefficient)
    value = value_term(config) if config.advantage == "gae" else None
    optimizer, trust = stepping(config, model, rollouts.policy.model, terms, value)
    factor = schedule("linear", steps=config.iterations * per_iteration, warmup=config.warmup, floor=0.1)

    def run(found: Checkpoint | None) -> Iterator[Step]:
        start = 0
        if found:
            start = rollouts.load(found.state)
            distance.coefficient = float(found.state["step_kl_coef"])
        batches = rollouts.batches(config.iterations, start)
        if texts:
            batches = with_texts(config, batches, texts, rollouts)
            batches = batches if found else weighed(batches, model, terms, config.ptx_coef)
        taken = fit(
            model,
            trust.seen(batches) if trust else batches,
            [*terms, *([value] if value else [])],
            optimizer,
            watch=watched(config),
            learning_rate_factor=lambda _: factor(rollouts.place),
            max_grad_norm=config.max_grad_norm,
            start=found.step if found else 0,
        )
        for step in taken:
            if average:
                average.update(rollouts.policy.model)
            if config.max_step_kl is not None and step.metrics["approx_kl"] > config.max_step_kl:
                rollouts.ended = True
            more = {"step_kl_coef": distance.coefficient} if config.surrogate == "ppo_kl" else {}
            if rollouts.ended:
                distance.adapt(step.metrics["approx_kl"])
            metrics = {**step.metrics, **rollouts.metrics, **more, **(trust.metrics if trust else {})}
            yield dataclasses.replace(step, metrics=metrics)

    return stage.steps(
        run,
        nn.ModuleList([model, average]) if average else model,
        optimizer,
        total=config.iterations * per_iteration,
        state=lambda: {**rollouts.state(), "step_kl_coef": distance.coefficient},
        at_boundary=lambda step: rollouts.ended,
        note=lambda step: f"reward {step.metrics['reward']:+.2f} kl {step.metrics['kl']:.1f}",
    )


def stepping(
    config: RlConfig, model: Any, policy: Any, terms: Sequence[Term], value: Term | None
) -> tuple[Stepping, TrustRegion | None]:
    """What takes the steps; for TRPO also as what has to see the batches."""
    if config.surrogate != "trpo":
        return new_optimizer(model, config), None
    region = Region(**config.model_dump(include={f.name for f in dataclasses.fields(Region)}))
    own = new_optimizer(model.critic, config) if value else None
    trust = TrustRegion(model, policy, region, terms, own, value)
    return trust, trust


def with_texts(
    config: RlConfig, batches: Iterator[Any], texts: Sequence[Tree], rollouts: Rollouts
) -> Iterator[Any]:
    """Texts beside the rollouts of every step: `ptx_ratio` for each answer."""
    answers = config.prompts_per_step * config.num_generations / config.num_mini_batches
    return beside(
        batches,
        texts,
        stream="ptx",
        per_step=max(1, round(answers * config.ptx_ratio)),
        seed=key("ptx", config.seed),
        place=lambda: rollouts.place,
        token_budget=max(config.token_budget, config.max_length),
    )
