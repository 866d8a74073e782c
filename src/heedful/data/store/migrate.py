"""From an older store to this one: a function a version, each in the one transaction that opens the store."""

import time
from collections.abc import Callable

from sqlalchemy import Connection, func, insert, inspect, select, update

from heedful.data.store import marks, schema
from heedful.data.store.tables import metadata

PAGE = 1000


def version_of(connection: Connection) -> int:
    """The version of the store, 0 if it says none."""
    return connection.execute(select(func.max(schema.version.c.version))).scalar_one() or 0


def migrate(connection: Connection) -> None:
    """Bring the store to this version, in the caller's writing transaction."""
    for number in range(version_of(connection) + 1, schema.VERSION + 1):
        STEPS[number](connection)
        now = int(time.time() * 1000)
        connection.execute(insert(schema.version).values(version=number, created_ms=now))


def _to_2(connection: Connection) -> None:
    """The queue, the marks, and what annotators write: tables and columns are added, none is changed."""
    types = {"annotators.paused": "TEXT", "annotators.gold_after": "BIGINT", "answers.length": "INTEGER"}
    for column, kind in types.items():
        table, name = column.split(".")
        default = "''" if kind == "TEXT" else "0"
        connection.exec_driver_sql(f"ALTER TABLE {table} ADD COLUMN {name} {kind} DEFAULT {default} NOT NULL")
    connection.exec_driver_sql("ALTER TABLE events ADD COLUMN task VARCHAR")
    connection.exec_driver_sql("DROP VIEW judgements")
    connection.exec_driver_sql(schema.CURRENT)
    there = set(inspect(connection).get_table_names())
    metadata.create_all(connection, tables=[t for t in metadata.sorted_tables if t.name not in there])
    for statement in schema.SUBMISSIONS_KEPT[connection.dialect.name]:
        connection.exec_driver_sql(statement)
    _measure(connection)
    marks.rebuild(connection)


def _measure(connection: Connection) -> None:
    table, after = schema.answers, 0
    query = select(table.c.id, table.c.seq, table.c.text).order_by(table.c.seq).limit(PAGE)
    while page := connection.execute(query.where(table.c.seq > after)).all():
        after = page[-1].seq
        for row in page:
            connection.execute(update(table).where(table.c.id == row.id).values(length=len(row.text)))


STEPS: dict[int, Callable[[Connection], None]] = {2: _to_2}
"""For each version the function that leads to it from the one before."""
