"""Prompts, answers and annotators: what is judged, and by whom."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, get_args

from sqlalchemy import Connection, Table, func, insert, select, update

from heedful.data.store import schema
from heedful.data.store.connect import dump_json
from heedful.data.store.events import chunks, present
from heedful.data.store.judgements import check_name
from heedful.data.store.records import Annotator, AnnotatorKind
from heedful.errors import UserError
from heedful.types import Answer, Message, Prompt

Row = dict[str, Any]


def put_prompts(connection: Connection, prompts: Iterable[Prompt], round_: int) -> int:
    """Add the prompts that are not there yet, and return how many; the first round of a prompt stays."""
    rows: list[Row] = [
        {
            "id": prompt.id,
            "round": round_,
            "task": prompt.task,
            "messages": [asdict(message) for message in prompt.messages],
            "columns": dict(prompt.columns),
        }
        for prompt in prompts
    ]
    for row in rows:
        check_name(row["id"], "A prompt's id")
        check_name(row["task"], "A prompt's task", empty=True)
    return _put(connection, schema.prompts, rows, ("messages", "task", "columns"))


def put_answers(
    connection: Connection, answers: Iterable[Answer], round_: int, sampling: Mapping[str, Any]
) -> int:
    """Add the answers that are not there yet, and return how many."""
    rows: list[Row] = [
        {**asdict(answer), "round": round_, "sampling": dict(sampling), "length": len(answer.text)}
        for answer in answers
    ]
    for row in rows:
        check_name(row["id"], "An answer's id")
        check_name(row["policy"], "An answer's policy", empty=True)
    wanted = {row["prompt_id"] for row in rows}
    unknown = sorted(wanted - present(connection, schema.prompts.c.id, wanted))
    if unknown:
        raise UserError(
            f"There is no prompt {unknown[0]} in the store: add the prompts before their answers."
        )
    return _put(connection, schema.answers, rows, ("prompt_id", "text", "policy", "round"))


def put_annotators(connection: Connection, annotators: Iterable[Annotator]) -> int:
    """Add the annotators that are not there yet, and return how many; a known one's state stays."""
    rows = [asdict(annotator) for annotator in annotators]
    for row in rows:
        check_name(row["name"], "An annotator's name")
        if row["kind"] not in get_args(AnnotatorKind):
            kinds = ", ".join(get_args(AnnotatorKind))
            raise UserError(f"Annotator {row['name']} is of kind {row['kind']!r}: use one of {kinds}.")
    return _put(connection, schema.annotators, rows, ("kind",))


def set_qualified(
    connection: Connection, name: str, qualified: bool | None, reason: str, agreement: Mapping[str, Any]
) -> None:
    """Write down whether an annotator qualified, and why."""
    table = schema.annotators
    values = {"qualified": qualified, "reason": reason, "agreement": dict(agreement)}
    if not connection.execute(update(table).where(table.c.name == name).values(values)).rowcount:
        raise UserError(f"There is no annotator '{name}' in the store: add them first.")


def get_prompts(connection: Connection, ids: Iterable[str] | None, round_: int | None) -> Iterator[Prompt]:
    """Yield prompts in the order in which they were added; tuples in `columns` come back as lists."""
    for row in _get(connection, schema.prompts, schema.prompts.c.id, ids, round_):
        yield as_prompt(row._asdict())


def get_answers(
    connection: Connection, prompt_ids: Iterable[str] | None, round_: int | None
) -> Iterator[Answer]:
    """Yield answers in the order in which they were added."""
    for row in _get(connection, schema.answers, schema.answers.c.prompt_id, prompt_ids, round_):
        yield as_answer(row._asdict())


def get_annotators(connection: Connection) -> Iterator[Annotator]:
    """Yield the annotators by name."""
    table = schema.annotators
    columns = [table.c[name] for name in Annotator.__slots__]
    for row in connection.execute(select(*columns).order_by(table.c.name)):
        yield Annotator(**row._asdict())


def as_prompt(row: Mapping[str, Any]) -> Prompt:
    """Return a row of the table as a record."""
    messages = tuple(Message(**message) for message in row["messages"])
    return Prompt(row["id"], messages, row["task"], row["columns"])


def as_answer(row: Mapping[str, Any]) -> Answer:
    """Return a row of the table as a record."""
    return Answer(row["id"], row["prompt_id"], row["text"], row["policy"], row["finished"])


def _get(
    connection: Connection, table: Table, key: Any, keys: Iterable[str] | None, round_: int | None
) -> Iterator[Any]:
    query = select(table).order_by(table.c.seq).execution_options(yield_per=1000)
    if round_ is not None:
        query = query.where(table.c.round == round_)
    for chunk in [None] if keys is None else chunks(keys):
        yield from connection.execute(query if chunk is None else query.where(key.in_(chunk)))


def _put(connection: Connection, table: Table, rows: Sequence[Row], identity: tuple[str, ...]) -> int:
    """Insert rows whose key is new; a known key must come with the same `identity` columns."""
    key = next(iter(table.primary_key)).name
    try:
        rows = [json.loads(dump_json(row)) for row in rows]
    except (TypeError, ValueError) as trouble:
        raise UserError(f"What goes into the store must be plain JSON ({trouble}).") from None
    kept: dict[str, Row] = {}
    for chunk in chunks(row[key] for row in rows):
        for found in connection.execute(select(table).where(table.c[key].in_(chunk))):
            kept[found._asdict()[key]] = found._asdict()
    fresh: list[Row] = []
    for row in rows:
        first = kept.setdefault(row[key], row)
        for name in identity:
            if first[name] != row[name]:
                raise UserError(
                    f"{row[key]} is already in the store with another {name}: give different {table.name} "
                    "different keys."
                )
        if first is row:
            fresh.append(row)
    if fresh:
        if "seq" in table.c:
            last = connection.execute(select(func.max(table.c.seq))).scalar_one() or 0
            fresh = [{**row, "seq": last + 1 + offset} for offset, row in enumerate(fresh)]
        connection.execute(insert(table), fresh)
    return len(fresh)
