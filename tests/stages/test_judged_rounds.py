"""A round of feedback judged by a model: a reward model, another model that is asked, or the policy itself."""

import re
from pathlib import Path
from typing import Any

import pytest

from engine import critic_server
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
    how = {"principles": folder / "mine.yaml", "anyway": True}
    found = collected(folder, judge, name, **how)
    assert found["rankings"] == found["prompts"]
    again = collected(folder, judge, name, **how)
    assert again == found
    other = collected(folder, "other", "self", **how)
    first, second = (read_preferences(folder / n / "preferences.jsonl") for n in (judge, "other"))
    assert [(p.chosen, p.rejected) for p in first] == [(p.chosen, p.rejected) for p in second]
    assert other["pairs"] == found["pairs"]


def choices(folder: Path, *, shorter: bool) -> Path:
    """What people chose: always the shorter answer, or always the longer one."""
    rows = [{"prompt": f"{a} b", "chosen": "a", "rejected": "a b c"} for a in "abcdefghi"]
    if not shorter:
        rows = [{**row, "chosen": row["rejected"], "rejected": row["chosen"]} for row in rows]
    return saved.lines(folder / f"people-{shorter}.jsonl", rows)


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_a_model_behind_a_server_judges_a_round_in_its_language(folder: Path, lang: str) -> None:
    people = choices(folder, shorter=True)
    with critic_server.serving() as (url, seen):
        found = collected(folder, "s", f"ai:{url}#critic", lang=lang, people=people, max_prompts=6)
    chosen = read_preferences(folder / "s" / "preferences.jsonl")
    assert found["pairs"] == len(chosen) > 6
    assert all(len(p.chosen) < len(p.rejected) for p in chosen)
    assert (found["agreement"]["value"], found["agreement"]["n"]) == (1.0, 9)
    assert "agrees with people in 100.0%" in feedback.line(found)
    questions = [body["messages"][0]["content"] for _, _, body in seen]
    assert all(bool(re.search("[\u4e00-\u9fff]", q)) == (lang == "zh") for q in questions)


def test_a_judge_that_people_disagree_with_or_were_not_asked_about_judges_no_round(folder: Path) -> None:
    with critic_server.serving() as (url, _):
        name = f"ai:{url}#critic"
        with pytest.raises(UserError, match="nobody knows yet"):
            collected(folder, "s", name)
        others = choices(folder, shorter=False)
        with pytest.raises(UserError, match=r"agrees with people in 0\.0% .* less than least_agreement=0\.6"):
            collected(folder, "s", name, people=others)
        assert not (folder / "s.db").exists()
        assert (
            collected(folder, "s", name, people=others, anyway=True, max_prompts=2)["agreement"]["value"]
            == 0.0
        )
        with pytest.raises(UserError, match=f"write {url}#NAME"):
            collected(folder, "t", f"ai:{url}", anyway=True)
    with pytest.raises(UserError, match="nobody knows yet"):
        collected(folder, "t", "self", principles=folder / "mine.yaml")


def test_another_judge_makes_it_another_round(folder: Path) -> None:
    collected(folder, "x", f"reward:{folder / 'reward'}")
    (folder / "reward" / "config.json").write_text("{}")
    with pytest.raises(UserError):
        collected(folder, "x", f"reward:{folder / 'reward'}")
