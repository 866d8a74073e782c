"""Reading: the current judgements, the whole journal, and counts."""

from collections.abc import Iterator
from typing import Any, TypeVar, Unpack, get_args

from sqlalchemy import Column, Connection, FromClause, Select, func, select, text

from heedful.data.store.judgements import as_event
from heedful.data.store.records import Event, Kind, Where
from heedful.data.store.schema import AS_OF, annotators, answers, events, judgements, prompts, tasks

Rows = TypeVar("Rows", bound=Select[Any])

PAGE = 2000
"""Rows fetched at once."""


def current(connection: Connection, kind: Kind | None, **where: Unpack[Where]) -> Iterator[Event]:
    """Yield the events that hold the current judgements, oldest first."""
    table = _standing(where)
    query = _narrow(select(table), table, where).order_by(table.c.seq)
    if kind is not None:
        query = query.where(table.c.kind == kind)
    for row in connection.execute(query.execution_options(yield_per=PAGE)):
        yield as_event(row)


def journal(connection: Connection, after: int) -> Iterator[Event]:
    """Yield every event with a number greater than `after`, undone and superseded ones too."""
    query = select(events).where(events.c.seq > after).order_by(events.c.seq)
    for row in connection.execute(query.execution_options(yield_per=PAGE)):
        yield as_event(row)


def count(connection: Connection, **where: Unpack[Where]) -> dict[str, int]:
    """Return how many prompts, answers, annotators and events there are, and current judgements of each kind.

    The filter narrows the judgements only.
    """
    tables = (prompts, answers, annotators, events)
    found = {
        table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
        for table in tables
    }
    table = _standing(where)
    query = _narrow(select(table.c.kind, func.count()), table, where).group_by(table.c.kind)
    return found | dict.fromkeys(get_args(Kind), 0) | {row[0]: row[1] for row in connection.execute(query)}


def _standing(where: Where) -> FromClause:
    """The current judgements, or those that were current when another event was the newest."""
    if "as_of" not in where:
        return judgements
    found = text(AS_OF).bindparams(as_of=where["as_of"])
    return found.columns(*(Column(column.name, column.type) for column in events.c)).subquery("standing")


def _narrow(query: Rows, table: FromClause, where: Where) -> Rows:
    columns = table.c
    for name in ("round", "criterion", "prompt_id"):
        if name in where:
            query = query.where(columns[name] == where[name])
    if "batch" in where:
        query = query.where(columns.task.in_(select(tasks.c.id).where(tasks.c.batch == where["batch"])))
    if "after" in where:
        query = query.where(columns.seq > where["after"])
    if "annotators" in where:
        query = query.where(columns.annotator.in_(list(where["annotators"])))
    if where.get("qualified"):
        passed = select(annotators.c.name).where(annotators.c.qualified.is_(True))
        query = query.where(columns.annotator.in_(passed))
    return query
