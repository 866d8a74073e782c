"""A reward model -> a better policy: PPO with clipping, GAE, a critic and an adaptive KL penalty."""

import dataclasses
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from heedful.data import atomic
from heedful.data.formats import read_prompts
from heedful.engine.checkpoint import Checkpoint
from heedful.engine.fit import Step, Term, fit
from heedful.engine.optim import schedule
from heedful.engine.policy import Policy
from heedful.engine.recompute import recompute_layers
from heedful.engine.reward_model import RewardModel
from heedful.engine.rollout import Rollouts, RolloutSettings
from heedful.engine.score import use_packed_attention
from heedful.engine.stage import Inputs, Stage, StageConfig
from heedful.engine.train import new_optimizer
from heedful.losses import policy as policy_losses
from heedful.losses.bind import Loss
from heedful.nn import hub
from heedful.nn.actor_critic import ActorCritic


class RlConfig(StageConfig):
    """`model` is the policy to start from and the reference, `reward` the reward model, `prompts` a file."""

    model: str
    reward: str
    prompts: Path
    iterations: int = Field(60, gt=0)
    prompts_per_step: int = Field(64, gt=0)
    num_generations: int = Field(4, gt=0)
    max_completion_length: int = Field(64, gt=0)
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
    gradient_checkpointing: bool = False

    @model_validator(mode="after")
    def _no_mini_batch_is_empty(self) -> Self:
        if self.prompts_per_step < self.num_mini_batches:
            raise ValueError("num_mini_batches is larger than prompts_per_step: lower it")
        return self


def main(config: RlConfig) -> dict[str, Any]:
    """Improve the policy and write it to `output`/model, its critic to `output`/critic."""
    inputs: Inputs = {"model": config.model, "reward": config.reward, "prompts": config.prompts}
    stage = Stage("rl", config, inputs)
    if (done := stage.finished()) is not None:
        return done
    tokenizer = hub.load_tokenizer(config.model)
    reward = RewardModel.load(config.reward)
    model = ActorCritic(hub.load_model(config.model), critic(config))
    reference = hub.load_model(config.model)
    for part in (model.critic, reference):
        use_packed_attention(part)
    policy = Policy(model.policy, tokenizer)
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
        hub.save_model(folder, model.policy, tokenizer)
    with atomic.new_folder(stage.folder / "critic") as folder:
        hub.save_model(folder, model.critic, tokenizer)
    return stage.finish(episodes=config.iterations * config.prompts_per_step * config.num_generations, **last)


def line(result: dict[str, Any]) -> str:
    """The result in one line."""
    return f"{result['episodes']} episodes, reward {result['reward']:+.2f}, KL {result['kl']:.1f} nats"


def critic(config: RlConfig) -> Any:
    """A value model with the reward model's body where shapes allow, else the policy's (Ouyang et al. 2022, C.4)."""
    if hub.same_vocabulary(config.model, config.reward):
        return hub.load_scorer(config.reward)
    return hub.scorer_from(hub.load_model(config.model), seed=config.seed)


def settings(config: RlConfig) -> RolloutSettings:
    """The part of the configuration that rollouts need."""
    names = {f.name for f in dataclasses.fields(RolloutSettings)}
    values = config.model_dump(include=names)
    return RolloutSettings(**values, epochs=config.num_ppo_epochs, minibatches=config.num_mini_batches)


def steps(stage: Stage, config: RlConfig, model: ActorCritic, rollouts: Rollouts) -> Iterator[Step]:
    """PPO's optimiser steps, saved between iterations only, since rollouts are not part of a checkpoint."""
    if config.gradient_checkpointing:
        recompute_layers(model)
    per_iteration = config.num_ppo_epochs * config.num_mini_batches
    total = config.iterations * per_iteration
    optimizer = new_optimizer(model, config)
    terms = [
        Term(partial(policy_losses.ppo_clip, clip_range=config.clip_range)),
        Term(partial(policy_losses.value_clip, clip_range=config.clip_range_value), weight=config.vf_coef),
    ]
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
            terms,
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
