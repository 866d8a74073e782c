"""A teacher -> a student over the same tokens: from the teacher's distributions, on answers of either or of people."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from heedful.data import atomic, chat
from heedful.data.formats import read_conversations, read_prompts
from heedful.engine.asking import taken
from heedful.engine.batch import Packed, Tree, answer_node, microbatches, prompt_node
from heedful.engine.checkpoint import Checkpoint
from heedful.engine.dialogues import conversations
from heedful.engine.fit import Step, Term, fit
from heedful.engine.optim import schedule
from heedful.engine.policy import Policy
from heedful.engine.precision import dtype
from heedful.engine.randomness import key
from heedful.engine.recompute import recompute_layers
from heedful.engine.sampling import Sampling
from heedful.engine.score import use_packed_attention
from heedful.engine.stage import Stage
from heedful.engine.train import TrainingConfig, means, new_optimizer, train
from heedful.errors import UserError
from heedful.losses import distill
from heedful.losses.bind import Loss
from heedful.losses.supervised import next_token
from heedful.nn import hub
from heedful.nn.pupil import Pupil
from heedful.types import Prompt


class DistillConfig(TrainingConfig):
    """`model` learns from `teacher`: from its distributions (`forward_kl`, `reverse_kl`, `jensen_shannon`) or, with
    `answer`, from its answers alone.

    `answers` says whose answers that is on: `data`, dialogues in a file; `teacher`, sampled once for the `prompts`;
    `student`, sampled anew for `prompts_per_step` prompts a step, `steps` times (on-policy, Agarwal et al. 2024).
    """

    model: str
    teacher: str
    data: Path | None = None
    prompts: Path | None = None
    answers: Literal["data", "teacher", "student"] = "data"
    objective: Literal["forward_kl", "reverse_kl", "jensen_shannon", "answer"] = "forward_kl"
    softness: float = Field(1.0, gt=0)
    steps: int = Field(100, gt=0)
    prompts_per_step: int = Field(32, gt=0)
    temperature: float = Field(1.0, gt=0)
    max_completion_length: int = Field(64, gt=0)
    learning_rate: float = Field(3e-4, gt=0)
    slots: int = Field(64, gt=0)

    @model_validator(mode="after")
    def _answers_come_from_somewhere(self) -> Self:
        wanted, other = ("data", "prompts") if self.answers == "data" else ("prompts", "data")
        if getattr(self, wanted) is None:
            raise ValueError(f"answers={self.answers} needs {wanted}: add {wanted}=FILE")
        if getattr(self, other) is not None:
            raise ValueError(f"{other} means nothing with answers={self.answers}: leave it out")
        if self.answers == "student" and self.objective == "answer":
            raise ValueError("a student learns nothing from its own answers alone: choose another objective")
        return self


def main(config: DistillConfig) -> dict[str, Any]:
    """Train the student and write it to `output`/model; return its divergence from the teacher before and after."""
    inputs = {
        "model": config.model,
        "teacher": config.teacher,
        "data": config.data,
        "prompts": config.prompts,
    }
    stage = Stage("distill", config, inputs)
    if (done := stage.finished()) is not None:
        return done
    if not hub.same_vocabulary(config.model, config.teacher):
        raise UserError(
            f"'{config.model}' and '{config.teacher}' read other tokens: let the teacher answer your prompts, and "
            "fine-tune on the answers with `heedful sft`"
        )
    tokenizer = hub.load_tokenizer(config.model)
    chat.ensure_chat_template(tokenizer)
    student = hub.load_model(config.model, dtype=dtype(config.precision))
    teacher = hub.load_model(config.teacher, dtype=dtype(config.precision))
    use_packed_attention(teacher)
    pupil = Pupil(student, teacher)
    use_packed_attention(pupil)
    prompts = asked(config, Policy(student, tokenizer))
    trees = given(config, tokenizer, Policy(teacher, tokenizer), prompts)
    measure = {"divergence": objective(config, distance=True)}
    before = means(pupil, trees[:256], measure)
    term = [Term(objective(config))]
    if config.answers == "student":
        taken_steps = on_policy(stage, config, pupil, Policy(student, tokenizer), prompts, term)
    else:
        taken_steps = train(stage, pupil, trees, term, config)
    for _ in taken_steps:
        pass
    after = means(pupil, trees[:256], measure)
    with atomic.new_folder(stage.folder / "model") as folder:
        hub.save_model(folder, student, tokenizer)
    return stage.finish(
        examples=len(trees), divergence_before=before["divergence"], divergence=after["divergence"]
    )


def line(result: dict[str, Any]) -> str:
    """The result in one line."""
    before, after = result["divergence_before"], result["divergence"]
    return f"divergence from the teacher {before:.3f} -> {after:.3f} nats per token"


def objective(config: DistillConfig, *, distance: bool = False) -> Loss:
    """What is minimised; or the distance that is reported, which an `answer` has too."""
    if config.objective == "answer":
        return distill.forward_kl if distance else next_token
    return partial(getattr(distill, config.objective), temperature=config.softness)


def asked(config: DistillConfig, policy: Policy) -> list[Prompt]:
    """The prompts that leave room for an answer."""
    if config.prompts is None:
        return []
    return policy.fitting(read_prompts(config.prompts), config.max_completion_length)


def given(config: DistillConfig, tokenizer: Any, teacher: Policy, prompts: list[Prompt]) -> list[Tree]:
    """What is learnt from, or, on-policy, what the divergence is measured on: the file's or the teacher's answers."""
    if config.data is not None:
        trees, _ = conversations(tokenizer, read_conversations(config.data), config.max_length)
        return trees
    measured = prompts[:256] if config.answers == "student" else prompts
    return answered(config, teacher, measured, ("distill", config.seed))


def answered(
    config: DistillConfig, policy: Policy, prompts: list[Prompt], seed: tuple[Any, ...]
) -> list[Tree]:
    """One answer a prompt."""
    how = Sampling(config.max_completion_length, config.temperature)
    found = policy.answer(prompts, how, seed=seed, slots=config.slots)
    return [Tree(prompt_node(a.prompt), (answer_node(a.samples[0].ids),)) for a in found]


def on_policy(
    stage: Stage,
    config: DistillConfig,
    pupil: Pupil,
    policy: Policy,
    prompts: list[Prompt],
    terms: list[Term],
) -> Iterator[Step]:
    """Steps on the student's own answers, sampled anew before each."""
    if config.gradient_checkpointing:
        recompute_layers(pupil)
    optimizer = new_optimizer(pupil, config)
    factor = schedule(
        config.lr_scheduler, steps=config.steps, warmup=round(config.warmup_ratio * config.steps)
    )

    def batches(start: int) -> Iterator[list[Packed]]:
        n = config.prompts_per_step
        for step in range(start, config.steps):
            wanted = taken(len(prompts), range(step * n, (step + 1) * n), key("distill", config.seed))
            trees = answered(config, policy, [prompts[i] for i in wanted], (config.seed, "distill", step))
            yield microbatches(trees, config.token_budget)

    def run(found: Checkpoint | None) -> Iterator[Step]:
        start = found.step if found else 0
        return fit(
            pupil,
            batches(start),
            terms,
            optimizer,
            learning_rate_factor=factor,
            max_grad_norm=config.max_grad_norm,
            start=start,
        )

    yield from stage.steps(run, pupil, optimizer, total=config.steps)
