"""Each rule fires on one side of its threshold and not on the other."""

from typing import Any

import fake_run
import numpy as np
import pytest

from heedful.report import cautions, figures
from heedful.report.run import StageRun


def fired(change: dict[str, dict[str, Any]] | None = None, **reward: Any) -> list[tuple[str, str]]:
    """The rules that fire on an evaluation with some figures changed, each with its policy."""
    results = {
        "evaluate": fake_run.evaluation(change=change),
        "reward": fake_run.reward_result() | reward,
    }
    stages = {name: StageRun(name, None, {}, result, ()) for name, result in results.items()}  # type: ignore[arg-type]
    found = cautions.find(figures.of_stages(stages), figures.outcome(stages))
    return [(c.rule, c.values.get("policy", "")) for c in found]


def value(number: float) -> dict[str, Any]:
    return fake_run.mean(number, 0.01)


def test_a_good_run_has_no_warnings() -> None:
    assert fired() == []


@pytest.mark.parametrize(
    ("key", "quiet", "loud", "rule"),
    [
        ("stopped", 0.95, 0.949, "stop"),
        ("kl", 20.0, 20.1, "kl"),
        ("length", 21.4 * 1.5, 21.4 * 1.51, "longer"),
        ("length", 21.4 * 0.5, 21.4 * 0.49, "shorter"),
        ("repetition", 0.024, 0.025, "repetition"),
    ],
)
def test_thresholds(key: str, quiet: float, loud: float, rule: str) -> None:
    assert fired({"rl": {key: value(quiet)}}) == []
    assert fired({"rl": {key: value(loud)}}) == [(rule, "rl")]


def test_repetition_that_nobody_would_notice_is_no_warning() -> None:
    rare = {"sft": {"repetition": value(0.001)}, "prefer": {"repetition": value(0.001)}}
    assert fired(rare | {"rl": {"repetition": value(0.009)}}) == []
    assert fired(rare | {"rl": {"repetition": value(0.011)}}) == [("repetition", "rl")]


def test_a_reward_model_behind_the_annotators_on_the_same_pairs() -> None:
    assert fired(accuracy_on_the_same_pairs=fake_run.share(0.712, 900)) == []
    assert fired(accuracy_on_the_same_pairs=fake_run.share(0.709, 900)) == [("accuracy", "")]
    assert fired(accuracy_on_the_same_pairs=None, heldout_accuracy=fake_run.share(0.7, 900)) == [
        ("accuracy", "")
    ]


def test_gold_falls_while_the_reward_model_sees_a_gain() -> None:
    falls = {"win_rate/judge/total": fake_run.share(0.49, 1100) | {"ties": 0.2}}
    assert fired({"rl": falls}) == [("overoptimised", "rl")]
    doubtful = {"win_rate/reward": fake_run.share(0.51, 1100) | {"ties": 0.0}}
    assert fired({"rl": falls | doubtful}) == []


def test_a_task_below_the_baseline_beyond_and_within_chance() -> None:
    def task(rate: float) -> dict[str, Any]:
        return {"prefer": {"win_rate/judge/total/question": fake_run.share(rate, 220) | {"ties": 0.1}}}

    assert fired(task(0.5)) == []
    assert fired(task(0.49)) == [("task_by_chance", "prefer")]
    assert fired(task(0.40)) == [("task_below", "prefer")]


def test_more_than_a_third_of_ties() -> None:
    def ties(share: float) -> dict[str, Any]:
        return {"rl": {"win_rate/judge/total": fake_run.share(0.7, 1100) | {"ties": share}}}

    assert fired(ties(0.33)) == []
    assert fired(ties(0.34)) == [("ties", "rl")]


def entropies(first: float, last: float) -> list[tuple[str, str]]:
    """The rules that fire where RL's entropy went from `first` to `last`."""
    rows = tuple({"step": i, "entropy": first if i < 6 else last} for i in range(12))
    stages = {"rl": StageRun("rl", None, {}, {}, rows)}  # type: ignore[arg-type]
    return [(c.rule, c.values["last"]) for c in cautions.find(figures.of_stages(stages), None)]


def test_a_policy_that_has_stopped_choosing() -> None:
    assert entropies(1.0, 0.21) == []
    assert [rule for rule, _ in entropies(1.0, 0.19)] == ["collapse"]


def test_chosen_answers_that_became_less_likely() -> None:
    def fired_at(drift: float) -> list[tuple[str, str]]:
        stages = {"prefer": StageRun("prefer", None, {}, {"chosen_drift": drift}, ())}  # type: ignore[arg-type]
        return [(c.rule, c.values["fall"]) for c in cautions.find(figures.of_stages(stages), None)]

    assert fired_at(-1.0) == fired_at(2.0) == []
    assert [rule for rule, _ in fired_at(-1.1)] == ["unlikely"]


def test_without_a_judge_held_out_judgements_speak() -> None:
    def fired_by(agreement: float, proxy: float = 0.8, judge: str | None = None) -> list[str]:
        result = fake_run.evaluation(judge=judge)
        parts = result["figures"]["rl"]
        parts["heldout_agreement"] = fake_run.share(agreement, 5000)
        parts["sampled"]["win_rate/reward"] = fake_run.share(proxy, 1100) | {"ties": 0.0}
        stages = {"evaluate": StageRun("evaluate", None, {}, result, ())}  # type: ignore[arg-type]
        found = cautions.find(figures.of_stages(stages), figures.outcome(stages))
        return [c.rule for c in found if c.values.get("policy") == "rl"]

    assert fired_by(0.51) == ["unheeded"]  # [0.496, 0.524]
    assert fired_by(0.48) == ["unheeded"]
    assert fired_by(0.53) == []
    assert fired_by(0.51, proxy=0.52) == []  # the reward model sees no gain beyond chance
    assert fired_by(0.51, judge="world") == []  # the judge has its own rules


def test_without_a_judge_the_next_rounds_reward_model_looks_back() -> None:
    def round_of(policy: str, rate: float, judge: str | None = None) -> tuple[Any, Any]:
        result = fake_run.evaluation(judge=judge)
        sampled = result["figures"].setdefault(policy, {}).setdefault("sampled", {})
        sampled["win_rate/reward"] = fake_run.share(rate, 1100) | {"ties": 0.0}
        stages = {"evaluate": StageRun("evaluate", None, {}, result, ())}  # type: ignore[arg-type]
        return figures.of_stages(stages), figures.outcome(stages)

    def fired_after(first: float, second: float, judge: str | None = None) -> list[str]:
        (earlier, before), (now, outcome) = round_of("rl", first), round_of("before", second, judge)
        return [c.rule for c in cautions.in_hindsight(now, earlier, outcome, before)]

    assert fired_after(0.8, 0.49) == ["hindsight"]
    assert fired_after(0.8, 0.51) == []
    assert fired_after(0.51, 0.49) == []  # it was not promoted beyond chance
    assert fired_after(0.8, 0.49, judge="world") == []  # the judge has its own rules
    assert cautions.in_hindsight({}, {}, round_of("before", 0.4)[1], None) == []


def peaked(marks: Any, rewards: Any) -> list[dict[str, str]]:
    """What is said of RL with these marks of a judge and these rewards, an iteration each of two steps."""
    rows = tuple(
        {"step": 2 * i + k, "reward": float(r), "kl": float(i), "judge/mean": float(m)}
        for i, (m, r) in enumerate(zip(marks, rewards, strict=True))
        for k in range(2)
    )
    stages = {"rl": StageRun("rl", None, {}, {}, rows)}  # type: ignore[arg-type]
    return [dict(c.values) for c in cautions.find(figures.of_stages(stages), None) if c.rule == "peaked"]


def test_marks_that_rise_and_fall_while_the_reward_goes_on() -> None:
    place, noise = np.arange(40) / 39, 0.02 * np.random.default_rng(0).normal(size=40)
    hill, climb = 0.7 + 0.3 * np.sin(np.pi * place) + noise, place
    (found,) = peaked(hill, climb)
    assert 16 <= int(found["iteration"]) <= 25
    assert found["best"] == "1.00"
    assert peaked(0.7 + 0.3 * place + noise, climb) == []  # still rising
    assert peaked(hill, -climb) == []  # the reward falls too
    assert peaked(hill[:19], climb[:19]) == []  # too short to say


def test_marks_without_a_course_are_hardly_ever_taken_for_a_fall() -> None:
    draw = np.random.default_rng(1)
    false = sum(bool(peaked(draw.normal(size=30), np.arange(30))) for _ in range(200))
    assert false <= 10


def test_a_round_that_pleases_the_reward_model_and_not_the_judge() -> None:
    def round_of(gold: float, proxy: float) -> tuple[Any, Any]:
        change = {
            "rl": {
                "win_rate/judge/total": fake_run.share(gold, 1100) | {"ties": 0.2},
                "win_rate/reward": fake_run.share(proxy, 1100) | {"ties": 0.0},
            }
        }
        stages = {"evaluate": StageRun("evaluate", None, {}, fake_run.evaluation(change=change), ())}  # type: ignore[arg-type]
        return figures.of_stages(stages), figures.outcome(stages)

    before, _ = round_of(0.75, 0.80)

    def fired_since(gold: float, proxy: float) -> list[tuple[str, str]]:
        now, outcome = round_of(gold, proxy)
        return [(c.rule, c.values["policy"]) for c in cautions.since(now, before, outcome)]

    assert fired_since(0.65, 0.85) == [("fell", "rl")]
    assert fired_since(0.74, 0.85) == []  # within chance
    assert fired_since(0.65, 0.75) == []  # the reward model sees it too
    assert cautions.since(before, {}, round_of(0.75, 0.80)[1]) == []
