"""What may be opened as a store, and how everything else is refused."""

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import insert
from store_kit import fill

from heedful.data.store import Store, connect, schema
from heedful.errors import UserError
from heedful.types import Rating


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("a shopping list, long enough to be read as a header of a database file " * 20)
    before = path.read_bytes()
    with pytest.raises(UserError, match="not a feedback store"):
        Store.open(path)
    assert path.read_bytes() == before


def test_another_programs_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE songs (name)")
    other.close()
    before = path.read_bytes()
    with pytest.raises(UserError, match="another program's tables"):
        Store.open(path)
    assert path.read_bytes() == before


def test_a_newer_store_is_refused(where: str) -> None:
    with Store.open(where) as store, store.writing() as connection:
        connection.execute(insert(schema.version).values(version=schema.VERSION + 1, created_ms=0))
    with pytest.raises(UserError, match="upgrade heedful"):
        Store.open(where)


@pytest.mark.parametrize(
    ("where", "complaint"),
    [
        ("missing/feedback.db", "There is no folder"),
        (".", "is a folder"),
        ("nothing.db", "no feedback store at"),
        ("mysql://host/name", "cannot use 'mysql'"),
        ("postgresql://host:port/name", "not a database URL"),
        ("postgresql://nobody:hush@127.0.0.1:1/none", "does not answer"),
    ],
)
def test_what_cannot_be_opened_is_explained(
    where: str, complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if where.startswith("postgresql://nobody"):
        pytest.importorskip("psycopg")
    with pytest.raises(UserError, match=complaint) as caught:
        Store.open(where, create=False)
    assert "hush" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_postgres_without_its_driver_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connect, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"heedful\[postgres\]"):
        Store.open("postgresql://host/name")


def test_an_empty_database_is_no_store_unless_it_may_become_one(where: str) -> None:
    with pytest.raises(UserError, match="no feedback store"):
        Store.open(where, create=False)
    Store.open(where).close()
    Store.open(where, create=False).close()


def test_sqlite_syncs_each_commit_and_keeps_foreign_keys(tmp_path: Path) -> None:
    with Store.open(tmp_path / "f.db") as store, store.reading() as connection:
        asked = ("journal_mode", "synchronous", "foreign_keys")
        found = [connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in asked]
    assert found == ["wal", 2, 1]


def test_a_store_that_another_program_holds_is_a_user_error(tmp_path: Path) -> None:
    path = tmp_path / "f.db"
    with Store.open(path, busy_seconds=0.05) as store:
        fill(store)
        holder = sqlite3.connect(path, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(UserError, match="held by another program"):
            store.submit(Rating("p0", "p0-a", "ann", 3))
        assert store.counts()["events"] == 0
        holder.close()
        assert store.submit(Rating("p0", "p0-a", "ann", 3)).seq == 1


def test_a_full_disk_is_a_user_error_and_keeps_what_was_acknowledged(tmp_path: Path) -> None:
    with Store.open(tmp_path / "f.db") as store:
        fill(store)
        kept = store.submit(Rating("p0", "p0-a", "ann", 3))
        with store.reading() as connection:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(UserError, match="the disk is full"):
            store.submit_many([Rating("p0", "p0-b", "ann", 3, f"criterion {n}") for n in range(2000)])
        assert list(store.events()) == [kept]


def test_a_damaged_store_is_a_user_error(tmp_path: Path) -> None:
    path = tmp_path / "f.db"
    with Store.open(path) as store:
        fill(store)
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    path.write_bytes(data)
    with pytest.raises(UserError, match="damaged"), Store.open(path) as store:
        store.counts()
