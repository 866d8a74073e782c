"""Judgements of conversations: without personal data, reviewed before they are learnt from, each once, forgotten."""

from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from heedful.data.store import wild
from heedful.data.store.convert import preferences
from heedful.data.store.records import Annotator
from heedful.data.store.store import Store
from heedful.data.store.wild import Said, WildJudgement
from heedful.errors import UserError
from heedful.people import backup
from heedful.stages import feedback
from heedful.types import Message

ASKED = (Message("user", "I am ada@mail.org: name a river"),)


def judgement(n: int, person: str = "ada", value: int = 2) -> WildJudgement:
    answers = (Said("The Nile, 13812345678", "new", {"temperature": 1.0}), Said(f"No. {n}", "old", {}))
    return WildJudgement(UUID(int=n), person, "comparison", ASKED, answers, value, created_ms=n)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store.open(tmp_path / "feedback.db")
    made.add_annotators([Annotator("ada"), Annotator("bo")])
    return made


def test_what_is_stored_holds_no_personal_data_and_each_judgement_once(store: Store) -> None:
    wild.put(store, judgement(1))
    wild.put(store, replace(judgement(1), value=-3))
    (found,) = wild.listed(store)
    assert found.messages == (Message("user", "I am [email]: name a river"),)
    assert [a.text for a in found.answers] == ["The Nile, [phone]", "No. 1"]
    assert (found.value, found.state, found.answers[0].sampling) == (2, "new", {"temperature": 1.0})


def test_only_what_was_accepted_is_taken_each_by_one_round(store: Store) -> None:
    for n in range(1, 5):
        wild.put(store, judgement(n, value=-1 if n == 2 else 2))
    assert wild.take(store, 1) == []
    assert store.counts()["events"] == 0
    wild.review(store, UUID(int=1), "accepted", "rita")
    wild.review(store, UUID(int=2), "accepted", "rita")
    wild.review(store, UUID(int=3), "refused", "rita")
    first = wild.take(store, 1)
    assert [e.kind for e in first] == ["comparison"] * 2
    assert wild.take(store, 1) == first
    assert wild.take(store, 2) == []
    wild.review(store, UUID(int=4), "accepted", "rita")
    assert len(wild.take(store, 2)) == 1
    assert wild.take(store, 1) == first
    (prompt,) = store.prompts()
    assert (prompt.task, prompt.columns) == ("chat", {"in_the_wild": True})
    assert {a.policy for a in store.answers()} == {"new", "old"}
    chosen = {(p.chosen, p.rejected) for p in preferences(store)}
    assert ("The Nile, [phone]", "No. 1") in chosen
    assert ("No. 2", "The Nile, [phone]") in chosen
    with pytest.raises(UserError, match="Round 1 has learnt"):
        wild.review(store, UUID(int=1), "refused", "rita")


def test_a_person_is_forgotten_before_and_after_training(store: Store) -> None:
    for n, person in ((1, "ada"), (2, "ada"), (3, "bo")):
        wild.put(store, replace(judgement(n, person), messages=(Message("user", f"{person} asks {n}"),)))
        if n != 2:
            wild.review(store, UUID(int=n), "accepted", "rita")
    wild.take(store, 1)
    assert wild.forget(store, "ada") == 2
    backup.forget_annotator(store, "ada")
    assert [j.person for j in wild.listed(store)] == ["bo"]
    assert {m.content for p in store.prompts() for m in p.messages} == {wild.FORGOTTEN, "bo asks 3"}
    told = {a.text for a in store.answers()}
    assert told == {wild.FORGOTTEN, "The Nile, [phone]", "No. 3"}
    assert "ada" not in {e.annotator for e in store.events()}


@pytest.mark.parametrize(
    ("kind", "answers", "value"),
    [("rating", 1, 0), ("rating", 1, 8), ("rating", 2, 4), ("comparison", 2, 4), ("comparison", 1, 1)],
)
def test_bad_judgements_are_refused(kind: str, answers: int, value: int) -> None:
    said = (Said("x", "m", {}),) * answers
    with pytest.raises(UserError, match="between"):
        WildJudgement(UUID(int=1), "ada", kind, ASKED, said, value)  # type: ignore[arg-type]


def test_a_round_learns_from_conversations(store: Store, tmp_path: Path) -> None:
    def stage(round: int) -> dict[str, object]:
        config = feedback.FeedbackConfig(
            model="m", prompts=tmp_path, store=str(tmp_path / "feedback.db"), source="chat", round=round,
            output=tmp_path / f"round-{round}",
        )  # fmt: skip
        return feedback.main(config)

    with pytest.raises(UserError, match="accepted since the last round"):
        stage(1)
    for n in (1, 2):
        wild.put(store, judgement(n))
        wild.review(store, UUID(int=n), "accepted", "rita")
        result = stage(n)
        assert (result["comparisons"], result["pairs"]) == (1, 1)
        text = (tmp_path / f"round-{n}" / "preferences.jsonl").read_text()
        assert f"No. {n}" in text
        assert "mail.org" not in text
