"""Long stories of the world: what is told is so, what is so can be read back, and faults are found."""

import itertools

import pytest

from heedful.panels import changes, text
from heedful.types import Lang
from heedful.world import saga, saga_judge

STORY = {lang: list(saga.saga(lang, 0, 3, 50)) for lang in ("en", "zh")}  # type: ignore[arg-type]
LANGS: list[Lang] = ["en", "zh"]


@pytest.mark.parametrize("lang", LANGS)
def test_a_true_story_has_no_contradiction_and_every_sentence_is_read(lang: Lang) -> None:
    story = STORY[lang]
    found = saga_judge.judge(story[0].state, [p.text for p in story])
    assert (found.contradictions, found.strangers, found.unread) == ((), 0, 0)
    assert found.sentences == 12 + 50 * 4


@pytest.mark.parametrize("lang", LANGS)
def test_a_passage_is_read_back_into_its_events(lang: Lang) -> None:
    for p in STORY[lang]:
        assert tuple(saga_judge.read(lang, p.text)[1:]) == p.events


@pytest.mark.parametrize("lang", LANGS)
def test_panels_follow_from_one_another_and_hold_the_plan(lang: Lang) -> None:
    story = STORY[lang]
    for now, then in itertools.pairwise(story):
        assert now.after == then.before
        assert now.after.plan == tuple(saga.line(lang, e) for e in then.events)
        assert then.after.short_memory == then.before.plan
        assert text.parse(text.render(now.after), lang) == now.after
        made, bad = changes.apply(now.before, changes.patch(now.before, now.after))
        assert (made, bad) == (now.after, [])


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("{dead} went to {place}.", "is dead"),
        ("{alive} was dead.", "is alive"),
        ("{alive} was in {closed}.", "is in"),
        ("{alive} went to {closed}.", "is closed"),
        ("{thing} was in {closed}.", "is in"),
    ],
)
def test_each_kind_of_contradiction_is_found(said: str, why: str) -> None:
    begun = STORY["en"][0].state
    alive, other = begun.alive[:2]
    state = saga.happened(begun, saga.Event("die", {"p": other}))
    spoken = said.format(
        dead=other,
        alive=alive,
        closed=state.closed,
        place=state.places[0],
        thing=next(iter(state.things)).capitalize(),
    )
    found = saga_judge.judge(state, [spoken])
    assert [why in reason for _, reason in found.contradictions] == [True]


def test_what_is_put_somewhere_is_there_from_then_on() -> None:
    state = STORY["en"][0].state
    thing = next(iter(state.things))
    there = next(place for place in state.places if place != state.things[thing])
    who = state.alive[0]
    told = f"{who} put {thing} in {there}. {thing.capitalize()} was in {there}."
    assert saga_judge.judge(state, [told]).contradictions == ()
    wrong = told.replace(f"was in {there}", f"was in {state.things[thing]}")
    assert len(saga_judge.judge(state, [wrong]).contradictions) == 1


def test_strangers_and_nonsense_are_counted_apart() -> None:
    state = STORY["en"][0].state
    stranger = next(n for n in ("Mina", "Tom", "Zoe", "Kofi", "Leo") if n not in state.people)
    known = f"{state.refrain.capitalize()} came. {state.alive[0]} went to {state.places[0]}."
    found = saga_judge.judge(state, [f"{stranger} went to {state.places[0]}. Blue is loud. {known}"])
    assert (found.contradictions, found.strangers, found.unread) == ((), 1, 1)
    assert (found.checked, found.sentences) == (1, 4)  # the refrain is not counted, nor what nobody can check
