"""Writing the journal: each UUID once, each event numbered in the order of commits."""

import json
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, func, insert, select

from heedful.data.store import marks
from heedful.data.store.judgements import Draft, Known, as_event, settle
from heedful.data.store.records import Event
from heedful.data.store.schema import annotators, answers, events, judgements, prompts
from heedful.errors import UserError

Key = TypeVar("Key")

CHUNK = 500
"""Keys in one IN (...): far below every database's limit on parameters."""

WRITTEN = ("demonstration", "edit")
"""The policies of answers that people wrote."""

Submission = tuple[UUID, Draft, int | None]
"""The event's UUID, its content, and the client's clock in milliseconds."""


def append(
    connection: Connection,
    submissions: Sequence[Submission],
    *,
    complete: bool = True,
    server_ms: Sequence[int] | None = None,
    task: str | None = None,
    batch: int = 0,
) -> list[Event]:
    """Store the submissions in a writing transaction, and return their events in the same order.

    A UUID that is already stored gives back its first event; it must say the same thing, else UserError.
    `complete` asks rankings to list every answer; `server_ms` gives times of storing other than now; `task` is
    the queue's task, and `batch` the number of its batch.
    """
    submissions = [(uuid, content.named(uuid), client_ms) for uuid, content, client_ms in submissions]
    stored = known_events(connection, [uuid for uuid, _, _ in submissions])
    drafts = [content for uuid, content, _ in submissions if uuid not in stored]
    _require_annotators(connection, {content.annotator for content in drafts})
    rounds, known = answers_of(connection, {content.prompt_id for content in drafts})
    before, now = last_seq(connection), int(time.time() * 1000)
    seq = before
    fresh: list[Event] = []
    written: list[dict[str, Any]] = []
    for position, (uuid, content, client_ms) in enumerate(submissions):
        if uuid in stored:
            _same(stored[uuid], content)
            continue
        if content.prompt_id not in rounds:
            raise UserError(f"There is no prompt {content.prompt_id} in the store: add it before judging it.")
        round_ = settle(content, rounds[content.prompt_id].round, known[content.prompt_id], complete=complete)
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
            task=task,
        )
        stored[uuid] = event
        fresh.append(event)
        if content.text is not None and content.payload["answer"] not in known[content.prompt_id]:
            written.append(_written(event, content.text))
    _insert(connection, fresh, written)
    numbers = {key: (prompt.seq, known[key]) for key, prompt in rounds.items()}
    marks.add(connection, fresh, numbers, batch=batch, after=before)
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
    _unmark(connection, undone)
    return event


def _unmark(connection: Connection, undone: Event) -> None:
    """What was taken back counts no more; the newest judgement of the same question does, if there is one."""
    back = connection.execute(
        select(judgements).where(
            judgements.c.annotator == undone.annotator,
            judgements.c.kind == undone.kind,
            judgements.c.item == undone.item,
        )
    ).first()
    marks.remove(connection, [undone.seq])
    if back is None or back.seq > undone.seq:
        return
    event = as_event(back)
    prompts_, known = answers_of(connection, {event.prompt_id})
    numbers = {event.prompt_id: (prompts_[event.prompt_id].seq, known[event.prompt_id])}
    marks.add(connection, [event], numbers, batch=marks.batch_of(connection, event.task), after=None)


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


@dataclass(frozen=True, slots=True)
class Numbered:
    """A prompt's round and number."""

    round: int
    seq: int


def answers_of(
    connection: Connection, ids: Iterable[str]
) -> tuple[dict[str, Numbered], dict[str, dict[str, Known]]]:
    """Return what is known of prompts and of the answers to each."""
    found: dict[str, Numbered] = {}
    known: dict[str, dict[str, Known]] = {}
    columns = (answers.c.prompt_id, answers.c.id, answers.c.round, answers.c.seq)
    for chunk in chunks(ids):
        for key, round_, seq in connection.execute(
            select(prompts.c.id, prompts.c.round, prompts.c.seq).where(prompts.c.id.in_(chunk))
        ):
            found[key], known[key] = Numbered(round_, seq), {}
        for prompt_id, key, round_, seq, length, policy in connection.execute(
            select(*columns, answers.c.length, answers.c.policy).where(answers.c.prompt_id.in_(chunk))
        ):
            known[prompt_id][key] = Known(round_, seq, length, policy in WRITTEN)
    return found, known


def _insert(connection: Connection, fresh: Sequence[Event], written: Sequence[dict[str, Any]]) -> None:
    if written:
        last = connection.execute(select(func.max(answers.c.seq))).scalar_one() or 0
        rows = [{**row, "seq": last + 1 + number} for number, row in enumerate(written)]
        connection.execute(insert(answers), rows)
    if fresh:
        connection.execute(insert(events), [_row(event) for event in fresh])


def _written(event: Event, text: str) -> dict[str, Any]:
    """The row of an answer that a person wrote."""
    return {
        "id": event.payload["answer"],
        "prompt_id": event.prompt_id,
        "text": text,
        "policy": event.kind,
        "round": event.round,
        "sampling": {"written_by": event.annotator},
        "finished": True,
        "length": len(text),
    }


def _same(event: Event, content: Draft) -> None:
    kept = (event.kind, event.annotator, event.prompt_id, event.criterion, event.payload)
    if kept != (content.kind, content.annotator, content.prompt_id, content.criterion, content.payload):
        raise UserError(f"Event {event.id} already says something else: give every event its own UUID.")


def _row(event: Event) -> dict[str, Any]:
    return {name: getattr(event, name) for name in Event.__slots__}
