"""Batches of tasks: made, put in order, counted, stopped."""

import hashlib
import itertools
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, get_args

import numpy as np
from sqlalchemy import Connection, func, insert, select, update

from heedful.data.store.events import answers_of
from heedful.data.store.rules import check_name, check_text
from heedful.data.store.schema import batches, prompts, tasks, work
from heedful.errors import UserError
from heedful.people.chance import chance
from heedful.people.records import (
    Batch,
    BatchSettings,
    BatchState,
    NewTask,
    Progress,
    Question,
    Stop,
    TaskLine,
)
from heedful.people.translate import SIZES

ROOM_FOR_ALL = 1_000_000
"""How many annotators may answer a gold task: each of them, once."""


def create(
    connection: Connection, id: str, name: str, settings: BatchSettings, given: Iterable[NewTask]
) -> Batch:
    """Make a batch with its tasks; the same again adds what is missing, another content is a UserError."""
    check_name(id, "A batch's id")
    check_name(name, "A batch's name")
    check_settings(settings)
    found = connection.execute(select(batches).where(batches.c.id == id)).first()
    if found is None:
        number = (connection.execute(select(func.max(batches.c.number))).scalar_one() or 0) + 1
        row = {
            "id": id,
            "number": number,
            "name": name,
            "settings": asdict(settings),
            "priority": settings.priority,
            "state": "open",
            "reason": "",
            "created_ms": int(time.time() * 1000),
            **dict.fromkeys(("tasks", "wanted", "done"), 0),
            "seconds": 0.0,
        }
        connection.execute(insert(batches), [row])
    elif (as_settings(found.settings), found.name) != (settings, name):
        raise UserError(f"There is a batch '{id}' already, with other settings: give this one another id.")
    add_tasks(connection, id, given)
    return get(connection, id)


def check_settings(settings: BatchSettings) -> None:
    """Raise a UserError for settings that ask for what cannot be."""
    if settings.question not in get_args(Question):
        raise UserError(
            f"A question is one of {', '.join(get_args(Question))}, not {settings.question!r:.40}."
        )
    if not settings.criteria or len(set(settings.criteria)) != len(settings.criteria):
        raise UserError("A batch needs criteria, each once: give for instance 'overall'.")
    for label in (*settings.criteria, *settings.flags):
        check_name(label, "A criterion or a flag")
    if not 1 <= settings.overlap <= 1000:
        raise UserError(f"The overlap must be 1 to 1000 annotators a task, not {settings.overlap}.")
    if not 0 <= settings.gold_rate <= 0.5:
        raise UserError(f"The rate of hidden gold must lie between 0 and 0.5, not {settings.gold_rate}.")
    if not 10 <= settings.lease_seconds <= 7 * 86400:
        raise UserError("A lease must last between 10 seconds and a week.")
    if not settings.step_separator:
        raise UserError("The separator of steps must not be empty: the usual one is a line break.")
    if settings.instructions:
        check_text(settings.instructions, "The instructions")
    if settings.round < 0 or not 0 <= settings.cutoff <= 1:
        raise UserError("A round is 0 or more, and a cut-off lies between 0 and 1.")


def add_tasks(connection: Connection, batch: str, given: Iterable[NewTask]) -> int:
    """Add the tasks that are new, after those that are there, and return how many."""
    found, new = get(connection, batch), list(given)
    settings = found.settings
    _, known = answers_of(connection, {task.prompt_id for task in new})
    fresh: dict[str, NewTask] = {}
    for task in new:
        _check_task(task, settings, known)
        fresh.setdefault(_task_id(batch, task), task)
    there = {key for (key,) in connection.execute(select(tasks.c.id).where(tasks.c.batch == batch))}
    names = _in_order([name for name in fresh if name not in there], fresh, settings)
    last = connection.execute(select(func.max(tasks.c.position)).where(tasks.c.batch == batch)).scalar_one()
    start = 0 if last is None else last + 1
    rows = [
        {
            "id": name,
            "batch": batch,
            "position": start + number,
            "prompt_id": fresh[name].prompt_id,
            "answers": list(fresh[name].answers),
            "gold": None,
            "is_gold": False,
            "room": settings.overlap,
            **dict.fromkeys(("done", "held"), 0),
            "available": True,
        }
        for number, name in enumerate(names)
    ]
    if rows:
        connection.execute(insert(tasks), rows)
        counted = {"tasks": batches.c.tasks + len(rows)}
        counted["wanted"] = batches.c.wanted + len(rows) * settings.overlap
        connection.execute(update(batches).where(batches.c.id == batch).values(counted))
    return len(rows)


def _check_task(task: NewTask, settings: BatchSettings, known: Mapping[str, Mapping[str, Any]]) -> None:
    if task.prompt_id not in known:
        raise UserError(f"There is no prompt {task.prompt_id} in the store: add it before asking about it.")
    least, most = SIZES[settings.question]
    if not least <= len(task.answers) <= most or len(set(task.answers)) != len(task.answers):
        count = str(least) if least == most else f"{least} to {most}"
        raise UserError(
            f"A task of '{settings.question}' is about {count} different answers, not {len(task.answers)}."
        )
    for answer in task.answers:
        if answer not in known[task.prompt_id]:
            raise UserError(f"Answer {answer} is not an answer to prompt {task.prompt_id}: add it first.")
    if any(len(row) != len(task.answers) for row in task.scores):
        raise UserError(f"The scores for prompt {task.prompt_id} must hold one number an answer.")


def _task_id(batch: str, task: NewTask) -> str:
    content = json.dumps([batch, task.prompt_id, *task.answers], ensure_ascii=True)
    return hashlib.blake2b(content.encode(), digest_size=12).hexdigest()


def _in_order(names: list[str], given: Mapping[str, NewTask], settings: BatchSettings) -> list[str]:
    drawn = {name: chance(settings.seed, "position", name) for name in names}
    if settings.choice == "random":
        return sorted(names, key=lambda name: drawn[name])
    return sorted(names, key=lambda name: (-disagreement(given[name].scores), drawn[name]))


def disagreement(scores: Sequence[Sequence[float]]) -> float:
    """How far reward models differ about a prompt: the spread of P(first better), averaged over its pairs.

    `scores` are models x answers; sigma(score difference) is a reward model's probability (Bradley-Terry), and
    the standard deviation among models what to ask about first (Christiano et al. 2017, arXiv 1706.03741,
    section 2.2.4). 0 with fewer than two models or answers.
    """
    table = np.asarray(scores, dtype=np.float64)
    if table.ndim != 2 or table.shape[0] < 2 or table.shape[1] < 2:
        return 0.0
    spread = [
        (1 / (1 + np.exp(-(table[:, i] - table[:, j])))).std()
        for i, j in itertools.combinations(range(table.shape[1]), 2)
    ]
    return float(np.mean(spread))


def get(connection: Connection, id: str) -> Batch:
    """A batch by its id."""
    row = connection.execute(select(batches).where(batches.c.id == id)).first()
    if row is None:
        raise UserError(f"There is no batch '{id}'.")
    return as_batch(row)


def all_of(connection: Connection) -> list[Batch]:
    """Every batch: those of high priority first, then the older."""
    query = select(batches).order_by(batches.c.priority.desc(), batches.c.number)
    return [as_batch(row) for row in connection.execute(query)]


def as_batch(row: Any) -> Batch:
    """A row of the table as a record."""
    settings = replace(as_settings(row.settings), priority=row.priority)
    return Batch(row.id, row.number, row.name, settings, row.state, row.reason, row.created_ms)


def as_settings(stored: Mapping[str, Any]) -> BatchSettings:
    """Settings from their JSON."""
    lists = {name: tuple(stored[name]) for name in ("criteria", "flags")}
    return BatchSettings(**{**stored, **lists, "stop": Stop(**stored["stop"])})


def set_state(connection: Connection, id: str, state: BatchState, reason: str) -> Batch:
    """Open, pause or close a batch."""
    if state not in get_args(BatchState):
        raise UserError(f"A batch is one of {', '.join(get_args(BatchState))}, not {state!r:.40}.")
    get(connection, id)
    connection.execute(update(batches).where(batches.c.id == id).values(state=state, reason=reason))
    return get(connection, id)


def set_priority(connection: Connection, id: str, priority: int) -> Batch:
    """Batches of high priority are worked on first."""
    get(connection, id)
    connection.execute(update(batches).where(batches.c.id == id).values(priority=priority))
    return get(connection, id)


def progress(connection: Connection, id: str) -> Progress:
    """How far a batch is."""
    batch = get(connection, id)
    row = connection.execute(select(batches).where(batches.c.id == id)).one()
    states: dict[tuple[str, str], int] = {
        (state, name): n
        for state, name, n in connection.execute(
            select(work.c.state, work.c.annotator, func.count())
            .where(work.c.batch == id)
            .group_by(work.c.state, work.c.annotator)
        )
    }
    totals = {state: sum(n for (of, _), n in states.items() if of == state) for state, _ in states}
    return Progress(
        batch=id,
        tasks=row.tasks,
        wanted=row.wanted,
        done=row.done,
        held=totals.get("leased", 0),
        skipped=totals.get("skipped", 0),
        judgements=totals.get("answered", 0),
        seconds=row.seconds,
        annotators={name: n for (state, name), n in sorted(states.items()) if state == "answered"},
        finished=batch.state == "closed",
        reason=batch.reason,
    )


def task_lines(
    connection: Connection, id: str, limit: int | None, offset: int, gold: bool | None
) -> list[TaskLine]:
    """A batch's tasks in the order of asking."""
    get(connection, id)
    skipped = (
        select(func.count()).where(work.c.task == tasks.c.id, work.c.state == "skipped").scalar_subquery()
    )
    query = (
        select(tasks, prompts.c.messages, skipped.label("skipped"))
        .join(prompts, prompts.c.id == tasks.c.prompt_id)
        .where(tasks.c.batch == id)
        .order_by(tasks.c.position)
        .offset(offset)
    )
    if gold is not None:
        query = query.where(tasks.c.is_gold.is_(gold))
    if limit is not None:
        query = query.limit(limit)
    return [
        TaskLine(row.id, title(row.messages), row.done, row.held, row.skipped, row.is_gold)
        for row in connection.execute(query)
    ]


def title(messages: Sequence[Mapping[str, str]]) -> str:
    """The beginning of a dialogue's last message."""
    return " ".join(messages[-1]["content"].split())[:80] if messages else ""
