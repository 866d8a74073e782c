"""The rl stage with and without a critic."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from heedful.errors import UserError
from heedful.nn import hub
from heedful.stages import rl
from stages import saved

GROUP: dict[str, Any] = {"advantage": "group", "kl_coef": 0.0, "kl_target": None}


def config(folder: Path, name: str = "out", **values: Any) -> rl.RlConfig:
    model, reward = folder / "policy", folder / "reward"
    if not model.is_dir():
        saved.models(folder)
        saved.prompts(folder)
    small = {"iterations": 3, "prompts_per_step": 4, "num_generations": 3, "max_completion_length": 6}
    return rl.RlConfig(
        **{
            "output": folder / name,
            "model": str(model),
            "reward": str(reward),
            "prompts": folder / "prompts.jsonl",
            "save_every": 0.0,
            **small,
            **values,
        }
    )


def rows(config: rl.RlConfig) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (config.output / "metrics.jsonl").read_text().splitlines()]


def test_without_a_critic_none_is_loaded_trained_or_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = config(tmp_path, **GROUP)
    before = saved.weights(tmp_path / "policy")

    def no_critic(*args: Any) -> Any:
        raise AssertionError("a critic was made")

    monkeypatch.setattr(rl, "critic", no_critic)
    result = rl.main(chosen)
    assert not (chosen.output / "critic").exists()
    assert saved.weights(chosen.output / "model") != before
    assert {"frac_reward_zero_std", "kl", "sampling/logp_gap"} <= result.keys()
    assert not {"value_explained", "value_clip"} & set(rows(chosen)[0])
    assert rl.line(result).startswith("36 episodes")


@pytest.mark.parametrize(
    "settings",
    [
        GROUP,
        {"advantage": "gae"},
        {**GROUP, "kl_coef": 0.1, "kl_target": 1.0, "kl_in": "loss"},
        {**GROUP, "ema": 0.7},
    ],
)
def test_killed_and_started_again_is_never_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]
) -> None:
    whole, broken = config(tmp_path, "whole", **settings), config(tmp_path, "broken", **settings)
    rl.main(whole)
    schedule = rl.schedule

    def dies(*args: Any, **kwargs: Any) -> Any:
        factor = schedule(*args, **kwargs)

        def at(step: int) -> float:
            if step == 6:
                raise KeyboardInterrupt
            return factor(step)

        return at

    with monkeypatch.context() as patch:
        patch.setattr(rl, "schedule", dies)
        with pytest.raises(KeyboardInterrupt):
            rl.main(broken)
    assert (broken.output / "checkpoint-4").is_dir()
    rl.main(broken)
    assert saved.weights(broken.output / "model") == saved.weights(whole.output / "model")
    without_time = [[{**row, "seconds": 0} for row in rows(c)] for c in (whole, broken)]
    assert without_time[0] == without_time[1]


def test_what_is_written_is_the_average_over_the_start_and_all_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By hand, from the weights after each step: mean <- 0.9 mean + 0.1 weights."""
    chosen = config(tmp_path, **GROUP, ema=0.9)
    mean = parameters(hub.load_model(tmp_path / "policy"))
    steps, after = rl.steps, []

    def seen(stage: Any, made: Any, model: Any, *rest: Any) -> Any:
        for step in steps(stage, made, model, *rest):
            after.append(parameters(model))
            yield step

    monkeypatch.setattr(rl, "steps", seen)
    rl.main(chosen)
    assert len(after) == 12
    for weights in after:
        mean = {name: 0.9 * mean[name] + 0.1 * weights[name] for name in mean}
    torch.testing.assert_close(parameters(hub.load_model(chosen.output / "model")), mean)
    assert max(float((after[-1][name] - mean[name]).abs().max()) for name in mean) > 1e-4


def parameters(model: Any) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def test_the_kl_term_is_in_the_objective_and_needs_every_answer(tmp_path: Path) -> None:
    with_term = config(tmp_path, **{**GROUP, "kl_coef": 0.5}, kl_in="loss", kl_estimator="k3")
    assert not rl.settings(with_term).skip_zero_advantages
    assert rl.settings(config(tmp_path, **GROUP)).skip_zero_advantages
    assert not rl.settings(config(tmp_path)).skip_zero_advantages
    rl.main(with_term)
    assert all(row["k3"] >= 0 for row in rows(with_term))
    assert max(row["k3"] for row in rows(with_term)) > 0


def test_a_critic_is_written_with_its_policy(tmp_path: Path) -> None:
    chosen = config(tmp_path, iterations=1, reduction="sequence")
    rl.main(chosen)
    assert hub.load_scorer(chosen.output / "critic").config.num_labels == 1


@pytest.mark.parametrize("more", [{**GROUP, "kl_coef": 0.1}, {"algorithm": "trpo", "critic": "policy"}])
def test_the_reference_of_a_new_adapter_is_what_lies_below_it(tmp_path: Path, more: dict[str, Any]) -> None:
    """Before the first step an adapter changes nothing; after it, distances are those from a copy of the start."""
    pytest.importorskip("peft", reason="adapters need peft: pip install 'heedful[lora]'")
    whole, small = (config(tmp_path, name, lora_r=r, **more) for name, r in (("whole", 0), ("small", 4)))
    rl.main(whole)
    result = rl.main(small)
    firsts = [rows(c)[0] for c in (whole, small)]
    assert firsts[0]["reward"] == pytest.approx(firsts[1]["reward"], abs=1e-4)
    assert abs(firsts[1]["kl"]) < 1e-4
    assert rows(small)[-1]["kl"] != pytest.approx(0, abs=1e-4)
    assert (small.output / "model" / "adapter_model.safetensors").is_file()
    # A second stage goes on with the adapter; its reference is where it starts.
    further = rl.main(config(tmp_path, "further", lora_r=4, **more, model=str(small.output / "model")))
    assert abs(rows(config(tmp_path, "further", lora_r=4, **more))[0]["kl"]) < 1e-4
    assert result["episodes"] == further["episodes"]


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"advantage": "group", "num_generations": 1}, "num_generations to 2"),
        ({"advantage": "group", "lam": 0.9}, "lam means nothing with advantage=group"),
        ({"advantage": "group", "vf_coef": 1.0}, "vf_coef means nothing"),
        ({"scale_rewards": "none"}, "scale_rewards means nothing with advantage=gae"),
        ({"advantage": "rloo"}, "'gae', 'monte_carlo'"),
    ],
)
def test_settings_that_would_be_ignored_are_refused(tmp_path: Path, values: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        config(tmp_path, **values)


def test_several_rewards_are_learnt_from_and_logged_by_themselves(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "def short(prompts, completions, **columns):\n    return [-float(len(c)) for c in completions]\n"
    )
    (tmp_path / "rewards.yaml").write_text(
        f"rewards:\n  - {{name: model, from: {tmp_path / 'reward'}}}\n"
        f"  - {{name: short, from: '{tmp_path / 'mine.py'}:short', weight: 0.5}}\n"
        "shaping:\n  - {name: again, from: repetition, weight: -1, n: 1}\n"
    )
    found = config(tmp_path, reward=str(tmp_path / "rewards.yaml"))
    rl.main(found)
    for row in rows(found):
        parts = {name: row[f"rewards/{name}/mean"] for name in ("model", "short", "again", "missing_eos")}
        total = parts["model"] + 0.5 * parts["short"] + parts["again"] + parts["missing_eos"]
        assert row["reward"] == pytest.approx(total, abs=1e-4)
        assert parts["short"] < 0
    # The critic starts from the one model among the rewards.
    assert (found.output / "critic").is_dir()


def test_step_rewards_need_a_model_of_steps(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="needs a process reward model"):
        rl.main(config(tmp_path, step_rewards=True))
