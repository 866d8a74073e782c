"""Copies of a store that are whole, back again, and the forgetting of a person."""

import contextlib
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, delete, insert, inspect, select, text, update

from heedful.data import atomic
from heedful.data.store import account_tables, schema
from heedful.data.store.store import Store
from heedful.data.store.tables import EVERY
from heedful.errors import UserError
from heedful.people import leases

FORGOTTEN = "(forgotten)"
PAGE = 5000


def backup(store: Store, path: str | Path) -> int:
    """Write the store as one SQLite file while others work on it, and return the number of its newest event.

    An SQLite store is copied by SQLite's online backup, a PostgreSQL one table by table in one transaction; either
    is checked and only then takes its name.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise UserError(
            f"There is no folder {path.parent}: create it, or choose another place for the backup."
        )
    beside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    _remove(beside)
    try:
        with store.reading() as connection:
            if connection.dialect.name == "sqlite":
                with contextlib.closing(sqlite3.connect(beside)) as target:
                    connection.connection.driver_connection.backup(target)  # type: ignore[union-attr]
            else:
                with Store.open(beside) as target_store, target_store.writing() as target_connection:
                    _copy(connection, target_connection)
        last = check(beside)
        _settle(beside)
        beside.replace(path)
    finally:
        _remove(beside)
    atomic.sync_folder(path.parent)
    return last


def restore(path: str | Path, where: str | Path) -> int:
    """Make an empty or absent store what the backup holds, and return the number of its newest event.

    A store that holds something is left as it is, with a UserError: move it away first.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"There is no backup {path}: check the path.")
    last = check(path)
    with Store.open(where) as target:
        counts = target.counts()
        if any(counts.values()):
            raise UserError(f"{where} holds a store already: move it away, or restore to another place.")
        # Opening a store may write beside it, or bring it to this version: the backup stays as it is.
        with tempfile.TemporaryDirectory() as folder:
            opened = shutil.copy(path, Path(folder) / "backup.db")
            with (
                Store.open(opened, create=False) as source,
                source.reading() as connection,
                target.writing() as target_connection,
            ):
                _copy(connection, target_connection)
    return last


def check(path: str | Path) -> int:
    """Check every page and reference of an SQLite store, and that no event is missing; return the newest's number."""
    try:
        with contextlib.closing(sqlite3.connect(f"file:{Path(path).absolute()}?mode=ro", uri=True)) as found:
            told = found.execute("PRAGMA integrity_check").fetchall()
            broken = found.execute("PRAGMA foreign_key_check").fetchall()
            last, n = found.execute("SELECT coalesce(max(seq), 0), count(*) FROM events").fetchone()
    except sqlite3.DatabaseError as trouble:
        raise UserError(f"{path} is not a whole feedback store ({trouble}): use another backup.") from None
    if told != [("ok",)] or broken or last != n:
        raise UserError(f"{path} is damaged ({told[0][0]}; {n} of {last} events): use another backup.")
    return int(last)


def _copy(source: Connection, target: Connection) -> None:
    """Copy every table, those that others refer to first; the target's are empty."""
    there = set(inspect(source).get_table_names())
    for metadata in EVERY:
        if there & set(metadata.tables):
            metadata.create_all(target, checkfirst=True)
        for table in metadata.sorted_tables:
            if table.name not in there or table is schema.version:
                continue
            # An undo refers to an earlier event.
            ordered = select(table).order_by(table.c.seq) if "seq" in table.c else select(table)
            rows = source.execute(ordered.execution_options(yield_per=PAGE))
            for page in rows.partitions(PAGE):
                target.execute(insert(table), [dict(row._mapping) for row in page])


def _settle(path: Path) -> None:
    """Leave no log beside the file, and the file on the disk."""
    with contextlib.closing(sqlite3.connect(path)) as found:
        found.execute("PRAGMA journal_mode = DELETE")
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _remove(path: Path) -> None:
    for name in (path.name, f"{path.name}-wal", f"{path.name}-shm", f"{path.name}-journal"):
        path.with_name(name).unlink(missing_ok=True)


def forget_annotator(store: Store, name: str) -> str:
    """Replace an annotator's name by a random one everywhere, empty their comments, close their account; the new name.

    What they judged stays, without them: it is in what was learnt. This is the one change that the journal knows; the
    triggers that forbid any other are back when the transaction ends. Earlier backups and exports still hold the
    name.
    """
    alias = f"forgotten {uuid4().hex[:12]}"
    with store.writing() as connection:
        row = connection.execute(select(schema.annotators).where(schema.annotators.c.name == name)).first()
        if row is None:
            raise UserError(f"There is no annotator '{name}' in the store.")
        leases.forget_work(connection, name)
        values = {**row._mapping, "name": alias, "reason": "", "paused": "forgotten"}
        connection.execute(insert(schema.annotators), [values])
        with _unguarded(connection):
            _rename(connection, name, alias)
        connection.execute(delete(schema.annotators).where(schema.annotators.c.name == name))
        _close_account(connection, name, alias)
    return alias


def _close_account(connection: Connection, name: str, alias: str) -> None:
    """Remove the person's account in the studio, where there is one: nobody can sign in with it any more."""
    known = inspect(connection)
    if not known.has_table(account_tables.accounts.name):
        return
    for table, column in ((account_tables.accounts, "name"), (account_tables.sessions, "account")):
        connection.execute(delete(table).where(table.c[column] == name))
    for column in ("used_by", "made_by"):
        made = account_tables.invitations
        connection.execute(update(made).where(made.c[column] == name).values({column: alias}))


def _rename(connection: Connection, name: str, alias: str) -> None:
    events, submissions = schema.events, schema.submissions
    said = select(events.c.seq, events.c.kind, events.c.payload).where(
        events.c.annotator == name, events.c.kind.in_(("comment", "flag", "skip"))
    )
    emptied = {"comment": "text", "flag": "comment", "skip": "reason"}
    for seq, kind, payload in connection.execute(said).all():
        change = update(events).where(events.c.seq == seq)
        connection.execute(change.values(payload={**payload, emptied[kind]: FORGOTTEN}))
    told = select(submissions.c.id, submissions.c.reply).where(submissions.c.annotator == name)
    for key, reply in connection.execute(told).all():
        if (blank := _blank(reply)) != reply:
            connection.execute(update(submissions).where(submissions.c.id == key).values(reply=blank))
    for table in (events, submissions, schema.work):
        connection.execute(update(table).where(table.c.annotator == name).values(annotator=alias))
    connection.execute(update(schema.names).where(schema.names.c.name == name).values(name=alias))
    answers = schema.answers
    written = select(answers.c.id, answers.c.sampling).where(answers.c.policy.in_(("demonstration", "edit")))
    for key, sampling in connection.execute(written).all():
        if sampling.get("written_by") == name:
            change = update(answers).where(answers.c.id == key)
            connection.execute(change.values(sampling={**sampling, "written_by": alias}))


def _blank(reply: dict[str, Any]) -> dict[str, Any]:
    found = dict(reply)
    for name in ("comment", "reason"):
        if name in found:
            found[name] = FORGOTTEN
    if "flags" in found:
        found["flags"] = [{**flag, "comment": ""} for flag in found["flags"]]
    return found


@contextlib.contextmanager
def _unguarded(connection: Connection) -> Iterator[None]:
    """Without the triggers that keep the journal; the caller's transaction brings them back or changes nothing."""
    guards = (*schema.EVENTS_KEPT[connection.dialect.name], *schema.SUBMISSIONS_KEPT[connection.dialect.name])
    triggers = [statement.split()[2] for statement in guards if statement.startswith("CREATE TRIGGER")]
    for trigger in triggers:
        table = trigger.split("_no_")[0]
        on = f" ON {table}" if connection.dialect.name == "postgresql" else ""
        connection.execute(text(f"DROP TRIGGER {trigger}{on}"))
    yield
    for statement in guards:
        if statement.startswith("CREATE TRIGGER"):
            connection.exec_driver_sql(statement)
