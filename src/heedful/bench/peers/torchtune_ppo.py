"""torchtune's PPO: its own recipe for one device, which says it is for GPUs and runs on a CPU. Run by its Python.

Given here are the data, as token ids, and the clock; the rest is the recipe's: models, sampling with a K/V cache until
every answer has its full length, critic, GAE, losses, steps. In bf16 all of it is bf16, the optimiser's state too.
"""

import importlib.util
import json
import tempfile
from pathlib import Path
from typing import Any

import torch
import torchtune
from omegaconf import OmegaConf

from .job import Clock, Job, read_job

HERE = "peers.torchtune_ppo"
NAME = "ppo_full_finetune_single_device"
PAD, EOS = 0, 2
EPOCHS, MINIBATCHES = 2, 2


class Enough(Exception):
    """Enough has been measured."""


class Tokenizer:
    """What the recipe asks of a tokenizer: prompts are token ids already."""

    pad_id, eos_id = PAD, EOS
    stop_tokens = (EOS,)


class Silent:
    """A metric logger that logs nothing."""

    def log_config(self, config: Any) -> None: ...

    def log_dict(self, payload: Any, step: int) -> None: ...


def recipe(job: Job, clock: Clock) -> Any:
    """The recipe's class with the job's prompts as data and a lap after each iteration.

    Recipes are installed beside torchtune, in a folder that refuses to be imported.
    """
    file = Path(torchtune.__file__).parent.parent / "recipes" / f"{NAME}.py"
    spec = importlib.util.spec_from_file_location(NAME, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    given = job.examples()

    class Timed(module.PPOFullFinetuneRecipeSingleDevice):  # type: ignore[misc, name-defined]
        def _setup_data(self, cfg_dataset: Any, shuffle: bool, batch_size: int) -> Any:
            batches = [
                {
                    "tokens": padded(
                        [e["prompt"] for e in given[i : i + job.batch] for _ in range(job.samples)]
                    )
                }
                for i in range(0, len(given) - job.batch + 1, job.batch)
            ]
            return InOrder(), batches

        def cleanup_after_step(self, *args: Any) -> None:
            super().cleanup_after_step(*args)
            if clock.lap(job.batch * job.samples, 0):
                raise Enough

        def save_checkpoint(self, *args: Any, **keywords: Any) -> None: ...

    return Timed


class InOrder:
    """A sampler of data that is in order already."""

    def set_epoch(self, epoch: int) -> None: ...


def padded(rows: list[list[int]]) -> torch.Tensor:
    """Token ids [B, T] with padding on the left."""
    longest = max(map(len, rows))
    return torch.tensor([[PAD] * (longest - len(row)) + row for row in rows])


def settings(job: Job, folder: str) -> Any:
    """The recipe's configuration: the iteration of the other workers, nothing recomputed, the fused optimiser."""
    episodes = job.batch * job.samples
    return OmegaConf.create(
        {
            "output_dir": folder,
            "device": "cpu",
            "dtype": job.precision,
            "seed": job.seed,
            "tokenizer": {"_component_": f"{HERE}.Tokenizer"},
            "metric_logger": {"_component_": f"{HERE}.Silent"},
            "dataset": None,
            "shuffle": False,
            **models(job, folder),
            "resume_from_checkpoint": False,
            "compile": False,
            "optimizer": {"_component_": "torch.optim.AdamW", "lr": 1e-6, "fused": True},
            "optimizer_in_bwd": False,
            "enable_activation_checkpointing": False,
            "enable_kv_cache": True,
            "batch_size": episodes,
            "forward_batch_size": episodes,
            "num_steps": episodes * 10_000,
            "ppo_epochs": EPOCHS,
            "ppo_batch_size": episodes // MINIBATCHES,
            "gradient_accumulation_steps": 1,
            "max_generated_tokens": job.max_completion_length,
            "temperature": 1.0,
            "top_k": None,
            "min_response_length": 0,
            "penalise_no_eos": True,
            "reward_penalty": -1,
            "whiten_rewards": False,
            "gamma": 1.0,
            "lmbda": 0.95,
            "kl_coeff": 0.05,
            "loss": {
                "_component_": "torchtune.rlhf.loss.PPOLoss",
                "epsilon": 0.2,
                "value_coeff": 0.1,
                "value_clip_range": 0.2,
            },
        }
    )


def models(job: Job, folder: str) -> dict[str, Any]:
    """The part of the configuration that names policy, reference, critic and reward model."""
    shape = json.loads(Path(job.model, "config.json").read_text())
    model = {
        "vocab_size": shape["vocab_size"],
        "num_layers": shape["num_hidden_layers"],
        "num_heads": shape["num_attention_heads"],
        "num_kv_heads": shape["num_key_value_heads"],
        "embed_dim": shape["hidden_size"],
        "intermediate_dim": shape["intermediate_size"],
        "max_seq_len": shape["max_position_embeddings"],
        "norm_eps": shape["rms_norm_eps"],
    }
    llama = "torchtune.models.llama2"
    policy, reward = (
        {
            "_component_": "torchtune.training.FullModelHFCheckpointer",
            "checkpoint_dir": place,
            "checkpoint_files": ["model.safetensors"],
            "output_dir": folder,
            "model_type": kind,
        }
        for place, kind in ((job.model, "LLAMA2"), (job.reward, "REWARD"))
    )
    return {
        "policy_model": {"_component_": f"{llama}.llama2", **model},
        "reward_and_value_model": {
            "_component_": f"{llama}._component_builders.llama2_classifier",
            "num_classes": 1,
            **model,
        },
        "checkpointer": policy,
        "ref_policy_checkpointer": policy,
        "value_checkpointer": reward,
        "reward_checkpointer": reward,
    }


def main() -> None:
    job = read_job()
    with tempfile.TemporaryDirectory() as folder:
        clock = Clock(job)
        config = settings(job, folder)
        made = recipe(job, clock)(cfg=config)
        made.setup(cfg=config)
        try:
            made.train()
        except Enough:
            clock.finish()


if __name__ == "__main__":
    main()
