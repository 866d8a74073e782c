"""Replies: each question's payload becomes the judgements it stands for, and nothing else gets in."""

from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from people_kit import claimed, fill

from heedful.data.store import Flag, Store
from heedful.errors import UserError
from heedful.people import BatchSettings, NewTask, Queue, Reply
from heedful.people.chance import shuffled
from heedful.people.replies import FlagMark
from heedful.people.translate import Sheet, translate
from heedful.types import (
    Comment,
    Comparison,
    Demonstration,
    Edit,
    PanelComparison,
    PanelRating,
    PlanChoice,
    Ranking,
    Rating,
    StepAlternative,
    StepLabels,
)

TEXTS = {"x": "one\n\ntwo\nthree", "y": "other", "z": "third"}


def said(question: str, reply: dict[str, Any], shown: tuple[str, ...] = ("y", "x"), **more: Any) -> list[Any]:
    batch = BatchSettings(question, criteria=("overall", "honest"), **more)  # type: ignore[arg-type]
    return translate(Sheet(batch, "p", shown, TEXTS), Reply.parse(reply), "ada", 9.0)


def test_each_question_says_what_it_stands_for() -> None:
    assert said("rank", {"order": [[1], [0]], "ratings": {"honest": [None, 7]}}) == [
        Ranking("p", "ada", (("x",), ("y",)), "overall", 9.0, ("y", "x")),
        Rating("p", "x", "ada", 7, "honest"),
    ]
    assert said("compare", {"choices": {"honest": 0, "overall": -3}, "comment": "hm"}) == [
        Comparison("p", "y", "x", "ada", -3, "overall", 9.0),
        Comparison("p", "y", "x", "ada", 0, "honest"),
        Comment("p", "ada", "hm"),
    ]
    other = {"step": 1, "text": "zwei", "rating": 1, "chosen": True}
    assert said(
        "steps", {"steps": [1, -1], "finish_reason": "found_error", "alternatives": [other]}, ("x",)
    ) == [
        StepLabels(
            "p",
            "x",
            "ada",
            ("one", "two"),
            (1, -1),
            "found_error",
            (StepAlternative(1, "zwei", 1, True, True),),
            9.0,
        )
    ]
    assert said("demonstrate", {"text": "Hi."}, ()) == [Demonstration("p", "ada", "Hi.", seconds=9.0)]
    flagged = {"text": "Better.", "flags": [{"label": "harmful", "answer": 0}]}
    assert said("edit", flagged, ("y",)) == [
        Edit("p", "ada", "y", "Better.", seconds=9.0),
        Flag("p", "ada", "harmful", "y"),
    ]
    assert said("panel", {"ratings": {"overall": [2]}}, ("y",)) == [
        PanelRating("p", "y", "ada", 2, "overall", 9.0)
    ]
    assert said("panel_pair", {"choices": {"overall": 1}}) == [
        PanelComparison("p", "y", "x", "ada", 1, "overall", 9.0)
    ]
    assert said("plan", {"plan": 1}, ("y", "x", "z")) == [PlanChoice("p", "ada", ("y", "x", "z"), "x", 9.0)]
    assert said("plan", {"plan": None}) == [PlanChoice("p", "ada", ("y", "x"), None, 9.0)]


@pytest.mark.parametrize(
    ("question", "reply", "sentence"),
    [
        ("rank", {"order": [[0]]}, "must place each of the 2 answers once"),
        ("rank", {"order": [[0, 1], [1]]}, "must place each"),
        ("rank", {"order": [[0], [5]]}, "names answer 5"),
        ("rank", {"order": [[0], [1]], "ratings": {"overall": [1]}}, "must hold 2 marks"),
        ("rank", {"order": [[0], [1]], "ratings": {"nice": [1, 1]}}, "criterion 'nice'"),
        ("rank", {"order": [[0], [1]], "text": "x"}, "has no 'text'"),
        ("compare", {"choices": {"honest": 1}}, "must hold the criterion overall"),
        ("compare", {"choices": {"overall": True}}, "whole numbers"),
        ("compare", {}, "must hold the criterion"),
        ("steps", {"steps": [], "finish_reason": "solution"}, "must hold 1 to 1 labels"),
        ("edit", {"text": " other "}, "is the original"),
        ("plan", {"plan": 9}, "names answer 9"),
        ("compare", {"choices": {"overall": 1}, "flags": [{"label": "rude"}]}, "label 'rude'"),
        ("compare", {"choices": {"overall": 1}, "flags": [{"answer": 0}]}, "lacks one of label"),
    ],
)
def test_what_a_reply_may_not_say(question: str, reply: dict[str, Any], sentence: str) -> None:
    shown = ("y",) if question in ("steps", "edit") else ("y", "x")
    with pytest.raises(UserError, match=sentence):
        said(question, reply, shown)


def test_a_reply_is_read_back_as_it_was_written() -> None:
    one = Reply(
        ratings={"a": (1, None)},
        order=((0, 1),),
        choices={"a": -2},
        plan=0,
        flags=(FlagMark("x", 1),),
        comment="c",
    )
    assert Reply.parse(one.json()) == one
    assert Reply().json() == {}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
fields = st.sampled_from(
    ["ratings", "order", "choices", "steps", "text", "plan", "flags", "comment", "alternatives"]
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(fields, json_values, max_size=4) | json_values)
def test_any_json_is_a_reply_or_one_sentence(value: Any) -> None:
    try:
        reply = Reply.parse(value)
    except UserError:
        return
    assert Reply.parse(reply.json()) == reply


@pytest.fixture(scope="module")
def queue(tmp_path_factory: pytest.TempPathFactory) -> Queue:
    store = Store.open(tmp_path_factory.mktemp("fuzz") / "s.db")
    fill(store)
    return Queue(store)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(4)), cut=st.integers(0, 3), number=st.integers(0, 5))
def test_whatever_is_shown_a_ranking_comes_back_in_the_stored_order(
    queue: Queue, order: list[int], cut: int, number: int
) -> None:
    name = f"b{uuid4()}"
    answers = tuple(f"p{number}a{j}" for j in range(4))
    queue.create_batch(name, "b", BatchSettings("rank", seed=number), [NewTask(f"p{number}", answers)])
    found = queue.claim("ada", name)
    tiers = [t for t in (tuple(order[:cut]), tuple(order[cut:])) if t]
    queue.submit("ada", found.task, Reply(order=tuple(tiers)), uuid=uuid4(), version=0)  # type: ignore[union-attr]
    (said_,) = queue.replies(found.task)  # type: ignore[union-attr]
    placed = [{answers[position] for position in tier} for tier in said_.reply["order"]]
    by_text = [{found.answers[position].text for position in tier} for tier in tiers]  # type: ignore[union-attr]
    texts = {a.id: a.text for a in queue._store.answers()}
    assert [{texts[a] for a in tier} for tier in placed] == by_text


def test_an_order_is_drawn_from_names_alone() -> None:
    orders = {tuple(shuffled(4, 0, "shown", "task", name)) for name in "abcdefghijklmnop"}
    assert len(orders) > 8
    assert shuffled(4, 0, "shown", "task", "a") == shuffled(4, 0, "shown", "task", "a")


def test_what_annotators_write_is_an_answer_that_others_may_judge(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s.db") as store:
        fill(store)
        queue = Queue(store)
        queue.create_batch("e", "e", BatchSettings("edit"), [NewTask("p0", ("p0a0",))])
        found = claimed(queue, "ada")
        queue.submit("ada", found.task, Reply(text="New."), uuid=uuid4(), version=0)
        (edit,) = store.edits()
        store.submit(Rating("p0", edit.answer_id, "bo", 6))
        written = next(a for a in store.answers() if a.id == edit.answer_id)
        assert (written.text, written.policy) == ("New.", "edit")
        # A full ranking need not place it: it was not there when the round began.
        store.submit(Ranking("p0", "bo", tuple((f"p0a{j}",) for j in range(4))))
