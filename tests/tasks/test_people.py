"""Who judges: the world's annotators, a user's function, and the gold items that qualify them."""

from pathlib import Path

import pytest

from heedful import World
from heedful.errors import UserError
from heedful.tasks.judge import find_judge
from heedful.tasks.people import FunctionAnnotator, gold_items, people
from heedful.types import Answer, Message, Prompt
from heedful.world import grade

PROMPT = Prompt("p", (Message("user", "Say hello."),), columns={"wanted": "hello"})
ANSWERS = [Answer("a", "p", "hello"), Answer("b", "p", "good morning to you"), Answer("c", "p", "hallo")]


def test_a_function_orders_answers_with_ties(tmp_path: Path) -> None:
    file = tmp_path / "judge.py"
    file.write_text(
        "def short(prompts, completions, wanted):\n    return [-float(len(c)) for c in completions]\n"
    )
    (annotator,) = people(f"{file}:short", 8, seed=0)
    assert isinstance(annotator, FunctionAnnotator)
    assert annotator.rank(PROMPT, ANSWERS).order == (("a", "c"), ("b",))
    assert annotator.compare(PROMPT, ANSWERS[1], ANSWERS[0]).preference == -1
    assert annotator.compare(PROMPT, ANSWERS[0], ANSWERS[2]).preference == 0


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("moon", "none of 'world', 'panel', 'honesty:TABLE' and 'file.py:function'"),
        ("absent.py:f", "judge file 'absent.py' does not exist"),
    ],
)
def test_a_judge_that_is_not_there(name: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        find_judge(name)


def test_a_judge_that_returns_too_few_numbers(tmp_path: Path) -> None:
    (tmp_path / "judge.py").write_text("def bad(prompts, completions, **columns):\n    return [1.0]\n")
    judge = find_judge(f"{tmp_path / 'judge.py'}:bad")
    with pytest.raises(UserError, match="returned 1 numbers for 3 answers"):
        judge([PROMPT] * 3, [a.text for a in ANSWERS])
    with pytest.raises(UserError, match="has no function 'other'"):
        find_judge(f"{tmp_path / 'judge.py'}:other")


def test_gold_items_are_clear_cut_and_favour_no_side() -> None:
    items = gold_items(World(0).prompts(200), 40, gap=0.4, seed=0)
    assert len(items) == 40
    for item in items:
        gap = grade(item.prompt, item.first.text).total - grade(item.prompt, item.second.text).total
        assert abs(gap) >= 0.4
        assert (gap > 0) == (item.gold.preference > 0)
    assert sum(i.gold.preference > 0 for i in items) == 20
