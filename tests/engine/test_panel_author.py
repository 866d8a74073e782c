"""Who answers panel requests: a server is held to a JSON schema where it takes one, a judge chooses among plans."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from engine.api_server import Api, serving
from engine.panel_kit import STEPS, TOKENIZER, Scripted, author, policy
from heedful.data import chat
from heedful.engine import plan_choice
from heedful.engine.endpoint import Endpoint, Refused
from heedful.engine.grammar import Constraints
from heedful.engine.panel_author import Author, frame_length
from heedful.engine.sampler import Answered, Asked, TokenPrompt
from heedful.engine.sampler_server import ServerSampler
from heedful.engine.sampling import Sampling
from heedful.errors import UserError
from heedful.panels import desk, grammar, requests
from heedful.panels import text as panel_text
from heedful.panels.desk import Ask
from heedful.panels.grammar import Form
from heedful.panels.panel import Panel
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


def test_requests_of_one_form_are_answered_together_and_in_their_order() -> None:
    server = Server(True)
    who = Author(server, len, None, explained=True, constrained="schema")
    plan = Ask("plan", requests.plan(STEPS[1].before), grammar.plan("en"))
    found = who.answer([ASK, plan, ASK], temperature=0, max_completion_length=60, seed=(0,))
    assert found == [("\n".join(LINES),)] * 3
    assert server.grammars == [ASK.form.schema, plan.form.schema]  # type: ignore[union-attr]


def test_only_what_has_a_fault_is_drawn_again_and_the_best_is_kept() -> None:
    def reply(prompt: Prompt, seed: Sequence[Any], number: int) -> str:
        return "x" * (3 - number) if "again" in seed else f"{'xx' if prompt.id == '1' else ''}"

    who = author(reply)
    how: dict[str, Any] = {"temperature": 0.0, "max_completion_length": 9, "seed": (0,)}

    def faults(number: int, text: str) -> int:
        return text.count("x")

    assert who.kept([ASK, ASK], faults, drafts=3, **how) == ["", "xx"]  # 3 and 2 faults: the first stays
    assert isinstance(who.sampler, Scripted)
    assert len(who.sampler.asked) == 3
    assert who.kept([ASK, ASK], faults, drafts=4, **how) == ["", "x"]


def test_a_request_that_the_context_does_not_hold_is_said() -> None:
    who = Author(policy(), len, 40, explained=False, constrained="")
    how: dict[str, Any] = {"temperature": 0.0, "max_completion_length": 4, "seed": (0,)}
    size = frame_length(who, ASK)
    with pytest.raises(
        UserError, match=f"a request has {size} tokens, but the model's context holds 40: lower"
    ):
        who.answer([ASK], **how)
    who.context = size + 1
    assert who.answer([ASK], **how)


@pytest.mark.parametrize("tells", [True, False])
def test_what_a_server_took_is_its_own_count_or_an_estimate_of_every_answer(tells: bool) -> None:
    usage = {"usage": {"prompt_tokens": 50, "completion_tokens": 6}}

    def reply(api: Api, number: int, body: dict[str, Any]) -> None:
        api.reply({"choices": [{"message": {"content": "abc"}}], **(usage if tells or number == 0 else {})})

    how: dict[str, Any] = {"temperature": 0, "max_completion_length": 60, "seed": (0,)}
    with serving(reply) as (url, _):
        who = Author(ServerSampler(Endpoint(url), "m"), len, None, explained=False, constrained="")
        who.answer([replace(ASK, n=3)], **how)
    size = sum(len(m.content) for m in ASK.messages)
    assert who.spent == {
        "requests": 3,
        "prompt_tokens": 150 if tells else 3 * size,
        "completion_tokens": 18 if tells else 9,
    }


def test_a_server_writes_piece_by_piece() -> None:
    events = [
        {"choices": [{"delta": {"role": "assistant"}}]},
        {"choices": [{"delta": {"content": "Mina \x1b"}}]},
        {"choices": [{"delta": {"content": "sang."}}]},
        {"choices": [{"delta": {}, "finish_reason": "stop"}]},
        {"choices": [], "usage": {"prompt_tokens": 50}},
    ]
    data = b": hello\n" + b"".join(b"data: " + json.dumps(e).encode() + b"\n\n" for e in events)
    how: dict[str, Any] = {"temperature": 0, "max_completion_length": 60, "seed": (0,)}
    with serving(lambda api, *_: api.reply(data + b"data: [DONE]\n\n")) as (url, seen):
        who = Author(ServerSampler(Endpoint(url), "m"), len, None, explained=False, constrained="schema")
        assert list(filter(None, who.pieces(ASK, **how))) == ["Mina ", "sang."]
    assert seen[0][2]["stream"] is True
    assert who.spent["completion_tokens"] == len("Mina sang.")


def test_an_answer_goes_on_from_how_it_has_begun() -> None:
    who = Author(policy(), len, None, explained=False, constrained="")
    how: dict[str, Any] = {"temperature": 0.0, "max_completion_length": 12, "seed": (0,)}
    ((text,),) = who.answer([Ask("write", ASK.messages, begun="Mina sang. ")], **how)
    (as_prompt,) = who.sampler.answer(
        [
            TokenPrompt(
                "0",
                (
                    *chat.render_prompt(TOKENIZER, ASK.messages),
                    *TOKENIZER.encode("Mina sang.", add_special_tokens=False),
                ),
            )
        ],
        Sampling(12, 0.0),
        seed=(0,),
    )
    assert text == "Mina sang. " + as_prompt.texts[0]


CAST = panel_text.parse(
    "person Mina: in the mill\nperson Tom: dead\nplace the cave/hut: closed\n"
    "thing the kite: in the barn\nplan Mina sings"
)


@pytest.mark.parametrize("notation", ["lark", "schema"])
@pytest.mark.parametrize(
    ("form", "line", "fits"),
    [
        (grammar.closed_plan(CAST), "plan Mina goes to the orchard", True),
        (grammar.closed_plan(CAST), "plan then Mina's kite, these t th", True),
        (grammar.closed_plan(CAST), "plan see the kite", True),
        (grammar.closed_plan(CAST), "plan see the cave/hut", True),
        (grammar.closed_plan(CAST), "plan see Zoe", False),
        (grammar.closed_plan(CAST), "plan Mina puts the pot in the barn", False),
        (grammar.closed_plan(CAST), "plan introduce Zoe", True),
        (grammar.closed_patch(CAST, "Mina put the kite there."), "thing the kite: in the mill", True),
        (grammar.closed_patch(CAST, "Mina put the kite there."), "drop thing the kite", True),
        (grammar.closed_patch(CAST, "Mina put the kite there."), "lately Zoe sings", True),
        (grammar.closed_patch(CAST, "Mina put the kite there."), "person Tom: in the mill", False),
        (grammar.closed_patch(CAST, "Mina put the kite there."), "thing the pot: in the mill", False),
        (
            grammar.closed_patch(CAST.with_field("plan", ("introduce Zoe",)), "Zoe came."),
            "person Zoe: glad",
            True,
        ),
        (grammar.closed_patch(Panel(), "Zoe came."), "person Zoe: glad", True),
        (grammar.closed_plan(Panel()), "plan Zoe comes", True),
    ],
)
def test_a_closed_cast(form: Form, line: str, fits: bool, notation: str) -> None:
    pytest.importorskip("llguidance")
    said = json.dumps({"lines": [line]}, separators=(",", ":")) if notation == "schema" else line
    constraint = Constraints(TOKENIZER, (TOKENIZER.eos_token_id,)).of(getattr(form, notation))
    for token in [*TOKENIZER.encode(said, add_special_tokens=False), TOKENIZER.eos_token_id]:
        if not constraint.allowed(len(TOKENIZER))[token]:
            assert not fits, f"{said} is refused"
            return
        constraint.take(token)
    assert fits, f"{said} is let through"


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
    plans = [
        ("Mina dies", "Mina sings"),
        ("Tom sings",),
        ("Mina goes to the cave",),
        ("Mina sings", "see Tom"),
        ("Mina sleeps",),
    ]
    assert plan_choice.find("rule", model="")([story], [plans]) == [plans[3]]
    assert plan_choice.inputs("rule") == {}
    assert plan_choice.inputs("ai:judge") == {"judge.model": "judge"}
