"""The whole loop at the least size at which every stage still has something to do: seconds on one thread."""

from pathlib import Path
from typing import Any

from heedful import loop, recipes, settings

SETTINGS: dict[str, Any] = {
    "world": {
        "documents": 60,
        "heldout_documents": 8,
        "demonstrations": 60,
        "heldout_demonstrations": 10,
        "prompts": 40,
        "test_prompts": 12,
    },
    "tokenizer": {"vocab_size": 400},
    "pretrain": {"hidden_size": 32, "layers": 1, "heads": 2, "tokens_per_step": 1024},
    "sft": {"tokens_per_step": 1024},
    "feedback": {"max_prompts": 24, "gold_items": 10, "max_completion_length": 12, "cutoff": 0.0},
    "reward": {"tokens_per_step": 2048},
    "rl": {"iterations": 3, "prompts_per_step": 6, "num_generations": 2, "max_completion_length": 12},
    "prefer": {"tokens_per_step": 2048},
    "evaluate": {"max_prompts": 12, "max_completion_length": 12},
}


OFTEN = {f"{stage}__save_every": 0 for stage in ("pretrain", "sft", "reward", "prefer", "rl")}
"""A checkpoint after each step."""


def words(**more: Any) -> list[str]:
    """SETTINGS as they are typed: key=value."""
    found = [f"{stage}.{key}={value}" for stage, values in SETTINGS.items() for key, value in values.items()]
    return found + [f"{key.replace('__', '.')}={value}" for key, value in more.items()]


def config(output: Path, **more: Any) -> loop.LoopConfig:
    """The configuration of `heedful loop small ...` with SETTINGS on top; `sft__epochs=2` sets sft.epochs."""
    values = settings.merge(recipes.find("small"), settings.parse(words(**more)))
    return settings.build(loop.LoopConfig, {**values, "output": output}, what="loop")


def run(output: Path, **more: Any) -> None:
    """Run the loop in this process."""
    loop.run(config(output, **more))
