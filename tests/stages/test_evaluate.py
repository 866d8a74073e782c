"""Win rates, repetition and the acceptance step."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tiny
from heedful.data import chat
from heedful.data.formats import read_preferences
from heedful.engine.reward_model import RewardModel
from heedful.errors import UserError
from heedful.nn import hub
from heedful.report import figures
from heedful.report.run import StageRun
from heedful.stages import evaluate
from heedful.stages.evaluate import compare, promoted, repetition, win_rate
from heedful.types import Message, Prompt
from stages import saved


def test_ties_count_half_and_are_shown() -> None:
    found = win_rate(np.asarray([1.0, 1.0, 1.0, -1.0, 0.0, 1e-12]))
    assert found["value"] == pytest.approx(4 / 6)
    assert found["ties"] == pytest.approx(2 / 6)
    assert found["low"] < found["value"] < found["high"]


def test_repetition_is_the_share_of_repeated_4_grams() -> None:
    assert repetition([1, 2, 3, 4, 5, 6]) == 0
    assert repetition([1, 2] * 4) == pytest.approx(1 - 2 / 5)
    assert repetition([1, 2]) == 0


def test_win_rates_per_task_and_criteria_that_do_not_apply() -> None:
    prompts = [Prompt(str(i), (Message("user", "?"),), task) for i, task in enumerate("aabb")]
    new = {"judge/total": [1.0, 1.0, 0.0, 0.0], "judge/correct": [1.0, 0.0, math.nan, math.nan]}
    old = {"judge/total": [0.0, 0.0, 1.0, 0.0], "judge/correct": [0.0, 0.0, math.nan, math.nan]}
    found = compare(prompts, new, old)
    assert found["win_rate/judge/total"]["value"] == pytest.approx(2.5 / 4)
    assert found["win_rate/judge/total/a"]["value"] == 1.0
    assert found["win_rate/judge/total/b"]["value"] == pytest.approx(0.25)
    assert found["judge/correct"]["value"] == pytest.approx(0.5)
    assert found["judge/correct"]["n"] == 2
    assert "win_rate/judge/total" not in compare(prompts, old, old)


def figure(value: float, low: float) -> dict[str, dict[str, dict[str, float]]]:
    return {"sampled": {"win_rate/judge/total": {"value": value, "low": low}}}


def test_only_the_measurably_better_is_promoted() -> None:
    sft: dict[str, dict[str, dict[str, float]]] = {"sampled": {}}
    assert promoted({"sft": sft, "rl": figure(0.53, 0.49)}, "sft") == "sft"
    assert promoted({"sft": sft, "rl": figure(0.6, 0.55), "prefer": figure(0.7, 0.66)}, "sft") == "prefer"
    by_reward = {"sampled": {"win_rate/reward": {"value": 0.6, "low": 0.58}}}
    assert promoted({"sft": sft, "rl": by_reward}, "sft") == "rl"


def test_an_existing_reward_model_is_measured_on_a_benchmark_without_any_policy(tmp_path: Path) -> None:
    saved.models(tmp_path)
    asked = [("a b", "a", "i", "Math"), ("b c", "i i", "b", "Math"), ("c d", "d", "a a", "Focus")]
    rows = [{"prompt": p, "chosen": [c], "rejected": [r, "h"], "subset": s} for p, c, r, s in asked]
    given = {"benchmark": saved.lines(tmp_path / "bench.jsonl", rows), "reward": str(tmp_path / "reward")}
    result = evaluate.main(evaluate.EvaluateConfig(output=tmp_path / "out", **given))
    prompts = [Prompt("", (Message("user", p),)) for p, *_ in asked]
    scores = RewardModel.load(tmp_path / "reward").scores(prompts, [[c, r, "h"] for _, c, r, _ in asked])
    right = [first > max(others) for first, *others in scores]
    found = result["benchmark"]
    assert found["accuracy"]["value"] == pytest.approx(np.mean(right))
    assert {name: f["n"] for name, f in found["by_subset"].items()} == {"Math": 2, "Focus": 1}
    assert found["by_subset"]["Math"]["value"] == pytest.approx(np.mean(right[:2]))
    assert evaluate.line(result) == f"the reward is right on {np.mean(right):.1%} of 3 benchmark items"
    known = figures.of_stages({"evaluate": StageRun("evaluate", tmp_path, {}, result, ())})
    assert known["reward/benchmark/Focus"]["value"] == float(right[2])


def test_a_policy_sides_with_the_judgements_whose_chosen_answer_it_has_made_likelier(tmp_path: Path) -> None:
    """By transformers alone, an answer at a time: log pi - log ref of the chosen against the rejected."""
    saved.models(tmp_path)
    judgements, prompts = saved.preferences(tmp_path), saved.prompts(tmp_path)
    tokenizer = hub.load_tokenizer(tmp_path / "policy")
    other = tiny.model(hub.read_config(tmp_path / "policy"), seed=9)
    hub.save_model(tmp_path / "other", other, tokenizer)
    config = evaluate.EvaluateConfig(
        output=tmp_path / "out",
        models={"sft": str(tmp_path / "policy"), "rl": str(tmp_path / "other")},
        prompts=prompts,
        judgements=judgements,
        max_completion_length=4,
        max_prompts=4,
    )
    figures_of = evaluate.main(config)["figures"]

    models = {name: hub.load_model(tmp_path / name) for name in ("other", "policy")}

    def logp(name: str, messages: Any, text: str) -> float:
        prompt = chat.render_prompt(tokenizer, messages)
        ids = torch.tensor([[*prompt, *chat.answer_ids(tokenizer, text)]])
        with torch.no_grad():
            table = models[name](ids).logits[0, :-1].log_softmax(-1).gather(-1, ids[0, 1:, None])
        return float(table[len(prompt) - 1 :].sum())

    told = read_preferences(judgements)
    right = [
        sum(
            sign * (logp("other", p.messages, text) - logp("policy", p.messages, text))
            for sign, text in ((1, p.chosen), (-1, p.rejected))
        )
        > 0
        for p in told
    ]
    found = figures_of["rl"]["heldout_agreement"]
    assert 0 < sum(right) < len(right)
    assert (found["value"], found["n"]) == (pytest.approx(np.mean(right)), len(told))
    assert found["low"] < found["value"] < found["high"]
    assert "heldout_agreement" not in figures_of["sft"]


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({}, "there is nothing to evaluate"),
        ({"reward": "r"}, "there is nothing to evaluate"),
        ({"models": {"sft": "m"}}, "models answer prompts"),
        ({"prompts": "p", "benchmark": "b", "reward": "r"}, "models answer prompts"),
        ({"benchmark": "b"}, "add reward=DIR"),
    ],
)
def test_what_cannot_be_measured_is_refused(tmp_path: Path, values: dict[str, Any], why: str) -> None:
    with pytest.raises(UserError, match=why):
        evaluate.main(evaluate.EvaluateConfig(output=tmp_path, **values))
