"""Every named algorithm on a toy: it runs through the stage's own loop, and the reward goes up."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

import tiny
from engine.toy_rl import rollouts
from heedful.engine import terminal
from heedful.engine.algorithms import ALGORITHMS, USED, policy_terms
from heedful.engine.balance import pull
from heedful.engine.batch import microbatches, plain
from heedful.engine.stage import Stage
from heedful.nn.actor_critic import SharedTrunk
from heedful.nn.average import Average
from heedful.stages import rl


def config(folder: Path, **values: Any) -> rl.RlConfig:
    small = {"prompts_per_step": 8, "num_generations": 4, "max_completion_length": 8, "iterations": 14}
    fixed = {
        "kl_target": None,
        "kl_coef": 0.0,
        "missing_eos_penalty": 0.0,
        "learning_rate": 3e-3,
        "warmup": 0,
    }
    given = {"output": folder, "model": "m", "reward": "r", "prompts": folder / "p"}
    return rl.RlConfig(**{**given, **small, **fixed, **values})


def rewards(made: rl.RlConfig) -> tuple[list[float], list[dict[str, float]]]:
    """The mean reward of each iteration, and all metrics."""
    s = rl.settings(made)
    names = {n: getattr(s, n) for n in s.__dataclass_fields__ if n != "seed"}
    toy = rollouts(kl_coef=made.kl_coef, **{**names, "slots": 8})
    if made.critic == "shared":
        toy.model = SharedTrunk(toy.policy.model)
    texts = [plain(np.arange(4, 12))] * 4 if made.ptx else []
    taken = list(rl.steps(Stage("rl", made, {}), made, toy.model, toy, texts))
    metrics = [dict(step.metrics) for step in taken]
    per = made.num_ppo_epochs * made.num_mini_batches
    return [m["reward"] for m in metrics[per - 1 :: per]], metrics


FAST = {"trpo": {"max_kl": 0.05, "cg_iterations": 4, "line_search_steps": 4, "critic_updates": 2}}


QUICK = ("reinforce", "rloo", "trpo")


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in sorted(ALGORITHMS)]
)
def test_the_reward_goes_up(tmp_path: Path, name: str) -> None:
    more: dict[str, Any] = (
        {"ptx": tmp_path / "text", "ptx_coef": 0.1, "ptx_ratio": 0.1} if name == "ppo_ptx" else {}
    )
    found, metrics = rewards(config(tmp_path, algorithm=name, **more, **FAST.get(name, {})))
    assert len(found) == 14
    assert np.mean(found[:2]) < 0.55
    assert np.mean(found[-3:]) > 0.65
    assert {"approx_kl", "entropy", "kl", "kl_k3"} <= metrics[0].keys()
    assert ("ptx/next_token" in metrics[0]) == (name == "ppo_ptx")


@pytest.mark.slow
@pytest.mark.parametrize(
    "values",
    [
        {"critic": "shared"},
        {"kl_in": "loss", "kl_coef": 0.02, "kl_estimator": "k1"},
        {"entropy_coef": 0.01, "advantage": "monte_carlo", "baseline": "none", "whiten_advantages": "scale"},
        {"temperature": 1.2, "top_p": 0.95, "advantage": "group"},
    ],
)
def test_the_reward_goes_up_with_other_parts(tmp_path: Path, values: dict[str, Any]) -> None:
    found, _ = rewards(config(tmp_path, **values))
    assert np.mean(found[-3:]) > np.mean(found[:2]) + 0.15


def test_texts_that_drown_the_reward_are_named_with_a_coefficient_that_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(terminal, "say", said.append)
    given = {"algorithm": "ppo_ptx", "ptx": tmp_path / "text", "iterations": 1}
    rewards(config(tmp_path / "default", **given))
    assert not said
    rewards(config(tmp_path / "paper", **given, ptx_coef=27.8))
    assert "times as hard as the reward" in said[0]
    advised = float(said[0].split("ptx_coef=")[1].split()[0])
    toy = rollouts(epochs=2, minibatches=2)
    made = config(tmp_path, **given, ptx_coef=advised)
    terms = policy_terms(made, kl_coef=lambda: 0.0, step_kl_coef=lambda: 0.0)
    texts = [replace(row, stream="ptx") for row in microbatches([plain(np.arange(4, 12))] * 4, 4096)]
    batch = [*next(toy.batches(1)), *texts]
    both = [pull(toy.policy.model, batch, terms, stream) for stream in ("", "ptx")]
    assert both[0] == pytest.approx(both[1], rel=0.1)


def test_an_iteration_that_has_moved_too_far_ends_early(tmp_path: Path) -> None:
    _, all_steps = rewards(config(tmp_path / "a", num_ppo_epochs=4, iterations=3))
    made = config(tmp_path / "b", num_ppo_epochs=4, iterations=3, max_step_kl=1e-6)
    toy = rollouts(
        **{n: getattr(rl.settings(made), n) for n in rl.settings(made).__dataclass_fields__ if n != "seed"}
    )
    steps = list(rl.steps(Stage("rl", made, {}), made, toy.model, toy))
    # The first step of each iteration is at distance zero, the second is not, and it is the last.
    assert len(all_steps) == 24
    assert len(steps) == 6
    assert [s.metrics["approx_kl"] > 1e-6 for s in steps] == [False, True] * 3


def test_the_step_penalty_follows_its_target(tmp_path: Path) -> None:
    _, metrics = rewards(config(tmp_path, algorithm="ppo_kl", iterations=4, step_kl_target=1e-7))
    found = [m["step_kl_coef"] for m in metrics[::4]]
    assert found == [1.0, 2.0, 4.0, 8.0]
    _, fixed = rewards(config(tmp_path / "b", algorithm="ppo_kl", iterations=3, step_kl_target=None))
    assert {m["step_kl_coef"] for m in fixed} == {1.0}


def test_the_average_lags_behind_the_policy() -> None:
    model, mean = tiny.llama(), Average(tiny.llama(), 0.5)
    start = next(mean.policy.parameters()).clone()
    first = next(model.parameters())
    with torch.no_grad():
        first.add_(1.0)
    mean.update(model)
    assert np.allclose((next(mean.policy.parameters()) - start).detach().numpy(), 0.5, atol=1e-6)
    mean.update(model)
    assert np.allclose((next(mean.policy.parameters()) - start).detach().numpy(), 0.75, atol=1e-6)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"algorithm": "reinforce", "lam": 0.9}, "lam means nothing with advantage=monte_carlo"),
        ({"algorithm": "grpo", "step_kl_coef": 2.0}, "step_kl_coef means nothing with surrogate=ppo_clip"),
        ({"algorithm": "rloo", "clip_range": 0.1}, "clip_range means nothing with surrogate=reinforce"),
        ({"algorithm": "ppo_clip", "max_kl": 0.1}, "max_kl means nothing with surrogate=ppo_clip"),
        ({"surrogate": "reinforce"}, "num_ppo_epochs=1 and num_mini_batches=1"),
        ({"algorithm": "trpo", "critic": "shared"}, "set critic to reward or policy"),
        ({"algorithm": "ppo_ptx"}, "add ptx=FILE"),
        ({"ptx_coef": 1.0}, "ptx_coef means nothing without ptx"),
        ({"augment_ratio": 0.1}, "augment_ratio means nothing without augment"),
        ({"algorithm": "grpo", "num_generations": 1}, "num_generations to 2"),
    ],
)
def test_settings_that_mean_nothing_are_refused(tmp_path: Path, values: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        config(tmp_path, **values)


def test_what_is_set_beside_an_algorithm_holds(tmp_path: Path) -> None:
    made = config(tmp_path, algorithm="a2c", advantage="leave_one_out")
    assert (made.surrogate, made.advantage, made.lam) == ("reinforce", "leave_one_out", 0.95)
    assert config(tmp_path, algorithm="a2c").lam == 1.0
    assert config(tmp_path, algorithm="dr_grpo", scale_rewards="batch").scale_rewards == "batch"


def test_every_setting_that_belongs_to_a_choice_exists() -> None:
    for name, (choice, allowed) in USED.items():
        assert name in rl.RlConfig.model_fields
        kinds = rl.RlConfig.model_fields[choice].annotation.__args__  # type: ignore[union-attr]
        assert set(allowed) < set(kinds)
