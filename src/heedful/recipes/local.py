"""Your own model and data, on whatever machine this is."""

from typing import Any


def settings() -> dict[str, Any]:
    """Cautious settings for a pretrained model of any size."""
    return {
        "output": "runs/local",
        "sft": {"learning_rate": 2e-5},
        "reward": {"learning_rate": 1e-5},
        "rl": {"learning_rate": 1e-6, "kl_coef": 0.05},
        "prefer": {"learning_rate": 5e-7},
    }
