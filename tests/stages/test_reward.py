"""The reward stage: every objective by name, on files that keep whole judgements."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from engine.toy_rl import LETTERS
from heedful.engine.process_reward import ProcessRewardModel
from heedful.engine.rewards import load_reward
from heedful.stages import reward
from heedful.types import Message, Prompt
from stages import saved

JUDGE = """
def no_i(prompts, completions, **columns):
    return [float("i" not in c) for c in completions]
"""


def verdicts(folder: Path) -> Path:
    """Three answers a prompt: with `a` before with `e` before with `i`; two tied at the end for every third prompt."""
    rows = []
    for number, (a, b) in enumerate((a, b) for a in LETTERS for b in "ab"):
        tied = number % 3 == 0
        row = {
            "prompt": f"{a} {b}",
            "answers": [f"i {b}", f"a {a} b", f"e {b} c"],
            "ranking": [1, [0, 2]] if tied else [1, 2, 0],
            "ratings": [2, 7, 2 if tied else 5],
            "source": "ann" if number % 2 else "bob",
        }
        rows.append(row)
    return saved.lines(folder / "verdicts.jsonl", rows)


def solutions(folder: Path) -> Path:
    """Steps of one letter; `i` is wrong."""
    rows = []
    for number in range(40):
        steps = [LETTERS[(number * k + k) % 9] for k in range(1, 5)]
        labels = [-1 if s == "i" else 1 for s in steps]
        rows.append(
            {"prompt": f"{LETTERS[number % 9]} {LETTERS[number // 9]}", "steps": steps, "labels": labels}
        )
    return saved.lines(folder / "solutions.jsonl", rows)


def run(folder: Path, **values: Any) -> dict[str, Any]:
    if not (folder / "policy").is_dir():
        saved.models(folder)
        verdicts(folder)
    given = {
        "output": folder / "out",
        "model": str(folder / "policy"),
        "data": folder / "verdicts.jsonl",
        "tokens_per_step": 100,
        "epochs": 6.0,
        "learning_rate": 1e-2,
        "heldout_ratio": 0.2,
        **values,
    }
    return reward.main(reward.RewardConfig(**given))


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "out" / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"objective": "bradley_terry", "margin": "small"},
        {"margin": "large", "label_smoothing": 0.05, "ties": "half"},
        {"ties": "rao_kupper"},
        {"objective": "plackett_luce"},
        {"objective": "pointwise"},
        {"lm_coef": 0.1},
        {"head": "likelihood", "lm_coef": 0.1},
    ],
    ids=lambda s: " ".join(f"{k}={v}" for k, v in s.items()) or "default",
)
def test_every_objective_learns_who_is_better(tmp_path: Path, settings: dict[str, Any]) -> None:
    result = run(tmp_path, **settings)
    assert result["heldout_accuracy"]["value"] > 0.9
    model = load_reward(tmp_path / "out" / "model")
    asked = [Prompt("", (Message("user", "c a"),))]
    good, bad = model.scores(asked, [["a c b", "i a"]])[0]
    assert good > bad + 0.5
    assert ("imitation" in rows(tmp_path)[0]) == bool(settings.get("lm_coef"))


def test_one_seed_one_model_and_another_objective_another(tmp_path: Path) -> None:
    found = []
    for name, settings in (("a", {}), ("b", {}), ("c", {"margin": "small"})):
        run(tmp_path, output=tmp_path / name, epochs=1.0, **settings)
        found.append(saved.weights(tmp_path / name / "model"))
    assert found[0] == found[1] != found[2]


def test_steps_are_learnt_from_labels(tmp_path: Path) -> None:
    solutions(tmp_path)
    settings = {"objective": "process", "data": tmp_path / "solutions.jsonl", "step_separator": " ;"}
    result = run(tmp_path, **settings, step_reduction="minimum")
    assert result["step_accuracy"]["value"] > 0.9
    assert result["solution_auc"]["value"] > 0.9
    assert "steps told right from wrong" in reward.line(result)
    model = load_reward(tmp_path / "out" / "model")
    assert isinstance(model, ProcessRewardModel)
    assert (model.separator, model.how) == (" ;", "minimum")


def test_steps_can_be_labelled_by_rollouts(tmp_path: Path) -> None:
    solutions(tmp_path)
    (tmp_path / "judge.py").write_text(JUDGE)
    settings = {
        "objective": "process",
        "data": tmp_path / "solutions.jsonl",
        "step_separator": " ;",
        "rollouts": 4,
        "judge": f"{tmp_path / 'judge.py'}:no_i",
        "max_completion_length": 4,
    }
    result = run(tmp_path, **settings, epochs=1.0)
    assert result["heldout_steps"] > 0
    labelled = [json.loads(line) for line in (tmp_path / "out" / "solutions.jsonl").read_text().splitlines()]
    for row in labelled:
        # After a wrong step no continuation is right, and the last step is the outcome.
        wrong = [i for i, step in enumerate(row["steps"]) if step == "i"]
        assert all(c == 0 for c in row["chances"][wrong[0] :]) if wrong else row["chances"][-1] == 1


def test_a_benchmark_stands_among_the_figures(tmp_path: Path) -> None:
    pair = {"prompt": "c a", "chosen": "a c b", "rejected": "i a"}
    suite = saved.lines(tmp_path / "suite.jsonl", [{**pair, "subset": "easy"}, {**pair, "subset": "same"}])
    found = run(tmp_path, benchmark=suite)["benchmark"]
    assert {name: f["value"] for name, f in found["by_subset"].items()} == {"easy": 1.0, "same": 1.0}


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"objective": "pointwise", "margin": "small"}, "margin means nothing with objective=pointwise"),
        ({"objective": "process", "lm_coef": 0.1}, "lm_coef means nothing with objective=process"),
        ({"neutral": "negative"}, "neutral means nothing with objective=listwise"),
        ({"ties": "rao_kupper", "label_smoothing": 0.1}, "has a margin of its own"),
        ({"objective": "process", "rollouts": 4}, "rollouts and judge go together"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(
    tmp_path: Path, settings: dict[str, Any], sentence: str
) -> None:
    given = {"output": tmp_path, "model": "m", "data": tmp_path / "d.jsonl", **settings}
    with pytest.raises(ValidationError, match=sentence):
        reward.RewardConfig(**given)
