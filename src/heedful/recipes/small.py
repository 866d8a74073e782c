"""The demo at a size for tests: every stage runs, in about a minute, and nothing is learnt well."""

from typing import Any

from heedful import settings as layers
from heedful.recipes import demo


def settings() -> dict[str, Any]:
    """The demo's settings with less of everything."""
    less = {
        "output": "runs/small",
        "rounds": 2,
        "world": {
            "documents": 400,
            "heldout_documents": 40,
            "demonstrations": 400,
            "heldout_demonstrations": 50,
            "prompts": 200,
            "test_prompts": 60,
        },
        "tokenizer": {"vocab_size": 600},
        "pretrain": {"hidden_size": 64, "layers": 2, "tokens_per_step": 2048},
        "sft": {"epochs": 1, "tokens_per_step": 2048},
        "feedback": {"max_prompts": 100, "gold_items": 20},
        "reward": {"epochs": 1, "tokens_per_step": 4096},
        "rl": {"iterations": 3, "prompts_per_step": 16},
        "prefer": {"tokens_per_step": 4096},
        "evaluate": {"max_prompts": 60},
    }
    return layers.merge(demo.settings(), less)
