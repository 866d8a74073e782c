"""The current judgements as numbers, kept beside the journal so that statistics need not read a million payloads.

Whatever stands here follows from the journal: `rebuild` makes it anew.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, text

from heedful.data.store import schema
from heedful.data.store.judgements import Known, as_event
from heedful.data.store.records import Event
from heedful.data.store.schema import batches, judgements, marks, names, tasks

COMPARISON, RANKING, RATING, STEPS = 1, 2, 3, 4
KINDS = {
    "comparison": COMPARISON,
    "panel_comparison": COMPARISON,
    "ranking": RANKING,
    "rating": RATING,
    "panel_rating": RATING,
    "steps": STEPS,
}
"""Kinds of events that have marks, and the numbers of these."""

Numbers = Mapping[str, tuple[int, Mapping[str, Known]]]
"""For each prompt its number, and what is known of the answers to it."""

_SUPERSEDED = text(
    """DELETE FROM marks WHERE event IN (
    SELECT old.seq FROM events AS later JOIN events AS old
    ON old.annotator = later.annotator AND old.kind = later.kind AND old.item = later.item
    AND old.seq < later.seq
    WHERE later.seq > :after AND later.kind <> 'undo')"""
)

Row = dict[str, Any]
PAGE = 5000


def add(
    connection: Connection, events: Sequence[Event], numbers: Numbers, *, batch: int, after: int | None
) -> None:
    """Write the marks of events, and remove those that events numbered above `after` supersede."""
    if not events:
        return
    known = numbered(connection, {name for event in events for name in (event.annotator, event.criterion)})
    rows: list[Row] = []
    for event in events:
        seq, answers = numbers[event.prompt_id]
        rows += _rows(event, seq, answers, known, batch)
    if rows:
        connection.execute(insert(marks), rows)
    if after is not None:
        connection.execute(_SUPERSEDED, {"after": after})


def remove(connection: Connection, seqs: Sequence[int]) -> None:
    """Remove the marks of events."""
    connection.execute(delete(marks).where(marks.c.event.in_(list(seqs))))


def batch_of(connection: Connection, task: str | None) -> int:
    """The number of a task's batch, 0 without one."""
    if task is None:
        return 0
    query = select(batches.c.number).join(tasks, tasks.c.batch == batches.c.id).where(tasks.c.id == task)
    number: int = connection.execute(query).scalar_one()
    return number


def numbered(connection: Connection, wanted: Iterable[str]) -> dict[str, int]:
    """The numbers of annotators' names and criteria; new ones get the next."""
    wanted = sorted(set(wanted))
    query = select(names.c.name, names.c.number)
    narrow = query.where(names.c.name.in_(wanted)) if len(wanted) < 500 else query
    found: dict[str, int] = dict(connection.execute(narrow).tuples().all())
    fresh = [name for name in wanted if name not in found]
    if fresh:
        last = connection.execute(select(func.max(names.c.number))).scalar_one() or 0
        new = {name: last + 1 + place for place, name in enumerate(fresh)}
        connection.execute(insert(names), [{"name": name, "number": number} for name, number in new.items()])
        found |= new
    return found


def rebuild(connection: Connection) -> None:
    """Make the marks anew from the current judgements."""
    connection.execute(delete(marks))
    known: dict[str, dict[str, Known]] = {}
    prompts = dict(connection.execute(select(schema.prompts.c.id, schema.prompts.c.seq)).tuples().all())
    columns = schema.answers.c
    for prompt, key, round_, seq, length in connection.execute(
        select(columns.prompt_id, columns.id, columns.round, columns.seq, columns.length)
    ):
        known.setdefault(prompt, {})[key] = Known(round_, seq, length, False)
    numbers = {key: (seq, known.get(key, {})) for key, seq in prompts.items()}
    of_task = dict(
        connection.execute(select(tasks.c.id, batches.c.number).join(batches, tasks.c.batch == batches.c.id))
        .tuples()
        .all()
    )
    query = select(judgements).where(judgements.c.kind.in_(KINDS)).order_by(judgements.c.seq)
    after = 0
    while page := connection.execute(query.where(judgements.c.seq > after).limit(PAGE)).all():
        events = [as_event(row) for row in page]
        after = events[-1].seq
        for batch in {of_task.get(event.task or "", 0) for event in events}:
            of_batch = [event for event in events if of_task.get(event.task or "", 0) == batch]
            add(connection, of_batch, numbers, batch=batch, after=None)


def _rows(
    event: Event, prompt: int, answers: Mapping[str, Known], known: Mapping[str, int], batch: int
) -> list[Row]:
    kind = KINDS.get(event.kind, 0)
    if not kind:
        return []
    common = {
        "event": event.seq,
        "kind": kind,
        "batch": batch,
        "round": event.round,
        "criterion": known[event.criterion],
        "annotator": known[event.annotator],
        "prompt": prompt,
    }
    return [
        {**common, "part": part, "a": a, "b": b, "value": value, "side": side} | {"seconds": event.seconds}
        if part == 0
        else {**common, "part": part, "a": a, "b": b, "value": value, "side": side, "seconds": 0.0}
        for part, (a, b, value, side) in enumerate(_said(event, answers))
    ]


def _said(event: Event, answers: Mapping[str, Known]) -> list[tuple[int, int, int, int]]:
    """What an event says: answers a and b (0 if there is one only), the value, and 1 if a was shown first."""
    said = event.payload
    if KINDS[event.kind] == RATING:
        return [(answers[said["answer"]].seq, 0, said["score"], 0)]
    if KINDS[event.kind] == STEPS:
        return [(answers[said["answer"]].seq, 0, label, 0) for label in said["labels"]]
    if KINDS[event.kind] == COMPARISON:
        return [_pair(answers[said["first"]].seq, answers[said["second"]].seq, said["preference"], 1)]
    shown = {name: place for place, name in enumerate(said.get("shown", ()))}
    place = {name: number for number, tier in enumerate(said["order"]) for name in tier}
    rows = []
    for one, other in combinations(place, 2):
        side = 0 if not shown else 1 if shown[one] < shown[other] else -1
        value = (place[one] < place[other]) - (place[one] > place[other])
        rows.append(_pair(answers[one].seq, answers[other].seq, value, side))
    return rows


def _pair(one: int, other: int, value: int, side: int) -> tuple[int, int, int, int]:
    return (one, other, value, side) if one < other else (other, one, -value, -side)
