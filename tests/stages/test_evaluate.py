"""Win rates, repetition and the acceptance step."""

import math

import numpy as np
import pytest

from heedful.stages.evaluate import compare, promoted, repetition, win_rate
from heedful.types import Message, Prompt


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
