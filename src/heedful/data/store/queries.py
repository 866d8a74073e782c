"""Reading: the current judgements, the whole journal, and counts."""

from collections.abc import Iterator
from typing import Any, TypeVar, Unpack, get_args

from sqlalchemy import Connection, Select, func, select

from heedful.data.store.judgements import as_event
from heedful.data.store.records import Event, Kind, Where
from heedful.data.store.schema import annotators, answers, events, judgements, prompts

Rows = TypeVar("Rows", bound=Select[Any])

PAGE = 2000
"""Rows fetched at once."""


def current(connection: Connection, kind: Kind | None, **where: Unpack[Where]) -> Iterator[Event]:
    """Yield the events that hold the current judgements, oldest first."""
    query = _narrow(select(judgements), where).order_by(judgements.c.seq)
    if kind is not None:
        query = query.where(judgements.c.kind == kind)
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
    query = _narrow(select(judgements.c.kind, func.count()), where).group_by(judgements.c.kind)
    return found | dict.fromkeys(get_args(Kind), 0) | {row[0]: row[1] for row in connection.execute(query)}


def _narrow(query: Rows, where: Where) -> Rows:
    columns = judgements.c
    for name in ("round", "criterion", "prompt_id"):
        if name in where:
            query = query.where(columns[name] == where[name])
    if "annotators" in where:
        query = query.where(columns.annotator.in_(list(where["annotators"])))
    if where.get("qualified"):
        passed = select(annotators.c.name).where(annotators.c.qualified.is_(True))
        query = query.where(columns.annotator.in_(passed))
    return query
