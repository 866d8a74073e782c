"""The whole loop at the least size at which every stage still has something to do: seconds on one thread."""

from pathlib import Path
from typing import Any

import yaml

from heedful import loop, settings

SETTINGS: dict[str, Any] = {
    "rounds": 1,
    "world": {
        "documents": 60,
        "heldout_documents": 8,
        "demonstrations": 60,
        "heldout_demonstrations": 10,
        "prompts": 40,
        "test_prompts": 12,
    },
    "tokenizer": {"vocab_size": 400},
    "pretrain": {
        "hidden_size": 32,
        "layers": 1,
        "heads": 2,
        "optimizer": "muon",
        "max_length": 256,
        "tokens_per_step": 1024,
    },
    "sft": {"tokens_per_step": 1024, "optimizer": "muon", "matrix_learning_rate": 0.005},
    "feedback": {"max_prompts": 24, "gold_items": 10, "max_completion_length": 12, "cutoff": 0.0},
    "reward": {"tokens_per_step": 2048},
    "rl": {
        "iterations": 3,
        "prompts_per_step": 6,
        "num_generations": 2,
        "num_ppo_epochs": 2,
        "num_mini_batches": 2,
        "max_completion_length": 12,
    },
    "prefer": {"tokens_per_step": 2048},
    "evaluate": {"max_prompts": 12, "max_completion_length": 12},
}

OFTEN = {f"{stage}__save_every": 0 for stage in ("pretrain", "sft", "reward", "prefer", "rl")}
"""A checkpoint after each step."""


def words(**more: Any) -> list[str]:
    """Further settings as they are typed: `sft__epochs=2` is sft.epochs=2."""
    return [f"{key.replace('__', '.')}={value}" for key, value in more.items()]


def recipe(folder: Path) -> Path:
    """Write SETTINGS as a recipe file."""
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(SETTINGS))
    return path


def run(output: Path, **more: Any) -> None:
    """Run the loop in this process."""
    values = settings.merge(SETTINGS, settings.parse(words(**more)))
    loop.run(settings.build(loop.LoopConfig, {**values, "output": output}, what="loop"))
