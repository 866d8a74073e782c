"""A store of version 1 becomes one of version 2 with everything in it; a newer one is refused."""

from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, select

from heedful.data.store import Annotator, Flag, Store, schema
from heedful.data.store.schema import marks
from heedful.errors import UserError
from heedful.types import Answer, Comparison, Message, Prompt, Ranking, Rating

NEW_TABLES = ("figures", "submissions", "work", "tasks", "batches", "marks", "names")


def as_version_1(where: str) -> None:
    """Take away what version 2 added."""
    url = make_url(where) if "://" in where else make_url(f"sqlite:///{where}")
    engine = create_engine(url.set(drivername="postgresql+psycopg") if url.host else url)
    with engine.begin() as connection:
        run = connection.exec_driver_sql
        run("DROP VIEW judgements")
        for table in NEW_TABLES:
            run(f"DROP TABLE {table}")
        if url.host:
            run("DROP FUNCTION submissions_append_only")
        for column in ("events.task", "annotators.paused", "annotators.gold_after", "answers.length"):
            table, name = column.split(".")
            run(f"ALTER TABLE {table} DROP COLUMN {name}")
        run(schema.CURRENT)
        run("UPDATE heedful_store SET version = 1")
    engine.dispose()


def rows(store: Store) -> list[dict]:
    """The marks, names for the numbers of names, which are drawn as they come."""
    with store.reading() as connection:
        names = dict(connection.execute(select(schema.names.c.number, schema.names.c.name)).tuples().all())
        found = connection.execute(select(marks).order_by(marks.c.event, marks.c.part)).mappings()
        spelled = ("annotator", "criterion")
        return [{**row, **{key: names[row[key]] for key in spelled}} for row in found]


def test_everything_survives_and_the_marks_are_those_of_a_new_store(where: str) -> None:
    with Store.open(where) as store:
        store.add_prompts([Prompt("p", (Message("user", "?"),))])
        store.add_answers(Answer(f"a{i}", "p", "字" * (i + 1)) for i in range(3))
        store.add_annotators([Annotator("ada"), Annotator("bo")])
        store.submit(Rating("p", "a0", "ada", 3))
        store.submit(Ranking("p", "ada", (("a1",), ("a0", "a2"))))
        store.submit(Comparison("p", "a1", "a0", "bo", -2))
        store.submit(Comparison("p", "a0", "a1", "bo", 3))
        last = store.submit(Comparison("p", "a0", "a1", "bo", 1))
        store.submit(Flag("p", "bo", "harmful", "a2"))
        store.undo(last.id, "bo")
        before, events, judged = rows(store), list(store.events()), list(store.judgements())
    assert len(before) == 1 + 3 + 1
    as_version_1(where)
    with Store.open(where) as store:
        assert list(store.events()) == events
        assert list(store.judgements()) == judged
        assert rows(store) == before
        with store.reading() as connection:
            lengths = connection.execute(select(schema.answers.c.length).order_by(schema.answers.c.seq))
            assert list(lengths.scalars()) == [1, 2, 3]
        store.submit(Rating("p", "a0", "ada", 5))
    with Store.open(where) as store:
        assert [r.score for r in store.ratings()] == [5]


def test_a_newer_store_is_refused_untouched(where: str) -> None:
    with Store.open(where) as store, store.writing() as connection:
        connection.exec_driver_sql("UPDATE heedful_store SET version = 99")
    with pytest.raises(UserError, match=r"store version 99, this one knows 2.*upgrade heedful"):
        Store.open(where)


def test_a_migration_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from heedful.data.store import migrate

    where = str(tmp_path / "s.db")
    Store.open(where).close()
    as_version_1(where)
    before = create_engine(f"sqlite:///{where}")
    with before.connect() as connection:
        tables = connection.exec_driver_sql("SELECT name, sql FROM sqlite_master ORDER BY 1").all()
    monkeypatch.setattr(migrate, "_measure", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        Store.open(where)
    with before.connect() as connection:
        assert connection.exec_driver_sql("SELECT name, sql FROM sqlite_master ORDER BY 1").all() == tables
    before.dispose()


def test_the_marks_can_be_made_anew_from_the_journal(store: Store) -> None:
    from uuid import uuid4

    from people_kit import choose, claimed, opened, work_off

    from heedful.data.store.marks import rebuild

    queue = opened(store, overlap=3)
    for name in ("ada", "bo"):
        work_off(queue, name)
    for name, act in (("ada", "undo"), ("bo", "revise")):
        one = queue.history(name)[0]
        if act == "undo":
            queue.undo(name, one.task, uuid=uuid4(), version=1)
        else:
            queue.submit(name, one.task, choose(-2), uuid=uuid4(), version=1)
    claimed(queue, "cy")
    kept = rows(store)
    assert len(kept) == 11
    with store.writing() as connection:
        rebuild(connection)
    assert rows(store) == kept
