"""A round of feedback judged by a model: a reward model, another model that is asked, or the policy itself."""

from pathlib import Path
from typing import Any

import pytest

from heedful.data.formats import read_preferences
from heedful.engine.reward_model import RewardModel
from heedful.errors import UserError
from heedful.stages import feedback
from heedful.types import Prompt
from stages import saved


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    saved.models(tmp_path)
    saved.prompts(tmp_path)
    (tmp_path / "mine.yaml").write_text(
        "choices: [a, b]\ncompare: '{conversation} {first} {second}'\nprinciples: [{compare: c}]\n"
    )
    return tmp_path


def collected(folder: Path, name: str, judge: str, **values: Any) -> dict[str, Any]:
    config = feedback.FeedbackConfig(
        output=folder / name,
        model=str(folder / "policy"),
        prompts=folder / "prompts.jsonl",
        store=str(folder / f"{name}.db"),
        judge=judge,
        max_completion_length=6,
        answers_per_prompt=3,
        **values,
    )
    return feedback.main(config)


def test_a_reward_model_orders_the_answers_of_a_round(folder: Path) -> None:
    found = collected(folder, "r", f"reward:{folder / 'reward'}")
    model = RewardModel.load(folder / "reward")
    chosen = read_preferences(folder / "r" / "preferences.jsonl")
    assert found["pairs"] == len(chosen) > 18
    for p in chosen:
        ((better, worse),) = model.scores([Prompt("", p.messages)], [[p.chosen, p.rejected]])
        assert better > worse


@pytest.mark.parametrize("judge", ["self", "ai"])
def test_a_model_judges_answers_by_which_it_finds_better(folder: Path, judge: str) -> None:
    name = judge if judge == "self" else f"ai:{folder / 'policy'}"
    found = collected(folder, judge, name, principles=folder / "mine.yaml")
    assert found["rankings"] == found["prompts"]
    again = collected(folder, judge, name, principles=folder / "mine.yaml")
    assert again == found
    other = collected(folder, "other", "self", principles=folder / "mine.yaml")
    first, second = (read_preferences(folder / n / "preferences.jsonl") for n in (judge, "other"))
    assert [(p.chosen, p.rejected) for p in first] == [(p.chosen, p.rejected) for p in second]
    assert other["pairs"] == found["pairs"]


def test_another_judge_makes_it_another_round(folder: Path) -> None:
    collected(folder, "x", f"reward:{folder / 'reward'}")
    (folder / "reward" / "config.json").write_text("{}")
    with pytest.raises(UserError):
        collected(folder, "x", f"reward:{folder / 'reward'}")
