"""What the store accepts, what supersedes what, and what comes back."""

from collections.abc import Callable
from dataclasses import replace
from uuid import UUID, uuid4

import pytest
from sqlalchemy.exc import DBAPIError
from store_kit import ANSWERS, PROMPTS

from heedful.data.store import Annotator, Flag, Judgement, Skip, Store, event_id, schema
from heedful.data.store.records import Event
from heedful.errors import UserError
from heedful.types import Answer, Comparison, Message, Prompt, Ranking, Rating

RANKED = (("p0-b",), ("p0-d", "p0-a"), ("p0-c",))
JUDGEMENTS: list[Judgement] = [
    Rating("p0", "p0-a", "ann", 7, "helpful", 3.25),
    Ranking("p0", "李", RANKED, "overall", 61.0),
    Comparison("p1", "p1-d", "p1-a", "bo", -3, "honest", 0.5),
    Comparison("p1", "p1-b", "p1-a", "bo", 0),
    Skip("p2", "ann", "I do not know \x00 this 事"),
    Flag("p2", "ann", "harmful", "p2-a", "look at\nthis"),
    Flag("p2", "ann", "personal data"),
]


def test_what_was_added_comes_back_equal_and_in_order(store: Store) -> None:
    assert tuple(store.prompts()) == PROMPTS
    assert tuple(store.answers()) == ANSWERS
    assert list(store.answers(prompt_ids=["p2"])) == list(ANSWERS[8:])
    assert list(store.prompts(ids=["p2", "p0"])) == [PROMPTS[0], PROMPTS[2]]


def test_judgements_come_back_equal(store: Store) -> None:
    events = store.submit_many(JUDGEMENTS)
    assert list(store.judgements()) == list(zip(events, JUDGEMENTS, strict=True))
    assert [*store.ratings(), *store.rankings()] == JUDGEMENTS[:2]
    assert [*store.comparisons(), *store.skips(), *store.flags()] == JUDGEMENTS[2:]
    assert list(store.events(after=5)) == events[5:]
    counts = store.counts()
    assert {kind: counts[kind] for kind in ("rating", "ranking", "comparison", "skip", "flag")} == {
        "rating": 1, "ranking": 1, "comparison": 2, "skip": 1, "flag": 2
    }  # fmt: skip


def test_events_have_the_fields_of_their_table() -> None:
    assert [column.name for column in schema.events.columns] == list(Event.__slots__)


@pytest.mark.parametrize(
    ("judgement", "complaint"),
    [
        (Rating("p0", "p0-a", "ann", 0), "from 1"),
        (Rating("p0", "p0-a", "ann", 8), "from 1"),
        (Rating("p0", "p0-a", "ann", 3.5), "whole number"),  # type: ignore[arg-type]
        (Rating("p0", "p0-a", "ann", True), "whole number"),
        (Rating("p9", "p0-a", "ann", 3), "no prompt p9"),
        (Rating("p0", "p1-a", "ann", 3), "p1-a is not an answer to prompt p0"),
        (Rating("p0", "p0-a", "nobody", 3), "no annotator 'nobody'"),
        (Rating("p0", "p0-a", "ann", 3, ""), "criterion"),
        (Rating("p0", "p0-a", "ann", 3, "x" * 201), "criterion"),
        (Rating("p0", "p0-a", "ann", 3, seconds=-1.0), "seconds"),
        (Rating("p0", "p0-a", "ann", 3, seconds=float("nan")), "seconds"),
        (Ranking("p0", "ann", ()), "empty place"),
        (Ranking("p0", "ann", (("p0-a",), ())), "empty place"),
        (Ranking("p0", "ann", RANKED[:2]), "lacks answer p0-c: list all 4"),
        (Ranking("p0", "ann", (*RANKED, ("p0-b",))), "lists answer p0-b twice"),
        (Ranking("p0", "ann", (*RANKED, ("p1-b",))), "p1-b is not an answer"),
        (Comparison("p0", "p0-a", "p0-b", "ann", 4), "from -3 to 3"),
        (Comparison("p0", "p0-a", "p0-a", "ann", 1), "two different"),
        (Comparison("p0", "p0-a", "p0-z", "ann", 1), "p0-z is not an answer"),
        (Flag("p0", "ann", ""), "label"),
        (Flag("p0", "ann", "harmful", "p1-a"), "p1-a is not an answer"),
        (Skip("p9", "ann", "no idea"), "no prompt p9"),
    ],
)
def test_a_wrong_judgement_is_refused_and_nothing_of_its_batch_is_kept(
    store: Store, judgement: Judgement, complaint: str
) -> None:
    with pytest.raises(UserError, match=complaint):
        store.submit_many([JUDGEMENTS[0], judgement, JUDGEMENTS[1]])
    assert store.counts()["events"] == 0


def test_the_same_uuid_returns_the_first_event_whatever_came_between(store: Store) -> None:
    uuid = uuid4()
    first = store.submit(Rating("p0", "p0-a", "ann", 2), uuid=uuid, client_ms=17)
    store.submit(Rating("p0", "p0-a", "ann", 6))
    assert store.submit(Rating("p0", "p0-a", "ann", 2, seconds=9.0), uuid=uuid, client_ms=99) == first
    assert [rating.score for rating in store.ratings()] == [6]


def test_one_uuid_cannot_say_two_things(store: Store) -> None:
    event = store.submit(Rating("p0", "p0-a", "ann", 2))
    with pytest.raises(UserError, match="already says something else"):
        store.submit(Rating("p0", "p0-a", "ann", 3), uuid=event.id)
    twice = uuid4()
    with pytest.raises(UserError, match="already says something else"):
        store.submit_many([Rating("p0", "p0-b", "ann", n) for n in (1, 2)], uuids=[twice, twice])
    with pytest.raises(UserError, match="2 judgements but 1 UUIDs"):
        store.submit_many([JUDGEMENTS[0], JUDGEMENTS[1]], uuids=[twice])
    assert list(store.events()) == [event]


@pytest.mark.parametrize(
    ("first", "second", "left"),
    [
        (Rating("p0", "p0-a", "ann", 1), Rating("p0", "p0-a", "ann", 5), 1),
        (Rating("p0", "p0-a", "ann", 1), Rating("p0", "p0-b", "ann", 5), 2),
        (Rating("p0", "p0-a", "ann", 1), Rating("p0", "p0-a", "ann", 5, "honest"), 2),
        (Rating("p0", "p0-a", "ann", 1), Rating("p0", "p0-a", "bo", 5), 2),
        (Comparison("p0", "p0-a", "p0-b", "ann", 1), Comparison("p0", "p0-b", "p0-a", "ann", 3), 1),
        (Comparison("p0", "p0-a", "p0-b", "ann", 1), Comparison("p0", "p0-c", "p0-a", "ann", 3), 2),
        (Ranking("p0", "ann", RANKED), Ranking("p0", "ann", RANKED[::-1]), 1),
        (Skip("p0", "ann", "tired"), Skip("p0", "ann", "too long"), 1),
        (Flag("p0", "ann", "harmful"), Flag("p0", "ann", "harmful", "p0-a"), 2),
        (Skip("p0", "ann", "tired"), Rating("p0", "p0-a", "ann", 1), 2),
    ],
)
def test_a_later_judgement_supersedes_the_same_annotators_on_the_same_question(
    store: Store, first: Judgement, second: Judgement, left: int
) -> None:
    store.submit(first)
    store.submit(second)
    assert [judgement for _, judgement in store.judgements()] == [first, second][-left:]
    assert store.counts()["events"] == 2


def test_undo_brings_back_what_was_superseded(store: Store) -> None:
    old, new = (store.submit(Rating("p0", "p0-a", "ann", score)) for score in (2, 6))
    uuid = uuid4()
    undone = store.undo(new.id, "ann", uuid=uuid)
    assert store.undo(new.id, "ann", uuid=uuid) == undone
    assert [rating.score for rating in store.ratings()] == [2]
    store.undo(old.id, "ann")
    assert list(store.ratings()) == []
    assert [event.kind for event in store.events()] == ["rating", "rating", "undo", "undo"]
    store.submit(Rating("p0", "p0-a", "ann", 4))
    assert [rating.score for rating in store.ratings()] == [4]


def test_undo_is_for_ones_own_standing_judgements(store: Store) -> None:
    event = store.submit(Rating("p0", "p0-a", "ann", 2))
    other = store.submit(Rating("p0", "p0-b", "ann", 2))
    with pytest.raises(UserError, match="bo has no judgement"):
        store.undo(event.id, "bo")
    with pytest.raises(UserError, match="has no judgement"):
        store.undo(uuid4(), "ann")
    undone = store.undo(event.id, "ann")
    with pytest.raises(UserError, match="already undone"):
        store.undo(event.id, "ann")
    with pytest.raises(UserError, match="cannot be undone"):
        store.undo(undone.id, "ann")
    with pytest.raises(UserError, match="already says something else"):
        store.undo(other.id, "ann", uuid=undone.id)
    assert store.counts()["events"] == 3


@pytest.mark.parametrize("change", ["UPDATE events SET seconds = 0", "DELETE FROM events"])
def test_the_journal_refuses_change(store: Store, change: str) -> None:
    event = store.submit(JUDGEMENTS[0])
    with pytest.raises((UserError, DBAPIError), match="append-only"), store.writing() as connection:
        connection.exec_driver_sql(change)
    assert list(store.events()) == [event]


def test_each_round_is_ranked_by_itself(store: Store) -> None:
    store.submit(Ranking("p0", "ann", RANKED))
    assert store.add_prompts(PROMPTS, round=1) == 0
    store.add_answers([Answer(f"p0-r1-{letter}", "p0", letter, "rl") for letter in "ab"], round=1)
    second = Ranking("p0", "ann", (("p0-r1-b",), ("p0-r1-a",)))
    assert store.submit(second).round == 1
    with pytest.raises(UserError, match="mixes rounds"):
        store.submit(Ranking("p0", "ann", (("p0-r1-b",), ("p0-a",))))
    across = store.submit(Comparison("p0", "p0-a", "p0-r1-a", "bo", -1))
    assert across.round == 1
    assert list(store.rankings()) == [Ranking("p0", "ann", RANKED), second]
    assert list(store.rankings(round=1)) == [second]
    assert [answer.policy for answer in store.answers(round=1)] == ["rl", "rl"]
    assert list(store.prompts(round=1)) == []


def test_filters_narrow_the_choice(store: Store) -> None:
    store.submit_many(
        Rating("p0", f"p0-{letter}", name, 4, criterion)
        for letter in "ab"
        for name in ("ann", "bo")
        for criterion in ("helpful", "honest")
    )
    assert len(list(store.ratings(criterion="honest"))) == 4
    assert {rating.annotator for rating in store.ratings(annotators=["bo"])} == {"bo"}
    assert list(store.ratings(qualified=True)) == []
    store.set_qualified("bo", True, reason="9 of 10", agreement={"value": 0.9})
    store.set_qualified("ann", False, reason="3 of 10")
    assert {rating.annotator for rating in store.ratings(qualified=True)} == {"bo"}
    assert store.counts(qualified=True, criterion="helpful")["rating"] == 2
    assert list(store.ratings(prompt_id="p1")) == []
    assert store.annotators()[:2] == [
        Annotator("ann", "simulated", False, "3 of 10"),
        Annotator("bo", "simulated", True, "9 of 10", {"value": 0.9}),
    ]
    assert store.add_annotators([Annotator("bo", "simulated")]) == 0
    assert store.annotators()[1].qualified is True


def test_adding_again_adds_nothing(store: Store) -> None:
    assert store.add_prompts([*PROMPTS, replace(PROMPTS[0], id="new"), replace(PROMPTS[0], id="new")]) == 1
    assert store.add_answers(ANSWERS) == 0
    assert [prompt.id for prompt in store.prompts()] == ["p0", "p1", "p2", "new"]


@pytest.mark.parametrize(
    ("add", "complaint"),
    [
        (
            lambda s: s.add_prompts([replace(PROMPTS[0], messages=(Message("user", "other"),))]),
            "another messages",
        ),
        (lambda s: s.add_prompts([Prompt("n", (), columns={"x": float("nan")})]), "plain JSON"),
        (lambda s: s.add_prompts([Prompt("n", (), columns={"x": {1, 2}})]), "plain JSON"),
        (lambda s: s.add_prompts([Prompt("", ())]), "prompt's id"),
        (lambda s: s.add_prompts([Prompt("a\x00", ())]), "prompt's id"),
        (lambda s: s.add_answers([replace(ANSWERS[0], text="other")]), "another text"),
        (lambda s: s.add_answers(ANSWERS[:1], round=1), "another round"),
        (lambda s: s.add_answers([Answer("n", "p9", "x")]), "no prompt p9"),
        (lambda s: s.add_answers([Answer("n", "p0", "x")], sampling={"f": object()}), "plain JSON"),
        (lambda s: s.add_annotators([Annotator("ann", "person")]), "another kind"),
        (lambda s: s.add_annotators([Annotator("cat", "cat")]), "use one of person"),
        (lambda s: s.set_qualified("nobody", True, reason=""), "no annotator 'nobody'"),
    ],
)
def test_what_contradicts_the_store_is_refused(
    store: Store, add: Callable[[Store], object], complaint: str
) -> None:
    before = store.counts()
    with pytest.raises(UserError, match=complaint):
        add(store)
    assert store.counts() == before


def test_event_ids_depend_on_every_part() -> None:
    assert event_id("a", 1) == event_id("a", 1) == UUID("8bb1d02f-e5b2-5ce4-b3fe-30225c64bc5b")
    assert len({event_id("ab", "c"), event_id("a", "bc"), event_id("a", "b", "c"), event_id("abc")}) == 4
