"""Exports, imports, backups: what goes out comes back, and what is dangerous does not get through."""

import csv
import json
from pathlib import Path
from uuid import uuid4

import pytest
from people_kit import choose, claimed, opened, work_off
from sqlalchemy import select

from heedful.data import formats
from heedful.data.store import Annotator, Store, account_tables
from heedful.data.store.accounts import Accounts
from heedful.errors import UserError
from heedful.people import BatchSettings, NewTask, Queue, Reply
from heedful.people.backup import FORGOTTEN, backup, check, forget_annotator, restore
from heedful.people.exports import export, harmless
from heedful.people.imports import import_file
from heedful.people.labels import Aggregate, decided, judged_answers
from heedful.people.replies import FlagMark, OtherStep
from heedful.types import (
    Answer,
    Comparison,
    Message,
    PanelComparison,
    PlanChoice,
    Prompt,
    Ranking,
    StepAlternative,
    StepLabels,
)


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def judged(store: Store) -> Queue:
    """A store with every kind of judgement."""
    queue = opened(store, overlap=2)
    for name in ("ada", "bo"):
        work_off(queue, name)
    asked = {
        "rank": (
            NewTask("p0", ("p0a0", "p0a1", "p0a2")),
            Reply(ratings={"overall": (5, 3, None)}, order=((2,), (0, 1))),
        ),
        "steps": (
            NewTask("p0", ("p0a2",)),
            Reply(
                steps=(1, -1),
                finish_reason="found_error",
                alternatives=(OtherStep(1, "better", 1, True, True),),
            ),
        ),
        "demonstrate": (NewTask("p1"), Reply(text="Well said.", comment="=1+1")),
        "edit": (NewTask("p1", ("p1a0",)), Reply(text="Better said.", flags=(FlagMark("harmful", 0, "oh"),))),
    }
    for question, (task, reply) in asked.items():
        queue.create_batch(question, question, BatchSettings(question, priority=1), [task])  # type: ignore[arg-type]
        found = claimed(queue, "cy")
        queue.submit("cy", found.task, reply, uuid=uuid4(), version=0, seconds=12.5)
    return queue


def test_every_export_is_made_again_byte_for_byte_after_the_store_went_on(
    store: Store, tmp_path: Path
) -> None:
    queue = judged(store)
    made = {
        name: export(store, tmp_path / name, name)
        for name in ("preference", "csv", "ranked", "hh", "unpaired")
    }
    task = queue.history("ada")[0]
    queue.submit("ada", task.task, choose(-3), uuid=uuid4(), version=task.version)
    queue.undo("cy", queue.history("cy")[0].task, uuid=uuid4(), version=1)
    for name, manifest in made.items():
        again = export(store, tmp_path / "again", name, as_of=manifest.as_of)  # type: ignore[arg-type]
        assert again.sha256 == manifest.sha256
        assert (tmp_path / "again").read_bytes() == (tmp_path / name).read_bytes()
    assert export(store, tmp_path / "now", "csv").sha256 != made["csv"].sha256


def test_preferences_are_what_trainers_read(store: Store, tmp_path: Path) -> None:
    judged(store)
    export(store, tmp_path / "p.jsonl", "preference")
    read = formats.read_preferences(tmp_path / "p.jsonl")
    # 12 choices, 2 pairs of the ranking, one edit.
    assert len(read) == 15
    edited = [one for one in read if one.chosen == "Better said."]
    assert [one.rejected for one in edited] == [next(a.text for a in store.answers() if a.id == "p1a0")]
    export(store, tmp_path / "r.jsonl", "ranked")
    (row,) = lines(tmp_path / "r.jsonl")
    assert (row["ranks"], len(row["completions"]), row["pairs"]) == ([1, 2, 2], 3, 2)
    export(store, tmp_path / "s.jsonl", "stepwise")
    (row,) = lines(tmp_path / "s.jsonl")
    assert (row["labels"], row["completions"][0]) == ([True, False], "step one of 0")
    export(store, tmp_path / "d.jsonl", "demonstrations")
    said = [row["messages"][-1]["content"] for row in lines(tmp_path / "d.jsonl")]
    assert said == ["Well said.", "Better said."]


def test_panels_and_plans_are_exported_and_aggregated_as_answers_are(store: Store, tmp_path: Path) -> None:
    store.add_prompts([Prompt("s", (Message("user", "What comes next?"),))])
    store.add_answers([Answer(name, "s", f"plan {name}") for name in ("x", "y", "z")])
    store.add_annotators([Annotator(name) for name in ("ada", "bo", "cy")])
    for name, chosen in (("ada", "x"), ("bo", "x"), ("cy", "z")):
        store.submit(PlanChoice("s", name, ("x", "y", "z"), chosen))
    store.submit(PanelComparison("s", "y", "z", "ada", 0))
    store.submit(PanelComparison("s", "y", "z", "bo", 1))

    def told(aggregate: Aggregate) -> list[tuple[str, str]]:
        export(store, tmp_path / "p.jsonl", "preference", aggregate=aggregate)
        return [(p.chosen, p.rejected) for p in formats.read_preferences(tmp_path / "p.jsonl")]

    assert len(told("none")) == 7
    assert told("majority") == [("plan x", "plan y"), ("plan x", "plan z")]  # y and z come out even
    assert told("bradley_terry")[0] == ("plan x", "plan y")
    with Store.open(tmp_path / "other.db") as other:
        export(store, tmp_path / "all.jsonl", "heedful")
        import_file(other, tmp_path / "all.jsonl", "heedful")
        assert list(other.judgements()) == list(store.judgements())
    assert {name for event in store.events() for name in judged_answers(event)} == {"x", "y", "z"}


def test_hh_is_read_back_as_the_same_preferences(store: Store, tmp_path: Path) -> None:
    judged(store)
    export(store, tmp_path / "hh.jsonl", "hh")
    export(store, tmp_path / "p.jsonl", "preference")
    pairs = [
        [(p.messages, p.chosen.strip(), p.rejected.strip()) for p in formats.read_preferences(tmp_path / n)]
        for n in ("hh.jsonl", "p.jsonl")
    ]
    assert pairs[0] == pairs[1]


def test_prm800k_records_come_back_as_the_same_labels(store: Store, tmp_path: Path) -> None:
    judged(store)
    export(store, tmp_path / "prm.jsonl", "prm800k")
    (record,) = lines(tmp_path / "prm.jsonl")
    assert record["label"]["total_time"] == 12500
    assert record["label"]["steps"][1]["human_completion"]["text"] == "better"
    with Store.open(tmp_path / "other.db") as other:
        assert import_file(other, tmp_path / "prm.jsonl", "prm800k").events == 1
        assert import_file(other, tmp_path / "prm.jsonl", "prm800k").events == 0
        (back,), (first,) = list(other.steps()), list(store.steps())
    assert (back.labels, back.steps, back.finish_reason) == (first.labels, first.steps, first.finish_reason)
    assert back.alternatives == (StepAlternative(1, "better", 1, True, True),)
    assert back.annotator == "cy"


def test_a_table_runs_no_formula(store: Store, tmp_path: Path) -> None:
    evil = "=HYPERLINK('http://evil')"
    store.add_prompts([Prompt("bad", (Message("user", evil),))])
    store.add_answers([Answer("b1", "bad", "+1"), Answer("b2", "bad", "@x")])
    store.add_annotators([Annotator("@SUM(A1)")])
    store.submit(Comparison("bad", "b1", "b2", "@SUM(A1)", -2, "=c"))
    export(store, tmp_path / "t.csv", "csv")
    with (tmp_path / "t.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["prompt"] == "'" + evil
    assert rows[0]["annotator"] == "'@SUM(A1)"
    assert rows[0]["criterion"] == "'=c"
    assert all(not cell.startswith(("=", "+", "@", "\t")) for row in rows for cell in row.values())
    assert harmless(-2) == -2


def test_the_lossless_form_restores_every_judgement(store: Store, tmp_path: Path) -> None:
    judged(store)
    export(store, tmp_path / "all.jsonl", "heedful")
    with Store.open(tmp_path / "other.db") as other:
        import_file(other, tmp_path / "all.jsonl", "heedful")
        assert [j for _, j in other.judgements()] == [j for _, j in store.judgements()]


def test_labels_of_many_are_one_by_majority_habits_and_strength(store: Store) -> None:
    # Two who are right, and two who always say the first; p0..p5 have the truth a1 > a0.
    for number in range(6):
        for name, preference in (
            ("ada", -1),
            ("bo", -1),
            ("cy", 1 if number < 3 else -1),
            ("di", 1 if number < 2 else -1),
        ):
            store.submit(Comparison(f"p{number}", f"p{number}a0", f"p{number}a1", name, preference))
    with store.reading() as connection:
        from heedful.data.store import queries

        events = list(queries.current(connection, None))
    by = {
        how: {one.prompt_id: one for one in decided(events, how)}
        for how in ("majority", "dawid_skene", "bradley_terry")
    }
    # 2 against 2 says nothing by count.
    assert set(by["majority"]) == {"p2", "p3", "p4", "p5"}
    assert by["majority"]["p2"].confidence == 0.75
    assert by["dawid_skene"]["p2"].better == "p2a1"
    assert by["bradley_terry"]["p5"].confidence > by["bradley_terry"]["p2"].confidence > 0.5


@pytest.mark.parametrize("broken", [b"", b"not a database at all", b"SQLite format 3\x00" + b"\x01" * 5000])
def test_a_backup_that_is_not_whole_is_refused(tmp_path: Path, broken: bytes) -> None:
    (tmp_path / "bad.db").write_bytes(broken)
    with pytest.raises(UserError, match="another backup"):
        restore(tmp_path / "bad.db", tmp_path / "new.db")


def test_a_backup_is_restored_whole_and_goes_on(store: Store, where: str, tmp_path: Path) -> None:
    queue = judged(store)
    last = backup(store, tmp_path / "copy.db")
    assert last == check(tmp_path / "copy.db") == store.counts()["events"]
    before = (tmp_path / "copy.db").read_bytes()
    with pytest.raises(UserError, match="holds a store already"):
        restore(tmp_path / "copy.db", where)
    restore(tmp_path / "copy.db", tmp_path / "new.db")
    assert (tmp_path / "copy.db").read_bytes() == before
    with Store.open(tmp_path / "new.db") as other:
        assert list(other.events()) == list(store.events())
        assert Queue(other).progress("b") == queue.progress("b")
        task = Queue(other).history("ada")[0]
        Queue(other).undo("ada", task.task, uuid=uuid4(), version=task.version)


def test_a_forgotten_annotator_is_nowhere_and_their_judgements_stay(store: Store, tmp_path: Path) -> None:
    judged(store)
    before = store.counts()
    alias = forget_annotator(store, "cy")
    assert store.counts() == before
    assert "cy" not in {one.name for one in store.annotators()}
    assert {one.annotator for one in store.rankings()} == {alias}
    assert [one.text for one in store.comments()] == [FORGOTTEN]
    copy = tmp_path / "copy.db"
    backup(store, copy)
    for _, judgement in store.judgements():
        assert judgement.annotator != "cy"
    # The journal is guarded again.
    with pytest.raises(Exception, match="append-only"), store.writing() as connection:
        connection.exec_driver_sql("UPDATE events SET seconds = 1")


ARGILLA = [
    {
        "id": "1",
        "fields": {"prompt": "Name a river.", "response-1": "The Nile.", "response-2": "A river."},
        "responses": {
            "preference": [{"value": "response-2", "user_id": "u1", "status": "submitted"}],
            "ranking": [
                {
                    "value": [{"value": "response-1", "rank": 2}, {"value": "response-2", "rank": 1}],
                    "user_id": "u2",
                }
            ],
            "quality_response-1": [{"value": 6, "user_id": "u1", "status": "submitted"}],
            "remark": [
                {"value": "short", "user_id": "u1"},
                {"value": "no", "user_id": "u3", "status": "discarded"},
            ],
        },
    },
    {"id": "2", "fields": {"prompt": "?", "response-1": "a"}, "responses": {}},
]
LABEL_STUDIO = [
    {
        "id": 7,
        "data": {"prompt": "Name a river.", "text1": "The Nile.", "text2": "A river."},
        "annotations": [
            {
                "completed_by": {"email": "ann@here"},
                "lead_time": 4.5,
                "result": [{"type": "pairwise", "from_name": "pw", "value": {"selected": "left"}}],
            },
            {
                "completed_by": 3,
                "was_cancelled": True,
                "result": [{"type": "pairwise", "value": {"selected": "right"}}],
            },
            {
                "completed_by": 3,
                "result": [{"type": "choices", "from_name": "pw", "value": {"choices": ["tie"]}}],
            },
        ],
    }
]


def test_argilla_and_label_studio_come_in_once(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(ARGILLA))
    (tmp_path / "l.json").write_text(json.dumps(LABEL_STUDIO))
    with Store.open(tmp_path / "s.db") as store:
        first = import_file(store, tmp_path / "a.json", "argilla")
        assert (first.events, first.prompts, first.answers) == (4, 1, 2)
        assert first.skipped == {"nothing was said of any answer": 1}
        assert import_file(store, tmp_path / "a.json", "argilla").events == 0
        second = import_file(store, tmp_path / "l.json", "label_studio")
        # The same question and answers: they are the same prompt, whichever tool asked.
        assert (second.events, second.prompts, second.answers) == (2, 0, 0)
        texts = {answer.id: answer.text for answer in store.answers()}
        (nile, river) = (next(k for k, v in texts.items() if v == word) for word in ("The Nile.", "A river."))
        told = {(c.annotator, c.first, c.preference, c.seconds) for c in store.comparisons()}
        assert told == {("u1", nile, -1, 0.0), ("ann@here", nile, 1, 4.5), ("label studio 3", nile, 0, 0.0)}
        assert [r.order for r in store.rankings()] == [((river,), (nile,))]
        assert [(r.answer_id, r.score) for r in store.ratings()] == [(nile, 6)]
        assert [c.text for c in store.comments()] == ["short"]


@pytest.mark.parametrize(
    ("format", "text"),
    [
        ("argilla", "{"),
        ("argilla", '[{"fields": 3}]'),
        ("argilla", "[1]"),
        (
            "label_studio",
            '[{"data": {"prompt": "x", "text1": "a"}, "annotations": [{"result": [{"type": "rating"}]}]}]',
        ),
        ("prm800k", '{"label": {"steps": [{"completions": [{"rating": 1}]}]}}'),
        ("preference", '{"prompt": "x"}'),
    ],
)
def test_a_foreign_file_that_is_wrong_is_one_sentence(tmp_path: Path, format: str, text: str) -> None:
    (tmp_path / "f.jsonl" if format != "argilla" else tmp_path / "f.json").write_text(text)
    name = "f.json" if format == "argilla" else "f.jsonl"
    with Store.open(tmp_path / "s.db") as store:
        with pytest.raises(UserError):
            import_file(store, tmp_path / name, format)  # type: ignore[arg-type]
        assert store.counts()["events"] == 0


def test_an_imported_ranking_may_be_partial(store: Store) -> None:
    store.submit_many([Ranking("p0", "ada", (("p0a0",), ("p0a1",)))], complete=False)
    assert len(list(store.rankings())) == 1
    assert isinstance(StepLabels("p0", "p0a0", "ada", ("a",), (1,), "solution"), StepLabels)


def test_who_is_forgotten_cannot_sign_in_any_more(store: Store) -> None:
    accounts = Accounts(store)
    accounts.accept(accounts.invite("annotator", made_by="ada"), "zoe", "hash", "en")
    session = accounts.enter("zoe")
    forget_annotator(store, "zoe")
    assert accounts.find("zoe") is None
    assert accounts.session(session) is None
    with store.reading() as connection:
        rows = connection.execute(select(account_tables.invitations.c.used_by)).scalars().all()
    assert [name.startswith("forgotten ") for name in rows] == [True]
