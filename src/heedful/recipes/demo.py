"""The built-in world on a CPU: a model of about a million parameters, from text to an aligned policy."""

from typing import Any


def settings() -> dict[str, Any]:
    """Settings of the demo, found by trying; LOG.md says what was tried."""
    return {
        "output": "runs/demo",
        "world": {"documents": 9000},
        "tokenizer": {"vocab_size": 1024},
        "pretrain": {
            "hidden_size": 128,
            "layers": 4,
            "heads": 4,
            "max_length": 256,
            "learning_rate": 3e-3,
            "matrix_learning_rate": 0.02,
            "optimizer": "muon",
            "shuffle": False,
            # Short waves and large first weights: heads that copy form several times sooner (LOG.md).
            "rope_theta": 100,
            "initializer_range": 0.06,
            "attention_bias": True,
            "tokens_per_step": 2048,
        },
        "sft": {"learning_rate": 1e-3, "epochs": 2, "optimizer": "muon", "matrix_learning_rate": 0.005},
        "feedback": {"max_prompts": 1000, "max_completion_length": 48, "slots": 64},
        "reward": {"learning_rate": 5e-4, "epochs": 2},
        "rl": {"iterations": 60, "max_completion_length": 48},
        "prefer": {"learning_rate": 2e-4, "epochs": 1},
        "evaluate": {"max_completion_length": 48, "max_prompts": 1100},
    }
