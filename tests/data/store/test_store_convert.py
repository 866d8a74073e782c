"""Judgements to pairs and files, and back without loss."""

import json
import tempfile
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_kit import ANNOTATORS, fill

from heedful.data.store import (
    Flag,
    Judgement,
    Skip,
    Store,
    export_preferences,
    import_preferences,
    pairs,
    preferences,
)
from heedful.errors import UserError
from heedful.types import (
    Answer,
    Comparison,
    PanelComparison,
    PanelRating,
    PlanChoice,
    Preference,
    Ranking,
    Rating,
)


def orders(answers: list[str]) -> st.SearchStrategy[tuple[tuple[str, ...], ...]]:
    """Every order of the answers, ties included: a permutation, cut into places."""
    return st.builds(
        lambda order, cuts: tuple(
            tuple(order[start:stop])
            for start, stop in zip([0, *sorted(cuts)], [*sorted(cuts), len(order)], strict=True)
        ),
        st.permutations(answers),
        st.sets(st.integers(1, len(answers) - 1)),
    )


@given(st.integers(2, 9).flatmap(lambda k: orders([f"a{n}" for n in range(k)])))
def test_pairs_are_what_the_ranking_tells_apart(order: tuple[tuple[str, ...], ...]) -> None:
    place = {answer: n for n, tier in enumerate(order) for answer in tier}
    found = list(pairs([Ranking("p", "ann", order, "honest", 9.0)]))
    assert {frozenset((pair.first, pair.second)) for pair in found} == {
        frozenset(two) for two in combinations(place, 2) if place[two[0]] != place[two[1]]
    }
    assert all(place[pair.first] < place[pair.second] and pair.preference == 1 for pair in found)
    assert {(pair.annotator, pair.criterion, pair.prompt_id) for pair in found} <= {("ann", "honest", "p")}
    if len(order) == len(place):
        assert len(found) == len(place) * (len(place) - 1) // 2


SCORES = st.floats(0, 1e6)
WHO, CRITERIA = st.sampled_from(ANNOTATORS), st.sampled_from(["overall", "诚实"])


def judgements_of(prompt: str) -> st.SearchStrategy[Judgement]:
    answers = [f"{prompt}-{letter}" for letter in "abcd"]
    here, one = st.just(prompt), st.sampled_from(answers)
    return st.one_of(
        st.builds(Rating, here, one, WHO, st.integers(1, 7), CRITERIA, SCORES),
        st.builds(Ranking, here, WHO, orders(answers), CRITERIA, SCORES),
        st.builds(
            lambda two, who, preference, criterion, seconds: Comparison(
                prompt, *two[:2], who, preference, criterion, seconds
            ),
            st.permutations(answers), WHO, st.integers(-3, 3), CRITERIA, SCORES,
        ),
        st.builds(
            lambda two, who, preference, criterion, seconds: PanelComparison(
                prompt, *two[:2], who, preference, criterion, seconds
            ),
            st.permutations(answers), WHO, st.integers(-3, 3), CRITERIA, SCORES,
        ),
        st.builds(PanelRating, here, one, WHO, st.integers(1, 7), CRITERIA, SCORES),
        st.permutations(answers).flatmap(
            lambda shown: st.builds(
                PlanChoice, here, WHO, st.just(tuple(shown[:3])), st.sampled_from([None, *shown[:3]]), SCORES
            )
        ),
        st.builds(Skip, here, WHO, st.text(), SCORES),
        st.builds(Flag, here, WHO, st.sampled_from(["harmful", "spam"]), st.none() | one, st.text(), SCORES),
    )  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(["p0", "p1", "p2"]).flatmap(judgements_of), max_size=12))
def test_export_and_import_restore_every_current_judgement(given_: list[Judgement]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Store.open(folder / "one.db") as one, Store.open(folder / "two.db") as two:
            fill(one)
            one.set_qualified("bo", False, reason="2 of 9", agreement={"low": 0.1})
            one.submit_many(given_)
            exported = export_preferences(one, folder / "prefs.jsonl")
            new = import_preferences(two, folder / "prefs.jsonl")
            assert new == exported.judgements == len(list(one.judgements()))
            assert [judgement for _, judgement in two.judgements()] == [
                judgement for _, judgement in one.judgements()
            ]
            kept = [(event.id, event.round, event.server_ms) for event, _ in one.judgements()]
            assert [(event.id, event.round, event.server_ms) for event in two.events()] == kept
            touched = {event.prompt_id for event in one.events()}
            assert list(two.prompts()) == list(one.prompts(ids=sorted(touched)))
            assert list(two.answers()) == list(one.answers(prompt_ids=sorted(touched)))
            judging = {event.annotator for event in one.events()}
            assert two.annotators() == [who for who in one.annotators() if who.name in judging]
            assert import_preferences(two, folder / "prefs.jsonl") == 0
            assert import_preferences(one, folder / "prefs.jsonl") == 0


MIXED: list[Judgement] = [
    Ranking("p0", "ann", (("p0-b", "p0-a"), ("p0-d",), ("p0-c",))),
    Comparison("p1", "p1-a", "p1-b", "bo", -2, "honest"),
    Comparison("p1", "p1-a", "p1-c", "bo", 0),
    Rating("p1", "p1-a", "bo", 6),
]


def test_the_pair_file_is_a_preference_dataset_with_its_origin(store: Store, tmp_path: Path) -> None:
    store.submit_many(MIXED)
    path = tmp_path / "prefs.jsonl"
    exported = export_preferences(store, path)
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert len(rows) == exported.pairs == 6
    assert {tuple(sorted(row)) for row in rows} == {tuple(sorted(rows[0]))}
    last = rows[-1]
    assert last["prompt"] == [{"role": "user", "content": "Ask 1? 请问"}]
    assert last["chosen"] == [{"role": "assistant", "content": "b\x00\ud800 答"}]
    assert (last["chosen_id"], last["rejected_id"], last["shown_first"]) == ("p1-b", "p1-a", "rejected")
    assert (last["strength"], last["annotator"], last["criterion"], last["round"]) == (2, "bo", "honest", 0)
    assert {(row["chosen_id"], row["rejected_id"]) for row in rows[:-1]} == {
        ("p0-b", "p0-d"), ("p0-b", "p0-c"), ("p0-a", "p0-d"), ("p0-a", "p0-c"), ("p0-d", "p0-c")
    }  # fmt: skip
    first = path.read_bytes(), path.with_suffix(".context.jsonl").read_bytes()
    assert export_preferences(store, path) == exported
    assert (path.read_bytes(), path.with_suffix(".context.jsonl").read_bytes()) == first
    assert export_preferences(store, path, criterion="honest").judgements == 1


def test_preferences_are_the_pairs_with_their_texts(store: Store) -> None:
    events = store.submit_many(MIXED)
    found = list(preferences(store))
    assert len(found) == 6
    messages = next(store.prompts(ids=["p1"])).messages
    texts = {answer.id: answer.text for answer in store.answers()}
    assert found[-1] == Preference(messages, texts["p1-b"], texts["p1-a"], 2.0, str(events[1].id), "bo")
    assert [one.chosen for one in preferences(store, annotators=["ann"])] == [one.chosen for one in found[:5]]


def test_panels_and_plans_that_were_compared_are_pairs(store: Store) -> None:
    store.submit_many(
        [
            PanelComparison("p0", "p0-a", "p0-b", "ann", -2, "honest"),
            PanelComparison("p0", "p0-a", "p0-c", "ann", 0),
            PlanChoice("p1", "bo", ("p1-a", "p1-b", "p1-c"), "p1-b"),
            PlanChoice("p2", "bo", ("p2-a", "p2-b"), None),
        ]
    )
    assert [(p.chosen[0], p.rejected[0], p.strength, p.source) for p in preferences(store)] == [
        ("b", "a", 2.0, "ann"),
        ("b", "a", 1.0, "bo"),
        ("b", "c", 1.0, "bo"),
    ]


def test_a_ranking_stays_importable_after_more_answers_came(store: Store, tmp_path: Path) -> None:
    store.submit(MIXED[0])
    store.add_answers([Answer("p0-e", "p0", "late")])
    export_preferences(store, tmp_path / "prefs.jsonl")
    with Store.open(tmp_path / "new.db") as new:
        assert import_preferences(new, tmp_path / "prefs.jsonl") == 1
        assert list(new.rankings()) == [MIXED[0]]


@pytest.mark.parametrize(
    ("name", "change", "complaint"),
    [
        ("prefs.jsonl", lambda text: text.replace('"strength":2', '"strength":1'), "was changed after"),
        ("prefs.jsonl", lambda text: text[:-30], "line 6 is not JSON"),
        ("prefs.jsonl", lambda text: "[]\n" + text, "line 1 is not a JSON object"),
        ("prefs.context.jsonl", lambda text: text.replace('"format":1', '"format":9'), "export again"),
        ("prefs.context.jsonl", lambda text: text.replace('"seq":4', '"sq":4'), "does not fit together"),
        ("prefs.context.jsonl", lambda text: text.replace('"score":6', '"score":66'), "from 1"),
        ("prefs.context.jsonl", lambda text: text.replace('"record":', '"r":'), "without 'record'"),
        ("prefs.context.jsonl", lambda text: None, "side by side"),
    ],
)
def test_a_damaged_export_is_refused_and_changes_nothing(
    store: Store, tmp_path: Path, name: str, change: object, complaint: str
) -> None:
    store.submit_many(MIXED)
    export_preferences(store, tmp_path / "prefs.jsonl")
    path = tmp_path / name
    changed = change(path.read_text(encoding="utf-8"))  # type: ignore[operator]
    if changed is None:
        path.unlink()
    else:
        path.write_text(changed, encoding="utf-8")
    with Store.open(tmp_path / "new.db") as new:
        with pytest.raises(UserError, match=complaint):
            import_preferences(new, tmp_path / "prefs.jsonl")
        assert set(new.counts().values()) == {0}


def test_an_export_needs_its_folder(store: Store, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="There is no folder"):
        export_preferences(store, tmp_path / "no" / "prefs.jsonl")
