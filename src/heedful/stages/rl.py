"""A reward model -> a better policy: PPO (GAE, a critic) or GRPO (group-relative advantages, no critic)."""

import dataclasses
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator
from torch import nn

from heedful.data import atomic
from heedful.data.formats import read_prompts
from heedful.engine.checkpoint import Checkpoint
from heedful.engine.endpoint import is_address
from heedful.engine.fit import Step, Term, fit
from heedful.engine.optim import schedule
from heedful.engine.policy import Policy
from heedful.engine.precision import Precision, dtype
from heedful.engine.published import PublishedSampler
from heedful.engine.recompute import recompute_layers
from heedful.engine.reduction import Reduction
from heedful.engine.reward_model import RewardModel
from heedful.engine.reward_server import ServerReward
from heedful.engine.rollout import Estimator, Rollouts, RolloutSettings
from heedful.engine.sampler import Sampler
from heedful.engine.score import use_packed_attention
from heedful.engine.stage import Inputs, Stage, StageConfig
from heedful.engine.train import new_optimizer
from heedful.losses import kl
from heedful.losses import policy as policy_losses
from heedful.losses.advantage import Scale
from heedful.losses.bind import Loss
from heedful.nn import hub
from heedful.nn.actor_critic import ActorCritic

# The settings that an advantage estimator does not use.
OTHERS: dict[Estimator, tuple[str, ...]] = {
    "gae": ("scale_rewards",),
    "group": ("gamma", "lam", "whiten_rewards", "whiten_advantages", "vf_coef", "clip_range_value"),
}


class RlConfig(StageConfig):
    """`model` is the policy to start from and the reference, `reward` the reward model, `prompts` a file.

    `advantage` gae needs a critic, group compares the answers to a prompt with one another. `kl_coef` penalises the
    distance from the reference in the reward, `beta` in the loss. `reward` may be the address of a server,
    http://host:8000/v1; so may `sampler`, which then draws the answers from the weights that are put into `publish`.
    """

    model: str
    reward: str
    prompts: Path
    iterations: int = Field(60, gt=0)
    prompts_per_step: int = Field(64, gt=0)
    num_generations: int = Field(4, gt=0)
    max_completion_length: int = Field(64, gt=0)
    advantage: Estimator = "gae"
    scale_rewards: Scale = "group"
    reduction: Reduction = "token"
    beta: float = Field(0.0, ge=0)
    num_ppo_epochs: int = Field(2, gt=0)
    num_mini_batches: int = Field(2, gt=0)
    learning_rate: float = Field(3e-4, gt=0)
    optimizer: Literal["adamw", "muon"] = "adamw"
    matrix_learning_rate: float = Field(0.002, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    warmup: int = Field(4, ge=0)
    max_grad_norm: float = Field(1.0, gt=0)
    clip_range: float = Field(0.2, gt=0)
    clip_range_value: float = Field(0.2, gt=0)
    vf_coef: float = Field(0.5, ge=0)
    kl_coef: float = Field(0.05, ge=0)
    kl_target: float | None = Field(6.0, gt=0)
    kl_horizon: int = Field(10_000, gt=0)
    gamma: float = Field(1.0, gt=0, le=1)
    lam: float = Field(0.95, ge=0, le=1)
    whiten_rewards: bool = False
    whiten_advantages: bool = True
    missing_eos_penalty: float = Field(1.0, ge=0)
    token_budget: int = Field(8192, gt=0)
    slots: int = Field(64, gt=0)
    precision: Precision = "fp32"
    gradient_checkpointing: bool = False
    sampler: str | None = None
    publish: Path | None = None

    @model_validator(mode="after")
    def _a_server_is_told_of_new_weights(self) -> Self:
        if (self.sampler is None) != (self.publish is None):
            raise ValueError("sampler=http://...#NAME and publish=FOLDER go together: give both or neither")
        return self

    @model_validator(mode="after")
    def _no_mini_batch_is_empty(self) -> Self:
        if self.prompts_per_step < self.num_mini_batches:
            raise ValueError("num_mini_batches is larger than prompts_per_step: lower it")
        return self

    @model_validator(mode="after")
    def _settings_belong_to_the_advantage(self) -> Self:
        if self.advantage == "group" and self.num_generations < 2:
            raise ValueError(
                "advantage=group compares answers to one prompt: set num_generations to 2 or more"
            )
        for name in OTHERS[self.advantage]:
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} means nothing with advantage={self.advantage}: leave it out")
        return self


def main(config: RlConfig) -> dict[str, Any]:
    """Improve the policy and write it to `output`/model, and its critic, if it has one, to `output`/critic."""
    inputs: Inputs = {"model": config.model, "reward": config.reward, "prompts": config.prompts}
    stage = Stage("rl", config, inputs)
    if (done := stage.finished()) is not None:
        return done
    tokenizer = hub.load_tokenizer(config.model)
    reward = scorer(config.reward)
    weights = dtype(config.precision)
    actor = hub.load_model(config.model, dtype=weights)
    model = ActorCritic(actor, critic(config)) if config.advantage == "gae" else actor
    reference = hub.load_model(config.model, dtype=weights)
    for part in (model, reference):
        use_packed_attention(part)
    policy = Policy(actor, tokenizer, elsewhere(config, actor, tokenizer))
    rollouts = Rollouts(
        model=model,
        policy=policy,
        reference=reference.eval(),
        reward=reward,
        prompts=policy.fitting(read_prompts(config.prompts), config.max_completion_length),
        settings=settings(config),
        kl_coef=config.kl_coef,
    )
    last: dict[str, float] = {}
    for _ in steps(stage, config, model, rollouts):
        last = rollouts.metrics
    with atomic.new_folder(stage.folder / "model") as folder:
        hub.save_model(folder, actor, tokenizer)
    if isinstance(model, ActorCritic):
        with atomic.new_folder(stage.folder / "critic") as folder:
            hub.save_model(folder, model.critic, tokenizer)
    return stage.finish(episodes=config.iterations * config.prompts_per_step * config.num_generations, **last)


def line(result: dict[str, Any]) -> str:
    """The result in one line."""
    return f"{result['episodes']} episodes, reward {result['reward']:+.2f}, KL {result['kl']:.1f} nats"


def scorer(source: str) -> RewardModel | ServerReward:
    """A reward model in this process, or behind an address."""
    return ServerReward.at(source) if is_address(source) else RewardModel.load(source)


def elsewhere(config: RlConfig, actor: Any, tokenizer: Any) -> Sampler | None:
    """The server that draws the answers, if one does."""
    if config.sampler is None or config.publish is None:
        return None
    return PublishedSampler.at(config.sampler, actor, tokenizer, config.publish)


def critic(config: RlConfig) -> Any:
    """A value model with the reward model's body where shapes allow, else the policy's (Ouyang et al. 2022, C.4)."""
    if not is_address(config.reward) and hub.same_vocabulary(config.model, config.reward):
        return hub.value_model(hub.load_scorer(config.reward, dtype=dtype(config.precision)))
    return hub.scorer_from(hub.load_model(config.model, dtype=dtype(config.precision)), seed=config.seed)


def settings(config: RlConfig) -> RolloutSettings:
    """The part of the configuration that rollouts need."""
    names = {f.name for f in dataclasses.fields(RolloutSettings)}
    values = config.model_dump(include=names)
    return RolloutSettings(
        **values,
        epochs=config.num_ppo_epochs,
        minibatches=config.num_mini_batches,
        skip_zero_advantages=config.advantage == "group" and not config.beta,
    )


def objective(config: RlConfig) -> list[Term]:
    """What is minimised: the clipped surrogate, the critic's error, the k3 estimate of the KL to the reference."""
    terms = [Term(partial(policy_losses.ppo_clip, clip_range=config.clip_range))]
    if config.advantage == "gae":
        clipped = partial(policy_losses.value_clip, clip_range=config.clip_range_value)
        terms.append(Term(clipped, weight=config.vf_coef))
    if config.beta:
        terms.append(Term(kl.k3, weight=config.beta))
    return terms


def steps(stage: Stage, config: RlConfig, model: nn.Module, rollouts: Rollouts) -> Iterator[Step]:
    """The optimiser steps, saved between iterations only, since rollouts are not part of a checkpoint."""
    if config.gradient_checkpointing:
        recompute_layers(model)
    per_iteration = config.num_ppo_epochs * config.num_mini_batches
    total = config.iterations * per_iteration
    optimizer = new_optimizer(model, config)
    watch: dict[str, Loss] = {
        "approx_kl": policy_losses.approx_kl,
        "clip_ratio": partial(policy_losses.clip_fraction, clip_range=config.clip_range),
        "entropy": policy_losses.mean_entropy,
    }

    def run(found: Checkpoint | None) -> Iterator[Step]:
        start = found.step if found else 0
        if found:
            rollouts.kl_coef = float(found.state["kl_coef"])
        taken = fit(
            model,
            rollouts.batches(config.iterations, start // per_iteration),
            objective(config),
            optimizer,
            watch=watch,
            learning_rate_factor=schedule("linear", steps=total, warmup=config.warmup, floor=0.1),
            max_grad_norm=config.max_grad_norm,
            start=start,
        )
        for step in taken:
            yield dataclasses.replace(step, metrics={**step.metrics, **rollouts.metrics})

    return stage.steps(
        run,
        model,
        optimizer,
        total=total,
        state=lambda: {"kl_coef": rollouts.kl_coef},
        at_boundary=lambda step: step % per_iteration == 0,
        note=lambda step: f"reward {step.metrics['reward']:+.2f} kl {step.metrics['kl']:.1f}",
    )
