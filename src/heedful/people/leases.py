"""Who holds which task: claimed in one writing transaction, so that no task ever has more than its overlap."""

import time
from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, Row, and_, case, delete, exists, func, insert, select, update

from heedful.data.steps import split_steps
from heedful.data.store import items
from heedful.data.store.connect import dump_json
from heedful.data.store.schema import annotators, answers, batches, prompts, submissions, tasks, work
from heedful.errors import UserError
from heedful.people import batches as batches_
from heedful.people.chance import chance, shuffled
from heedful.people.records import Assignment, Batch, BatchSettings, Conflict, Nothing, Shown
from heedful.people.translate import Sheet

LONGEST_DRAFT = 1_000_000
"""Characters of a draft's JSON."""


def now_ms() -> int:
    """Milliseconds since 1970."""
    return int(time.time() * 1000)


def claim(connection: Connection, annotator: str, batch: str | None) -> Assignment | Nothing:
    """Hand the annotator the next task, or the one that they hold already."""
    who = known_annotator(connection, annotator)
    expire(connection)
    if who.paused:
        return Nothing("paused", who.paused)
    held = select(work.c.task).where(work.c.annotator == annotator, work.c.state == "leased")
    if batch is not None:
        held = held.where(work.c.batch == batch)
    if (task := connection.execute(held.limit(1)).scalar()) is not None:
        renew(connection, annotator, task)
        return assignment(connection, annotator, task)
    candidates = [batches_.get(connection, batch)] if batch else batches_.all_of(connection)
    open_ones = [one for one in candidates if one.state == "open"]
    allowed = [one for one in open_ones if who.qualified is True or not one.settings.qualified]
    for one in allowed:
        if (task := _next(connection, annotator, one)) is not None:
            _hold(connection, annotator, task, one)
            return assignment(connection, annotator, task)
    return _nothing(batch, candidates, open_ones, allowed)


def _nothing(
    batch: str | None, candidates: list[Batch], open_ones: list[Batch], allowed: list[Batch]
) -> Nothing:
    if allowed and len(allowed) == len(open_ones):
        return Nothing("empty", "Everything that is open is answered or in others' hands.")
    if open_ones:
        return Nothing("unqualified", "What is open is for annotators who passed the qualifying set.")
    reason = candidates[0].reason if batch and candidates else ""
    return Nothing("closed", reason or "No batch is open.")


def known_annotator(connection: Connection, name: str) -> Row[Any]:
    """The annotator's row; a UserError without one."""
    row = connection.execute(select(annotators).where(annotators.c.name == name)).first()
    if row is None:
        raise UserError(f"There is no annotator '{name}' in the store: add them first.")
    return row


def expire(connection: Connection) -> None:
    """Let go of leases whose time is over; drafts stay."""
    query = select(work.c.task, work.c.annotator).where(
        work.c.state == "leased", work.c.expires_ms <= now_ms()
    )
    for task, annotator in connection.execute(query).all():
        let_go(connection, annotator, task)


def let_go(connection: Connection, annotator: str, task: str) -> None:
    """End a lease without an answer."""
    mine = and_(work.c.task == task, work.c.annotator == annotator, work.c.state == "leased")
    if connection.execute(update(work).where(mine).values(state="released")).rowcount:
        count(connection, task, held=-1)


def count(connection: Connection, task: str, *, done: int = 0, held: int = 0) -> None:
    """Change how often a task is answered and held, and so whether it is to be had."""
    columns = tasks.c
    taken = columns.done + done + columns.held + held
    connection.execute(
        update(tasks)
        .where(columns.id == task)
        .values(
            done=columns.done + done,
            held=columns.held + held,
            available=case((taken < columns.room, True), else_=False),
        )
    )


def _next(connection: Connection, annotator: str, batch: Batch) -> str | None:
    """The next task of a batch for the annotator: hidden gold when its turn has come, while there is work."""
    ordinary = _first(connection, annotator, batch.id)
    if batch.settings.purpose == "work" and ordinary is None:
        return None
    seed, rate = batch.settings.seed, batch.settings.gold_rate
    if batch.settings.purpose == "work":
        mine = select(func.count()).where(work.c.annotator == annotator, work.c.batch == batch.id)
        turn = connection.execute(mine).scalar_one()
        if chance(seed, "gold", batch.id, annotator, turn) >= rate:
            return ordinary
    gold = _gold(connection, annotator, batch.id)
    if not gold:
        return ordinary
    return min(gold, key=lambda task: chance(seed, "which gold", annotator, task))


def _touched(annotator: str) -> Any:
    """Whether the annotator has answered, skipped or holds the task."""
    return exists().where(
        work.c.task == tasks.c.id, work.c.annotator == annotator, work.c.state != "released"
    )


def _first(connection: Connection, annotator: str, batch: str) -> str | None:
    query = (
        select(tasks.c.id)
        .where(tasks.c.batch == batch, tasks.c.is_gold.is_(False), tasks.c.available.is_(True))
        .where(~_touched(annotator))
        .order_by(tasks.c.position)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    found: str | None = connection.execute(query).scalar()
    return found


def _gold(connection: Connection, annotator: str, batch: str) -> list[str]:
    query = select(tasks.c.id).where(
        tasks.c.batch == batch, tasks.c.is_gold.is_(True), tasks.c.available.is_(True), ~_touched(annotator)
    )
    return list(connection.execute(query).scalars())


def _hold(connection: Connection, annotator: str, task: str, batch: Batch) -> None:
    row = connection.execute(select(tasks.c.answers, tasks.c.is_gold).where(tasks.c.id == task)).one()
    now = now_ms()
    fresh = {
        "state": "leased",
        "lease": uuid4(),
        "expires_ms": now + int(batch.settings.lease_seconds * 1000),
        "changed_ms": now,
    }
    mine = and_(work.c.task == task, work.c.annotator == annotator)
    if not connection.execute(update(work).where(mine).values(fresh)).rowcount:
        shown = shuffled(len(row.answers), batch.settings.seed, "shown", task, annotator)
        first = {"task": task, "annotator": annotator, "batch": batch.id, "is_gold": row.is_gold}
        fixed = {"version": 0, "shown": shown, "draft": None, "submission": None}
        connection.execute(insert(work), [{**first, **fixed, **fresh}])
    count(connection, task, held=1)


def hold_again(connection: Connection, annotator: str, task: str) -> None:
    """Lease a task that the annotator has just taken back."""
    _hold(connection, annotator, task, batches_.get(connection, batch_of(connection, task)))


def batch_of(connection: Connection, task: str) -> str:
    """The batch of a task."""
    found: str | None = connection.execute(select(tasks.c.batch).where(tasks.c.id == task)).scalar()
    if found is None:
        raise UserError(f"There is no task {task!r:.80}.")
    return found


def standing(connection: Connection, annotator: str, task: str) -> Row[Any]:
    """The annotator's row of a task; for anybody else there is none."""
    row = connection.execute(select(work).where(work.c.task == task, work.c.annotator == annotator)).first()
    if row is None:
        raise UserError(f"There is no task {task!r:.80} in your hands: ask for the next one.")
    return row


def by_lease(connection: Connection, annotator: str, lease: UUID) -> Row[Any]:
    """The annotator's row of a lease that still holds."""
    row = connection.execute(select(work).where(work.c.annotator == annotator, work.c.lease == lease)).first()
    if row is None:
        raise UserError(f"There is no lease {lease} in your hands: ask for the next task.")
    if row.state != "leased" or row.expires_ms <= now_ms():
        raise Conflict("The lease has ended: what you send is still taken if there is room.", "expired")
    return row


def renew(connection: Connection, annotator: str, task: str) -> int:
    """Start the lease's time again, and return its new end in milliseconds."""
    settings = batches_.get(connection, batch_of(connection, task)).settings
    expires = now_ms() + int(settings.lease_seconds * 1000)
    mine = and_(work.c.task == task, work.c.annotator == annotator)
    connection.execute(update(work).where(mine).values(expires_ms=expires))
    return expires


def save_draft(connection: Connection, annotator: str, task: str, draft: Mapping[str, Any] | None) -> None:
    """Keep what the annotator has written so far; None forgets it."""
    standing(connection, annotator, task)
    try:
        size = len(dump_json(draft))
    except (TypeError, ValueError, RecursionError) as trouble:
        raise UserError(f"A draft must be plain JSON ({trouble}).") from None
    if size > LONGEST_DRAFT:
        raise UserError(f"A draft may have at most {LONGEST_DRAFT:,} characters.")
    mine = and_(work.c.task == task, work.c.annotator == annotator)
    connection.execute(update(work).where(mine).values(draft=draft))


def assignment(connection: Connection, annotator: str, task: str) -> Assignment:
    """The task as the annotator sees it."""
    mine = standing(connection, annotator, task)
    sheet = sheet_of(connection, task, mine.shown)
    reply = None
    if mine.submission is not None:
        query = select(submissions.c.reply).where(submissions.c.id == mine.submission)
        reply = connection.execute(query).scalar_one()
    return _assignment(connection, task, sheet, mine.lease, mine.expires_ms, mine.version, mine.draft, reply)


def preview(connection: Connection, task: str) -> Assignment:
    """The task in its stored order, for researchers."""
    row = connection.execute(select(tasks.c.answers, tasks.c.gold).where(tasks.c.id == task)).first()
    if row is None:
        raise UserError(f"There is no task {task!r:.80}.")
    sheet = sheet_of(connection, task, range(len(row.answers)))
    return _assignment(connection, task, sheet, UUID(int=0), 0, 0, None, row.gold)


def _assignment(
    connection: Connection,
    task: str,
    sheet: Sheet,
    lease: UUID,
    expires_ms: int,
    version: int,
    draft: Mapping[str, Any] | None,
    reply: Mapping[str, Any] | None,
) -> Assignment:
    settings = sheet.settings
    prompt = next(items.get_prompts(connection, [sheet.prompt_id], None))
    texts = [sheet.texts[name] for name in sheet.shown]
    separator = settings.step_separator if settings.question == "steps" else None
    return Assignment(
        task=task,
        batch=batch_of(connection, task),
        lease=lease,
        expires_ms=expires_ms,
        version=version,
        question=settings.question,
        criteria=settings.criteria,
        instructions=settings.instructions,
        flags=settings.flags,
        messages=prompt.messages,
        answers=tuple(Shown(text, split_steps(text, separator) if separator else ()) for text in texts),
        draft=draft,
        reply=reply,
    )


def sheet_of(connection: Connection, task: str, shown: Any) -> Sheet:
    """What a task is about, its answers in the order of the positions `shown`."""
    query = (
        select(tasks.c.prompt_id, tasks.c.answers, batches.c.settings)
        .join(batches, batches.c.id == tasks.c.batch)
        .where(tasks.c.id == task)
    )
    row = connection.execute(query).one()
    texts = dict(
        connection.execute(select(answers.c.id, answers.c.text).where(answers.c.id.in_(row.answers)))
        .tuples()
        .all()
    )
    ordered = tuple(row.answers[number] for number in shown)
    settings: BatchSettings = batches_.as_settings(row.settings)
    return Sheet(settings, row.prompt_id, ordered, texts)


def title_of(connection: Connection, prompt_id: str) -> str:
    """The beginning of a prompt's last message."""
    messages = connection.execute(select(prompts.c.messages).where(prompts.c.id == prompt_id)).scalar_one()
    return batches_.title(messages)


def forget_work(connection: Connection, annotator: str) -> None:
    """End what an annotator holds, and forget their drafts."""
    held = select(work.c.task).where(work.c.annotator == annotator, work.c.state == "leased")
    for task in connection.execute(held).scalars().all():
        let_go(connection, annotator, task)
    connection.execute(update(work).where(work.c.annotator == annotator).values(draft=None))
    connection.execute(
        delete(work).where(work.c.annotator == annotator, work.c.state == "released", work.c.version == 0)
    )
