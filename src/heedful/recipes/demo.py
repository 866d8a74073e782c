"""The built-in world on a CPU: a model of about a million parameters, from text to an aligned policy."""

from typing import Any


def settings() -> dict[str, Any]:
    """Settings of the demo, found by trying; LOG.md says what was tried."""
    return {
        "output": "runs/demo",
        # `rounds=2` goes round again; with this reward model it is hardly better (LOG.md).
        "rounds": 1,
        "world": {"documents": 13_000},
        "tokenizer": {"vocab_size": 1280},
        "pretrain": {
            "hidden_size": 128,
            "layers": 4,
            "heads": 4,
            "max_length": 256,
            "tokens_per_step": 2048,
            "optimizer": "muon",
            "learning_rate": 3e-3,
            "matrix_learning_rate": 0.01,
            # The world's texts go from easy to full.
            "shuffle": False,
            # Short waves and large first weights: heads that copy form several times sooner.
            "rope_theta": 100,
            "initializer_range": 0.06,
            "attention_bias": True,
        },
        "sft": {
            "epochs": 2,
            "tokens_per_step": 2048,
            "optimizer": "muon",
            "learning_rate": 1e-3,
            "matrix_learning_rate": 0.01,
        },
        "feedback": {"max_prompts": 3000, "borrowed": 1, "max_completion_length": 48},
        # Four layers cannot look a fact up and check it; the likelihood of the answer has done both.
        "reward": {
            "head": "likelihood",
            "epochs": 2,
            "learning_rate": 1e-3,
            "weight_decay": 1.0,
            "tokens_per_step": 2048,
        },
        "rl": {
            "iterations": 30,
            "prompts_per_step": 32,
            "num_generations": 4,
            "num_ppo_epochs": 1,
            "max_completion_length": 48,
            "learning_rate": 3e-4,
            "kl_coef": 0.05,
            "kl_target": 5.0,
            "kl_horizon": 2000,
        },
        "prefer": {"learning_rate": 2e-4, "tokens_per_step": 4096},
        "evaluate": {"max_completion_length": 48, "max_prompts": 1100},
    }
