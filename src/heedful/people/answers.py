"""What annotators send: each submission once, each against the version that it was written for."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid5

from sqlalchemy import Connection, Row, and_, exists, func, insert, select, update

from heedful.data.store import events as events_
from heedful.data.store import items
from heedful.data.store.judgements import as_event, draft
from heedful.data.store.records import Annotator, Judgement, Skip
from heedful.data.store.rules import check_name, check_text
from heedful.data.store.schema import batches, events, submissions, tasks, work
from heedful.errors import UserError
from heedful.people import batches as batches_
from heedful.people import gold, leases
from heedful.people.records import Answered, Assignment, Conflict, Mine, Said
from heedful.people.replies import Reply
from heedful.people.stopping import stop_if_enough
from heedful.people.translate import translate

GOLD = "gold"
"""The annotator under whose name the researchers' own answers stand."""


def submit(
    connection: Connection,
    annotator: str,
    task: str,
    reply: Reply,
    *,
    uuid: UUID,
    version: int,
    seconds: float,
    client_ms: int | None,
) -> Answered:
    """Store a reply, or return what the same UUID stored before."""
    if (first := _seen(connection, annotator, task, uuid, "reply", reply.json())) is not None:
        return first
    mine = _fitting(connection, annotator, task, version)
    sheet = leases.sheet_of(connection, task, mine.shown)
    judgements = translate(sheet, reply, annotator, seconds)
    return _store(connection, mine, judgements, "reply", reply.json(), uuid, seconds, client_ms)


def skip(
    connection: Connection,
    annotator: str,
    task: str,
    reason: str,
    *,
    uuid: UUID,
    version: int,
    seconds: float,
    client_ms: int | None,
) -> Answered:
    """Pass a task by for good; somebody else gets it."""
    check_text(reason, "The reason for skipping")
    if (first := _seen(connection, annotator, task, uuid, "skip", {"reason": reason})) is not None:
        return first
    mine = _fitting(connection, annotator, task, version)
    prompt = connection.execute(select(tasks.c.prompt_id).where(tasks.c.id == task)).scalar_one()
    passed: list[Judgement] = [Skip(prompt, annotator, reason, seconds)]
    return _store(connection, mine, passed, "skip", {"reason": reason}, uuid, seconds, client_ms)


def undo(
    connection: Connection, annotator: str, task: str, *, uuid: UUID, version: int, client_ms: int | None
) -> Assignment:
    """Take a whole answer back, and lease its task to the annotator again."""
    if _seen(connection, annotator, task, uuid, "undo", {}) is not None:
        return leases.assignment(connection, annotator, task)
    mine = _fitting(connection, annotator, task, version)
    if mine.state not in ("answered", "skipped"):
        raise UserError("There is nothing to take back: this task has no answer of yours.")
    before = events_.last_seq(connection)
    _take_back(connection, mine, set(), uuid, client_ms)
    old = connection.execute(select(submissions).where(submissions.c.id == mine.submission)).one()
    if mine.state == "answered":
        _settle_counts(connection, mine, -1, 0.0)
    _log(connection, mine, "undo", {}, uuid, before, 0.0, client_ms)
    values = {"version": mine.version + 1, "submission": None, "state": "released"}
    values["draft"] = old.reply if old.kind == "reply" else None
    connection.execute(update(work).where(_own(annotator, task)).values(values))
    leases.hold_again(connection, annotator, task)
    gold.judge(connection, annotator, task)
    return leases.assignment(connection, annotator, task)


def _seen(
    connection: Connection, annotator: str, task: str, uuid: UUID, kind: str, reply: Any
) -> Answered | None:
    row = connection.execute(select(submissions).where(submissions.c.id == uuid)).first()
    if row is None:
        return None
    if (row.annotator, row.task, row.kind, row.reply) != (annotator, task, kind, reply):
        raise UserError(f"Submission {uuid} already says something else: give every submission its own UUID.")
    state = {"reply": "answered", "skip": "skipped", "undo": "leased"}[row.kind]
    return _answered(connection, row.task, row.version, state, row)


def _fitting(connection: Connection, annotator: str, task: str, version: int) -> Row[Any]:
    """The annotator's standing, if what they send was written for it and there is room for it."""
    mine = leases.standing(connection, annotator, task)
    if version != mine.version:
        raise Conflict(
            f"This task was changed elsewhere (version {mine.version}, yours is {version}).",
            "stale",
            state(connection, annotator, task),
        )
    if mine.state == "released":
        row = connection.execute(select(tasks).where(tasks.c.id == task)).one()
        if row.done + row.held >= row.room:
            raise Conflict(
                "The time for this task ended, and others have answered it since.",
                "taken",
                state(connection, annotator, task),
            )
    return mine


def _store(
    connection: Connection,
    mine: Row[Any],
    judgements: Sequence[Judgement],
    kind: str,
    reply: dict[str, Any],
    uuid: UUID,
    seconds: float,
    client_ms: int | None,
) -> Answered:
    drafts = [
        (uuid5(uuid, str(number)), draft(judgement), client_ms) for number, judgement in enumerate(judgements)
    ]
    before = events_.last_seq(connection)
    number = connection.execute(select(batches.c.number).where(batches.c.id == mine.batch)).scalar_one()
    added = events_.append(connection, drafts, complete=False, task=mine.task, batch=number)
    if mine.version:
        kept = {(event.kind, event.item) for event in added}
        _take_back(connection, mine, kept, uuid, client_ms, upto=before)
    state_ = "skipped" if kind == "skip" else "answered"
    _log(connection, mine, kind, reply, uuid, before, seconds, client_ms)
    values = {"version": mine.version + 1, "state": state_, "draft": None, "submission": uuid}
    values["changed_ms"] = leases.now_ms()
    connection.execute(update(work).where(_own(mine.annotator, mine.task)).values(values))
    if mine.state == "leased":
        leases.count(connection, mine.task, held=-1)
    _settle_counts(connection, mine, (state_ == "answered") - (mine.state == "answered"), seconds)
    gold.judge(connection, mine.annotator, mine.task)
    if state_ == "answered":
        stop_if_enough(connection, mine.batch)
    return state(connection, mine.annotator, mine.task)


def _settle_counts(connection: Connection, mine: Row[Any], done: int, seconds: float) -> None:
    """Count an answer more or less for its task, and for its batch unless it is gold."""
    if done:
        leases.count(connection, mine.task, done=done)
    more = {"seconds": batches.c.seconds + seconds, "done": batches.c.done + (0 if mine.is_gold else done)}
    connection.execute(update(batches).where(batches.c.id == mine.batch).values(more))


def _take_back(
    connection: Connection,
    mine: Row[Any],
    kept: set[tuple[str, str]],
    uuid: UUID,
    client_ms: int | None,
    *,
    upto: int | None = None,
) -> None:
    """Undo every event of the task by the annotator that still stands, except those that were said anew.

    The events of a submission lie between its two numbers.
    """
    spans = connection.execute(
        select(submissions.c.first_event, submissions.c.last_event).where(
            submissions.c.task == mine.task, submissions.c.annotator == mine.annotator
        )
    ).all()
    undone = events.alias()
    for first, last in spans:
        query = select(events).where(
            events.c.seq.between(first, last),
            events.c.kind != "undo",
            ~exists().where(undone.c.target == events.c.id),
        )
        for row in connection.execute(query).all():
            event = as_event(row)
            if (event.kind, event.item) not in kept and (upto is None or event.seq <= upto):
                events_.undo(
                    connection, event.id, mine.annotator, uuid5(uuid, f"undo {event.seq}"), client_ms
                )


def _log(
    connection: Connection,
    mine: Row[Any],
    kind: str,
    reply: dict[str, Any],
    uuid: UUID,
    before: int,
    seconds: float,
    client_ms: int | None,
) -> None:
    row = {
        "id": uuid,
        "task": mine.task,
        "annotator": mine.annotator,
        "version": mine.version + 1,
        "kind": kind,
        "reply": reply,
        "shown": mine.shown,
        "first_event": before + 1,
        "last_event": events_.last_seq(connection),
        "seconds": seconds,
        "client_ms": client_ms,
        "server_ms": leases.now_ms(),
    }
    connection.execute(insert(submissions), [row])


def _own(annotator: str, task: str) -> Any:
    return and_(work.c.annotator == annotator, work.c.task == task)


def state(connection: Connection, annotator: str, task: str) -> Answered:
    """Where the annotator stands with a task."""
    mine = leases.standing(connection, annotator, task)
    row = None
    if mine.submission is not None:
        row = connection.execute(select(submissions).where(submissions.c.id == mine.submission)).one()
    return _answered(connection, task, mine.version, mine.state, row)


def _answered(connection: Connection, task: str, version: int, state_: Any, row: Row[Any] | None) -> Answered:
    about = connection.execute(
        select(tasks.c.batch, tasks.c.prompt_id, batches.c.settings)
        .join(batches, batches.c.id == tasks.c.batch)
        .where(tasks.c.id == task)
    ).one()
    found: tuple[UUID, ...] = ()
    if row is not None:
        span = events.c.seq.between(row.first_event, row.last_event)
        query = select(events.c.id).where(span, events.c.kind != "undo").order_by(events.c.seq)
        found = tuple(connection.execute(query).scalars())
    return Answered(
        task=task,
        batch=about.batch,
        version=version,
        state=state_,
        reply=row.reply if row is not None and row.kind == "reply" else None,
        reason=row.reply["reason"] if row is not None and row.kind == "skip" else "",
        submission=None if row is None else row.id,
        events=found,
        seconds=0.0 if row is None else row.seconds,
        server_ms=0 if row is None else row.server_ms,
        question=about.settings["question"],
        title=leases.title_of(connection, about.prompt_id),
    )


def history(connection: Connection, annotator: str, limit: int, before_ms: int | None) -> list[Answered]:
    """An annotator's answered and skipped tasks, the newest first."""
    query = select(work.c.task).where(
        work.c.annotator == annotator, work.c.state.in_(("answered", "skipped"))
    )
    if before_ms is not None:
        query = query.where(work.c.changed_ms < before_ms)
    found = connection.execute(query.order_by(work.c.changed_ms.desc(), work.c.task).limit(limit)).scalars()
    return [state(connection, annotator, task) for task in found.all()]


def set_gold(connection: Connection, task: str, reply: Reply, researcher: str, uuid: UUID) -> None:
    """Make a task hidden gold, by the researchers' own answer in the task's stored order."""
    check_name(researcher, "A researcher's name")
    row = connection.execute(select(tasks).where(tasks.c.id == task)).first()
    if row is None:
        raise UserError(f"There is no task {task!r:.80}.")
    sheet = leases.sheet_of(connection, task, range(len(row.answers)))
    items.put_annotators(connection, [Annotator(GOLD, "gold")])
    said = [draft(one) for one in translate(sheet, reply, GOLD, 0.0)]
    drafts = [(uuid5(uuid, str(number)), one, None) for number, one in enumerate(said)]
    events_.append(connection, drafts, complete=False, task=task)
    values: dict[str, Any] = {"gold": {**reply.json(), "by": researcher}}
    if not row.is_gold:
        values |= {"is_gold": True, "room": batches_.ROOM_FOR_ALL, "available": True}
        less = {name: batches.c[name] - by for name, by in (("wanted", row.room), ("done", row.done))}
        less["tasks"] = batches.c.tasks - 1
        connection.execute(update(batches).where(batches.c.id == row.batch).values(less))
        connection.execute(update(work).where(work.c.task == task).values(is_gold=True))
    connection.execute(update(tasks).where(tasks.c.id == task).values(values))


def replies(connection: Connection, task: str) -> list[Said]:
    """What everybody replied to a task, in its stored order."""
    query = (
        select(work.c.annotator, work.c.shown, submissions)
        .join(submissions, submissions.c.id == work.c.submission)
        .where(work.c.task == task, work.c.state == "answered")
        .order_by(submissions.c.server_ms)
    )
    return [
        Said(row.annotator, Reply.parse(row.reply).moved(row.shown).json(), row.seconds, row.server_ms)
        for row in connection.execute(query)
    ]


def mine(connection: Connection, annotator: str, midnight_ms: int) -> Mine:
    """The annotator's own progress."""
    leases.known_annotator(connection, annotator)
    counted = select(work.c.batch, work.c.state, func.count()).where(
        work.c.annotator == annotator, work.c.state != "released"
    )
    found: dict[tuple[str, str], int] = {
        (batch, state_): n
        for batch, state_, n in connection.execute(counted.group_by(work.c.batch, work.c.state))
    }
    today = select(func.count()).where(
        work.c.annotator == annotator, work.c.changed_ms >= midnight_ms, work.c.state == "answered"
    )
    time_ = select(func.sum(submissions.c.seconds)).where(submissions.c.annotator == annotator)
    left = 0
    for row in connection.execute(select(batches).where(batches.c.state == "open")):
        touched = sum(n for (batch, _), n in found.items() if batch == row.id)
        left += max(0, min(row.tasks - touched, row.wanted - row.done))
    return Mine(
        answered=sum(n for (_, state_), n in found.items() if state_ == "answered"),
        skipped=sum(n for (_, state_), n in found.items() if state_ == "skipped"),
        today=connection.execute(today).scalar_one(),
        seconds=connection.execute(time_).scalar_one() or 0.0,
        left=left,
    )
