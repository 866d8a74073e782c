"""TRL's trainers at their best settings on a CPU: SFT, reward, DPO and GRPO. Run by TRL's own Python.

Best settings: bf16 autocast where the job says bf16, no gradient checkpointing, fused AdamW, no logging, no saving,
no evaluation, batches collated in the process itself. SFT is padding-free in a few rows a step, for the attention
of such a row costs the square of its whole length.
"""

import itertools
import tempfile
from collections.abc import Callable
from typing import Any

import torch
from datasets import Dataset
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    TrainerCallback,
)

from .job import Clock, Job, read_job, share_of_even, words

SFT_ROWS = 4


class Laps(TrainerCallback):  # type: ignore[misc]
    """Ends a lap after each optimiser step, and the training when enough has been measured."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.samples = 0.0
        self.tokens = 0

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        control.should_training_stop = self.clock.lap(self.samples, self.tokens)
        self.samples, self.tokens = 0.0, 0
        return control


def settings(job: Job, folder: str, **more: Any) -> dict[str, Any]:
    """What all trainers are told."""
    return {
        "output_dir": folder,
        "per_device_train_batch_size": job.batch,
        "max_steps": 10_000,
        "learning_rate": 1e-5,
        "lr_scheduler_type": "constant",
        "optim": "adamw_torch_fused",
        "max_grad_norm": 1.0,
        "bf16": job.precision == "bf16",
        "use_cpu": True,
        "gradient_checkpointing": False,
        "train_sampling_strategy": "sequential",
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": False,
        "logging_strategy": "no",
        "save_strategy": "no",
        "eval_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "seed": job.seed,
        **more,
    }


def observe(trainer: Any, clock: Clock, count: Callable[[dict[str, Any]], tuple[float, int]]) -> Any:
    """Time the trainer's steps; note the loss and the gradient's norm of the first."""
    laps = Laps(clock)
    trainer.add_callback(laps)
    step, clip = trainer.training_step, trainer.accelerator.clip_grad_norm_
    losses: list[float] = []

    def training_step(model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        samples, tokens = count(inputs)
        laps.samples += samples
        laps.tokens += tokens
        loss = step(model, inputs, *args, **kwargs)
        if not clock.laps:
            losses.append(float(loss))
        return loss

    def clip_grad_norm(*args: Any, **kwargs: Any) -> Any:
        norm = clip(*args, **kwargs)
        if not clock.laps:
            clock.note(loss=sum(losses), grad_norm=float(norm))
        return norm

    trainer.training_step, trainer.accelerator.clip_grad_norm_ = training_step, clip_grad_norm
    return trainer


def load(job: Job) -> tuple[Any, Any]:
    """The policy in fp32 (autocast is the trainer's) and its tokenizer."""
    model = AutoModelForCausalLM.from_pretrained(job.model, dtype=torch.float32)
    return model, AutoTokenizer.from_pretrained(job.model)


def padded(inputs: dict[str, Any]) -> tuple[float, int]:
    """Rows and real tokens of a padded batch."""
    mask = inputs["attention_mask"]
    return float(len(mask)), int(mask.sum())


def prepared_sft(job: Job, clock: Clock, folder: str) -> Any:
    """Supervised fine-tuning on whole examples, a few of them laid end to end in a row."""
    from trl import SFTConfig, SFTTrainer

    rows = [(e["prompt"], e["answers"][0]) for e in job.examples()]
    data = Dataset.from_dict(
        {
            "input_ids": [p + a for p, a in rows],
            "labels": [[-100] * len(p) + a for p, a in rows],
        }
    )
    model, tokenizer = load(job)
    options = settings(
        job,
        folder,
        per_device_train_batch_size=job.batch // SFT_ROWS,
        gradient_accumulation_steps=SFT_ROWS,
        max_length=None,
        padding_free=True,
    )
    trainer = SFTTrainer(model, args=SFTConfig(**options), train_dataset=data, processing_class=tokenizer)

    def count(inputs: dict[str, Any]) -> tuple[float, int]:
        return float((inputs["position_ids"] == 0).sum()), inputs["input_ids"].numel()

    return observe(trainer, clock, count)


def prepared_reward(job: Job, clock: Clock, folder: str) -> Any:
    """A reward model on all pairs of each ranking; a micro-batch holds the pairs of one."""
    from trl import RewardConfig, RewardTrainer

    examples = job.examples()
    each = [(e["prompt"], w, r) for e in examples for w, r in itertools.combinations(e["answers"], 2)]
    data = Dataset.from_dict(
        {"chosen_ids": [p + w for p, w, _ in each], "rejected_ids": [p + r for p, _, r in each]}
    )
    pairs = len(each) // len(examples)
    model = AutoModelForSequenceClassification.from_pretrained(job.reward, num_labels=1, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(job.reward)
    options = settings(
        job,
        folder,
        per_device_train_batch_size=pairs,
        gradient_accumulation_steps=job.batch,
        max_length=None,
    )
    trainer = RewardTrainer(
        model, args=RewardConfig(**options), train_dataset=data, processing_class=tokenizer
    )

    def count(inputs: dict[str, Any]) -> tuple[float, int]:
        rows, tokens = padded(inputs)
        return rows / 2 / pairs, tokens

    return observe(trainer, clock, count)


def prepared_dpo(job: Job, clock: Clock, folder: str) -> Any:
    """Direct preference optimisation with sigmoid loss; the reference's log-probs are computed in each step."""
    from trl import DPOConfig, DPOTrainer

    examples = job.examples()
    data = Dataset.from_dict(
        {
            "prompt": [words(e["prompt"]) for e in examples],
            "chosen": [" " + words(e["answers"][0][:-1]) for e in examples],  # the trainer adds EOS
            "rejected": [" " + words(e["answers"][1][:-1]) for e in examples],
        }
    )
    model, tokenizer = load(job)
    reference = AutoModelForCausalLM.from_pretrained(job.reference, dtype=torch.float32)
    options = settings(job, folder, beta=0.1, max_length=None)
    trainer = DPOTrainer(
        model, ref_model=reference, args=DPOConfig(**options), train_dataset=data, processing_class=tokenizer
    )

    def count(inputs: dict[str, Any]) -> tuple[float, int]:
        rows, tokens = padded(inputs)
        return rows / 2, tokens

    return observe(trainer, clock, count)


def even(completions: list[str], **kwargs: Any) -> list[float]:
    """TRL's form of a reward."""
    return [share_of_even(text) for text in completions]


def prepared_grpo(job: Job, clock: Clock, folder: str) -> Any:
    """Group-relative policy optimisation without a reference; one step a generation."""
    from trl import GRPOConfig, GRPOTrainer

    data = Dataset.from_dict({"prompt": [words(e["prompt"]) for e in job.examples()]})
    model, tokenizer = load(job)
    options = settings(
        job,
        folder,
        per_device_train_batch_size=job.batch * job.samples,
        num_generations=job.samples,
        learning_rate=1e-6,
        max_completion_length=job.max_completion_length,
        beta=0.0,
        temperature=1.0,
        top_k=0,
        shuffle_dataset=False,
    )
    trainer = GRPOTrainer(
        model, reward_funcs=even, args=GRPOConfig(**options), train_dataset=data, processing_class=tokenizer
    )
    generate = trainer._generate_single_turn
    written = [0]

    def generated(*args: Any, **kwargs: Any) -> Any:
        found = generate(*args, **kwargs)
        written[0] = sum(len(ids) for ids in found[0])
        return found

    trainer._generate_single_turn = generated

    def count(inputs: dict[str, Any]) -> tuple[float, int]:
        return float(job.batch * job.samples), written[0]

    return observe(trainer, clock, count)


PREPARED = {
    "sft": prepared_sft,
    "reward": prepared_reward,
    "dpo": prepared_dpo,
    "grpo": prepared_grpo,
}


def main() -> None:
    job = read_job()
    with tempfile.TemporaryDirectory() as folder:
        clock = Clock(job)
        PREPARED[job.work](job, clock, folder).train()
    clock.finish()


if __name__ == "__main__":
    main()
