"""Who answers panel requests: a server is held to a JSON schema where it takes one, a judge chooses among plans."""

import json
import re
from collections.abc import Sequence
from typing import Any

import pytest

from engine.panel_kit import STEPS, policy
from heedful.engine import plan_choice
from heedful.engine.endpoint import Refused
from heedful.engine.panel_author import Author
from heedful.engine.sampler import Answered, Asked
from heedful.engine.sampling import Sampling
from heedful.panels import desk, grammar, requests
from heedful.panels import text as panel_text
from heedful.panels.desk import Ask
from heedful.types import Prompt

ASK = Ask("update", requests.update(STEPS[1].before, STEPS[1].passage), grammar.patch("en"))
LINES = ["lately Mina sings", "person Mina: glad"]


class Server:
    """Answers with the schema's JSON, or refuses every schema."""

    def __init__(self, takes_schemas: bool) -> None:
        self.takes_schemas, self.grammars = takes_schemas, list[str]()

    def answer(
        self, prompts: Sequence[Asked], how: Sampling, *, seed: Sequence[Any], n: int = 1, slots: int = 64
    ) -> list[Answered]:
        self.grammars.append(how.grammar)
        if how.grammar and not self.takes_schemas:
            raise Refused("the server refused with HTTP 400: no response_format")
        said = json.dumps({"lines": LINES}) if how.grammar else "\n".join(LINES)
        return [Answered((), (), (said,) * n) for _ in prompts]


@pytest.mark.parametrize("takes_schemas", [True, False])
def test_a_server_answers_in_lines_whether_it_takes_schemas_or_not(takes_schemas: bool) -> None:
    server = Server(takes_schemas)
    who = Author(server, len, None, explained=True, constrained="schema")
    how: dict[str, Any] = {"temperature": 0, "max_completion_length": 60, "seed": (0,)}
    for _ in range(2):
        assert who.answer([ASK], **how) == [("\n".join(LINES),)]
    schema = grammar.patch("en").schema
    assert server.grammars == ([schema] * 2 if takes_schemas else [schema, "", ""])
    with pytest.raises(Refused):
        Author(Refuses(), len, None, explained=True, constrained="schema").answer([ASK], **how)


class Refuses:
    def answer(self, *_: Any, **__: Any) -> list[Answered]:
        raise Refused("no such model")


def test_what_the_schema_lets_through_are_lines_of_the_form() -> None:
    pytest.importorskip("llguidance")
    form = grammar.Form(r"(lately|plan) [a-z]{1,6}", 1, 3)
    asked = [Prompt(str(i), requests.plan(s.after)) for i, s in enumerate(STEPS[:3])]
    found = policy().answer(asked, Sampling(200, 1.0, grammar=form.schema), seed=(4,), n=3, slots=4)
    for answered in found:
        for sample, answer in zip(answered.samples, answered.texts, strict=True):
            assert sample.finished
            lines = grammar.lines_of(answer).split("\n")
            assert 1 <= len(lines) <= 3
            assert all(re.fullmatch(form.line, line) for line in lines)


@pytest.mark.parametrize(
    "answer", ["plan Mina goes home", '{"lines": "no list"}', '{"lines": [1]}', "[1]", "{" * 100_000, ""]
)
def test_an_answer_in_no_schema_stays_as_it_is(answer: str) -> None:
    assert grammar.lines_of(answer) == answer


def test_lines_from_json_cannot_smuggle_in_others() -> None:
    said = json.dumps({"lines": ["plan a\nperson Mina: dead", "plan  b"]})
    assert grammar.lines_of(said) == "plan a person Mina: dead\nplan b"


def test_every_line_of_a_true_patch_fits_the_form() -> None:
    form = grammar.patch("en")
    for step in STEPS:
        for line in requests.patch_of(step.before, step.after).split("\n"):
            assert not line or re.fullmatch(form.line, line)


def test_the_plan_with_the_highest_total_is_taken_and_the_first_of_equals() -> None:
    stories = [desk.begin("a", STEPS[1].before), desk.begin("b", STEPS[2].before)]
    candidates = [[("x",), ("long plan", "of two")], [("same",), ("even",)]]

    def judge(prompts: Sequence[Prompt], answers: Sequence[str]) -> list[dict[str, float]]:
        assert [p.id for p in prompts] == ["0", "0", "1", "1"]
        assert prompts[0].messages == requests.plan(STEPS[1].before)
        assert answers[1] == "plan long plan\nplan of two"
        return [{"total": float(len(a))} for a in answers]

    assert plan_choice.by(judge)(stories, candidates) == [("long plan", "of two"), ("same",)]
    assert plan_choice.find("first", model="")(stories, candidates) == [("x",), ("same",)]


def test_by_rule_the_dead_do_not_act() -> None:
    story = desk.begin(
        "a", panel_text.parse("person Tom: dead\nperson Mina: in the mill\nplace the cave: closed")
    )
    plans = [("Tom sings",), ("Mina goes to the cave",), ("Mina sings", "see Tom"), ("Mina sleeps",)]
    assert plan_choice.find("rule", model="")([story], [plans]) == [plans[2]]
    assert plan_choice.inputs("rule") == {}
    assert plan_choice.inputs("ai:judge") == {"judge.model": "judge"}
