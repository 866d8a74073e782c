"""Writing the journal: each UUID once, each event numbered in the order of commits."""

import json
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, func, insert, select

from heedful.data.store.judgements import Draft, Rounds, as_event, settle
from heedful.data.store.records import Event
from heedful.data.store.schema import annotators, answers, events, prompts
from heedful.errors import UserError

Key = TypeVar("Key")

CHUNK = 500
"""Keys in one IN (...): far below every database's limit on parameters."""

Submission = tuple[UUID, Draft, int | None]
"""The event's UUID, its content, and the client's clock in milliseconds."""


def append(
    connection: Connection,
    submissions: Sequence[Submission],
    *,
    complete: bool = True,
    server_ms: Sequence[int] | None = None,
) -> list[Event]:
    """Store the submissions in a writing transaction, and return their events in the same order.

    A UUID that is already stored gives back its first event; it must say the same thing, else UserError.
    `complete` asks rankings to list every answer; `server_ms` gives times of storing other than now.
    """
    stored = known_events(connection, [uuid for uuid, _, _ in submissions])
    drafts = [content for uuid, content, _ in submissions if uuid not in stored]
    _require_annotators(connection, {content.annotator for content in drafts})
    rounds, known = _answers_of(connection, {content.prompt_id for content in drafts})
    seq, now = last_seq(connection), int(time.time() * 1000)
    fresh: list[dict[str, Any]] = []
    for position, (uuid, content, client_ms) in enumerate(submissions):
        if uuid in stored:
            _same(stored[uuid], content)
            continue
        if content.prompt_id not in rounds:
            raise UserError(f"There is no prompt {content.prompt_id} in the store: add it before judging it.")
        round_ = settle(content, rounds[content.prompt_id], known[content.prompt_id], complete=complete)
        seq += 1
        event = Event(
            id=uuid,
            seq=seq,
            kind=content.kind,
            annotator=content.annotator,
            prompt_id=content.prompt_id,
            item=json.dumps([*content.question, round_], ensure_ascii=False),
            criterion=content.criterion,
            round=round_,
            payload=content.payload,
            target=None,
            seconds=content.seconds,
            client_ms=client_ms,
            server_ms=server_ms[position] if server_ms else now,
        )
        stored[uuid] = event
        fresh.append(_row(event))
    if fresh:
        connection.execute(insert(events), fresh)
    return [stored[uuid] for uuid, _, _ in submissions]


def undo(connection: Connection, target: UUID, annotator: str, uuid: UUID, client_ms: int | None) -> Event:
    """Append the event that takes `target` back; the judgement before it, if any, counts again."""
    stored = known_events(connection, [uuid, target])
    if uuid in stored:
        if stored[uuid].kind != "undo" or stored[uuid].target != target:
            raise UserError(f"Event {uuid} already says something else: give every event its own UUID.")
        return stored[uuid]
    if target not in stored or stored[target].annotator != annotator:
        raise UserError(f"{annotator} has no judgement {target} to undo: check its id.")
    undone = stored[target]
    if undone.kind == "undo":
        raise UserError("An undo cannot be undone: submit the judgement again.")
    if connection.execute(select(events.c.id).where(events.c.target == target)).first():
        raise UserError(f"Judgement {target} is already undone.")
    event = Event(
        id=uuid,
        seq=last_seq(connection) + 1,
        kind="undo",
        annotator=annotator,
        prompt_id=undone.prompt_id,
        item=undone.item,
        criterion=undone.criterion,
        round=undone.round,
        payload={},
        target=target,
        seconds=0.0,
        client_ms=client_ms,
        server_ms=int(time.time() * 1000),
    )
    connection.execute(insert(events), [_row(event)])
    return event


def last_seq(connection: Connection) -> int:
    """Return the number of the newest event, 0 if there is none."""
    return connection.execute(select(func.max(events.c.seq))).scalar_one() or 0


def known_events(connection: Connection, uuids: Collection[UUID]) -> dict[UUID, Event]:
    """Return those of the events that are stored."""
    return {
        row.id: as_event(row)
        for chunk in chunks(uuids)
        for row in connection.execute(select(events).where(events.c.id.in_(chunk)))
    }


def chunks(keys: Iterable[Key]) -> Iterator[Sequence[Key]]:
    """Cut the distinct keys into pieces that one IN (...) can take."""
    distinct = list(dict.fromkeys(keys))
    for start in range(0, len(distinct), CHUNK):
        yield distinct[start : start + CHUNK]


def present(connection: Connection, column: ColumnElement[str], keys: Iterable[str]) -> set[str]:
    """Return those of the keys that the column holds."""
    return {
        key
        for chunk in chunks(keys)
        for key in connection.execute(select(column).where(column.in_(chunk))).scalars()
    }


def _require_annotators(connection: Connection, names: set[str]) -> None:
    unknown = sorted(names - present(connection, annotators.c.name, names))
    if unknown:
        raise UserError(f"There is no annotator '{unknown[0]}' in the store: add them first.")


def _answers_of(connection: Connection, ids: set[str]) -> tuple[dict[str, int], dict[str, Rounds]]:
    rounds: dict[str, int] = {}
    known: dict[str, Rounds] = {}
    for chunk in chunks(ids):
        for key, round_ in connection.execute(
            select(prompts.c.id, prompts.c.round).where(prompts.c.id.in_(chunk))
        ):
            rounds[key], known[key] = round_, {}
        for prompt_id, key, round_ in connection.execute(
            select(answers.c.prompt_id, answers.c.id, answers.c.round).where(answers.c.prompt_id.in_(chunk))
        ):
            known[prompt_id][key] = round_
    return rounds, known


def _same(event: Event, content: Draft) -> None:
    kept = (event.kind, event.annotator, event.prompt_id, event.criterion, event.payload)
    if kept != (content.kind, content.annotator, content.prompt_id, content.criterion, content.payload):
        raise UserError(f"Event {event.id} already says something else: give every event its own UUID.")


def _row(event: Event) -> dict[str, Any]:
    return {name: getattr(event, name) for name in Event.__slots__}
