"""The judge of panel answers, by hand and through the feedback stage's files."""

import pytest

from heedful.errors import UserError
from heedful.panels import requests
from heedful.panels.exchange import Step
from heedful.tasks import panels
from heedful.tasks.judge import find_judge
from heedful.types import Message, Prompt
from heedful.world import saga


@pytest.mark.parametrize(
    ("true", "answer", "total"),
    [
        ("a\nb", "a\nb", 1.0),
        ("a\nb", "b\na", 1.0),
        ("a\nb", "a\nc", 0.5),
        ("a\nb", "a", 2 / 3),
        ("a", "a\na", 2 / 3),
        ("", "", 1.0),
        ("", "a", 0.0),
        ("a", "", 0.0),
    ],
)
def test_grades_by_hand(true: str, answer: str, total: float) -> None:
    assert panels.graded(true, answer)["total"] == pytest.approx(total)


def test_the_true_patch_is_best_and_another_storys_worse() -> None:
    steps = [
        Step(str(n), i, p.text, p.before, p.after)
        for n in (0, 1)
        for i, p in enumerate(saga.saga("en", 0, n, 3))
    ]
    asked = panels.prompts(steps)
    true = [requests.patch_of(s.before.without("plan"), s.after) for s in steps]
    judge = find_judge("panel")
    assert [g["total"] for g in judge(asked, true)] == [1.0] * len(steps)
    assert max(g["total"] for g in judge(asked, true[4:] + true[:4])) < 0.5
    assert all("plan" not in p.messages[0].content.split("\n")[0] for p in asked)


def test_prompts_without_the_truth_are_refused() -> None:
    with pytest.raises(UserError, match="true_lines"):
        panels.judge([Prompt("a", (Message("user", "x"),))], ["y"])
