"""TRL's PPO, which its versions up to 1.12 have. Run by the Python of such a version."""

import tempfile
from typing import Any

import torch
from datasets import Dataset
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    TrainerCallback,
)
from trl.experimental.ppo import PPOConfig, PPOTrainer

from .job import Clock, Job, read_job


class Enough(Exception):
    """Enough has been measured; the trainer itself takes no notice of callbacks."""


class Laps(TrainerCallback):  # type: ignore[misc]
    """Ends a lap after each iteration."""

    def __init__(self, clock: Clock, samples: int) -> None:
        self.clock, self.samples = clock, samples

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.clock.lap(self.samples, 0):
            raise Enough


def trainer(job: Job, clock: Clock, folder: str) -> Any:
    """An iteration: `batch` prompts `samples` times each, two epochs of two mini-batches, full GAE and critic."""
    tokenizer = AutoTokenizer.from_pretrained(job.model, padding_side="left")
    prompts = [e["prompt"] for e in job.examples() for _ in range(job.samples)]
    data = Dataset.from_dict({"input_ids": prompts})
    episodes = job.batch * job.samples
    args = PPOConfig(
        output_dir=folder,
        per_device_train_batch_size=episodes,
        gradient_accumulation_steps=1,
        num_mini_batches=2,
        num_ppo_epochs=2,
        total_episodes=episodes * 10_000,
        local_rollout_forward_batch_size=episodes,
        response_length=job.max_completion_length,
        temperature=1.0,
        stop_token="eos",
        missing_eos_penalty=1.0,
        kl_coef=0.05,
        learning_rate=1e-6,
        lr_scheduler_type="constant",
        optim="adamw_torch_fused",
        bf16=job.precision == "bf16",
        use_cpu=True,
        gradient_checkpointing=False,
        num_sample_generations=0,
        logging_strategy="no",
        save_strategy="no",
        eval_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
        seed=job.seed,
    )

    def policy(folder: str) -> Any:
        return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)

    def scorer() -> Any:
        return AutoModelForSequenceClassification.from_pretrained(
            job.reward, num_labels=1, dtype=torch.float32
        )

    return PPOTrainer(
        args=args,
        processing_class=tokenizer,
        model=policy(job.model),
        ref_model=policy(job.model),
        reward_model=scorer(),
        value_model=scorer(),
        train_dataset=data,
        eval_dataset=data.select(range(episodes)),
        callbacks=[Laps(clock, episodes)],
    )


def main() -> None:
    job = read_job()
    with tempfile.TemporaryDirectory() as folder:
        clock = Clock(job)
        try:
            trainer(job, clock, folder).train()
        except Enough:
            clock.finish()


if __name__ == "__main__":
    main()
