"""Opening a database: SQLite by path, PostgreSQL by URL, and the two kinds of transaction.

SQLite runs in WAL mode with synchronous=FULL, so that a commit that was acknowledged survives a power cut,
and writers begin with BEGIN IMMEDIATE, so that none reads a state that another is about to change. The
writers of PostgreSQL queue at one advisory lock, which gives the same order: events are numbered as they
are committed.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, func, insert, inspect, make_url, select
from sqlalchemy.exc import ArgumentError, DatabaseError, IntegrityError, InterfaceError, ProgrammingError

from heedful.data.store import migrate, schema
from heedful.data.store.tables import metadata
from heedful.errors import UserError

_READABLE = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
_ESCAPED = json.JSONEncoder(allow_nan=False, separators=(",", ":"))

WRITE_LOCK = 0x4EED
"""The advisory lock that PostgreSQL's writers share."""


def connect(where: str | Path, *, create: bool, busy_seconds: float) -> Engine:
    """Return an engine on a database that holds our tables; a UserError if it cannot be one."""
    url = _url(where)
    engine = create_engine(
        url, json_serializer=dump_json, max_overflow=-1, pool_pre_ping=url.host is not None
    )
    if url.drivername == "sqlite":
        _check_file(url, create=create)
        _sqlite_rules(engine, busy_seconds)
    try:
        with plainly(engine):
            if url.drivername == "sqlite":
                _enter_wal(engine, busy_seconds)
            _check_tables(engine, create=create)
    except UserError:
        engine.dispose()
        raise
    return engine


@contextmanager
def transaction(engine: Engine, *, write: bool) -> Iterator[Connection]:
    """One transaction: a consistent view for a reader, the only one of its kind for a writer."""
    options = {"sqlite_begin": "BEGIN IMMEDIATE" if write else "BEGIN"}
    if engine.dialect.name == "postgresql" and not write:
        options = {"isolation_level": "REPEATABLE READ"}
    with plainly(engine), engine.execution_options(**options).begin() as connection:
        if write and engine.dialect.name == "postgresql":
            connection.execute(select(func.pg_advisory_xact_lock(WRITE_LOCK)))
        yield connection


@contextmanager
def plainly(engine: Engine) -> Iterator[None]:
    """Turn the database's own troubles (locked, full, damaged, gone) into a UserError."""
    try:
        yield
    except (IntegrityError, ProgrammingError):
        raise
    except (DatabaseError, InterfaceError) as trouble:
        raise UserError(_explain(engine.url, str(trouble.orig).strip())) from trouble


def dump_json(value: Any) -> str:
    """Write JSON with readable Chinese; a lone surrogate, which UTF-8 cannot hold, is escaped."""
    text = _READABLE.encode(value)
    try:
        text.encode()
    except UnicodeEncodeError:
        return _ESCAPED.encode(value)
    return text


def _url(where: str | Path) -> URL:
    text = str(where)
    if "://" not in text:
        return URL.create("sqlite", database=str(Path(text).expanduser().absolute()))
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise UserError(f"'{text}' is not a database URL: write postgresql://USER@HOST/DATABASE.") from None
    if url.drivername == "sqlite" and url.database:
        return url.set(database=str(Path(url.database).absolute()))
    if url.drivername not in ("postgresql", "postgres", "postgresql+psycopg"):
        raise UserError(
            f"The feedback store cannot use '{url.drivername}': give a file path or a postgresql:// URL."
        )
    if find_spec("psycopg") is None:
        raise UserError("PostgreSQL needs a driver: pip install 'heedful[postgres]'.")
    return url.set(drivername="postgresql+psycopg")


def _check_file(url: URL, *, create: bool) -> None:
    path = Path(url.database or "")
    if path.is_dir():
        raise UserError(f"{path} is a folder: give the path of the feedback store's file in it.")
    if not path.parent.is_dir():
        raise UserError(
            f"There is no folder {path.parent}: create it, or choose another place for the store."
        )
    if not create and not path.exists():
        raise UserError(f"There is no feedback store at {path}: check the path.")


def _sqlite_rules(engine: Engine, busy_seconds: float) -> None:
    @event.listens_for(engine, "connect")
    def _configure(raw: Any, _: object) -> None:
        # The driver must not open transactions of its own: ours start with the right BEGIN below.
        raw.isolation_level = None
        cursor = raw.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {int(busy_seconds * 1000)}")
        cursor.execute("PRAGMA synchronous = FULL")
        # On macOS a plain fsync leaves data in the drive's cache.
        cursor.execute("PRAGMA fullfsync = ON")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(connection.get_execution_options().get("sqlite_begin", "BEGIN"))


def _enter_wal(engine: Engine, busy_seconds: float) -> None:
    driver = engine.dialect.loaded_dbapi
    give_up = time.monotonic() + busy_seconds
    try:
        raw = engine.raw_connection()
        try:
            cursor = raw.cursor()
            # The tables are read before anything is written, so that a foreign file stays as it was.
            cursor.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            _check_names(engine, {name for (name,) in cursor.fetchall()})
            while not _wal(cursor, driver.OperationalError):
                # SQLite does not wait for this lock by itself when two processes create one store.
                if time.monotonic() > give_up:
                    raise UserError(_explain(engine.url, "database is locked"))
                time.sleep(0.02)
        finally:
            raw.close()
    except driver.DatabaseError as trouble:
        raise UserError(_explain(engine.url, str(trouble))) from trouble


def _wal(cursor: Any, operational_error: type[Exception]) -> bool:
    try:
        cursor.execute("PRAGMA journal_mode = WAL")
    except operational_error as trouble:
        if "locked" not in str(trouble):
            raise
        return False
    return True


def _check_tables(engine: Engine, *, create: bool) -> None:
    with transaction(engine, write=False) as connection:
        empty = not inspect(connection).get_table_names()
    if empty and not create:
        raise UserError(f"{_name(engine.url)} holds no feedback store: check the name.")
    if empty:
        _create(engine)
    with transaction(engine, write=False) as connection:
        _check_names(engine, set(inspect(connection).get_table_names()))
        found = migrate.version_of(connection)
        if not 0 < found <= schema.VERSION:
            raise UserError(
                f"{_name(engine.url)} was written by a newer heedful (store version {found or None}, this one "
                f"knows {schema.VERSION}): upgrade heedful to open it."
            )
    if found < schema.VERSION:
        # Another process may be faster: what is to be done is asked again behind the lock.
        with transaction(engine, write=True) as connection:
            migrate.migrate(connection)


def _create(engine: Engine) -> None:
    with transaction(engine, write=True) as connection:
        # Another process may have been faster.
        if inspect(connection).get_table_names():
            return
        metadata.create_all(connection, checkfirst=False)
        for statement in schema.BEYOND_TABLES[engine.dialect.name]:
            connection.exec_driver_sql(statement)
        now = int(time.time() * 1000)
        connection.execute(insert(schema.version).values(version=schema.VERSION, created_ms=now))


def _check_names(engine: Engine, names: set[str]) -> None:
    if names and schema.version.name not in names:
        raise UserError(
            f"{_name(engine.url)} holds another program's tables: give a new file or an empty database."
        )


def _name(url: URL) -> str:
    return (
        url.database or ""
        if url.drivername == "sqlite"
        else url.render_as_string().replace("+psycopg", "", 1)
    )


def _explain(url: URL, trouble: str) -> str:
    first = trouble.splitlines()[0] if trouble else "no reason given"
    known = {
        "not a database": "is not a feedback store: give another path, or move that file away",
        "locked": "is held by another program that does not let go: close it and try again",
        "readonly": "cannot be written: check the permissions of the file and its folder",
        "unable to open": "cannot be opened: check the permissions of the file and its folder",
        "full": "cannot grow, the disk is full: free some space and try again",
        "malformed": "is damaged: restore a backup",
    }
    for sign, advice in known.items():
        if sign in first:
            return f"{_name(url)} {advice} ({first})."
    return f"The feedback store {_name(url)} does not answer: check that it is there ({first})."
