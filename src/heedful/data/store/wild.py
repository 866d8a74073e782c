"""Judgements in the wild: what people said of a model's answers while they talked to it.

They wait apart from all others until a researcher has accepted them; a round of the loop then takes them into the
journal, where their prompts carry the task `chat` and the column `in_the_wild`. Personal data is masked before
anything is written.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import Connection, delete, insert, select, update

from heedful.data.messages import content_id, prompt_id
from heedful.data.personal import PATTERNS, masked
from heedful.data.store import schema
from heedful.data.store.judgements import event_id
from heedful.data.store.records import Event, Judgement
from heedful.data.store.store import Store
from heedful.data.store.wild_schema import wild
from heedful.errors import UserError
from heedful.types import Answer, Comparison, Message, Prompt, Rating

State = Literal["new", "accepted", "refused"]
TASK = "chat"
FORGOTTEN = "(forgotten)"


@dataclass(frozen=True, slots=True)
class Said:
    """An answer as its reader saw it: the model that wrote it, and how it was drawn."""

    text: str
    model: str
    sampling: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class WildJudgement:
    """A rating of one answer (1 worst to 7 best) or a comparison of two (-3 to 3, above 0: the first is better).

    Thumbs are ratings of 2 and 6.
    """

    id: UUID
    person: str
    kind: Literal["rating", "comparison"]
    messages: tuple[Message, ...]
    answers: tuple[Said, ...]
    value: int
    state: State = "new"
    reviewer: str = ""
    round: int | None = None
    created_ms: int = 0

    def __post_init__(self) -> None:
        wanted, low, high = {"rating": (1, 1, 7), "comparison": (2, -3, 3)}[self.kind]
        if len(self.answers) != wanted or not low <= self.value <= high:
            raise UserError(f"A {self.kind} is of {wanted} answers and lies between {low} and {high}.")
        if not self.messages or self.messages[-1].role != "user":
            raise UserError("What was answered must end with the user's message.")


def put(store: Store, judgement: WildJudgement, patterns: Mapping[str, str] = PATTERNS) -> None:
    """Store a judgement, without personal data; one whose id is known already changes nothing."""
    clean = _without_personal_data(judgement, patterns)
    with store.writing() as connection:
        if connection.execute(select(wild.c.id).where(wild.c.id == clean.id)).first() is None:
            connection.execute(insert(wild), [_row(clean)])


def listed(store: Store, state: State | None = None, *, limit: int = 10_000) -> list[WildJudgement]:
    """The judgements, oldest first."""
    query = select(wild).order_by(wild.c.created_ms, wild.c.id).limit(limit)
    if state is not None:
        query = query.where(wild.c.state == state)
    with store.reading() as connection:
        return [_judgement(row._mapping) for row in connection.execute(query)]


def review(store: Store, id: UUID, state: State, reviewer: str) -> None:
    """A researcher's decision; it may be changed until a round has taken the judgement."""
    with store.writing() as connection:
        row = connection.execute(select(wild.c.round).where(wild.c.id == id)).first()
        if row is None:
            raise UserError("There is no such judgement.")
        if row.round is not None:
            raise UserError(f"Round {row.round} has learnt from this judgement already.")
        connection.execute(update(wild).where(wild.c.id == id).values(state=state, reviewer=reviewer))


def take(store: Store, round: int) -> list[Event]:
    """Take what was accepted since the last round into the journal, as this round's; return its events.

    Taking a round twice gives the same events.
    """
    with store.writing() as connection:
        accepted = (wild.c.state == "accepted") & (wild.c.round.is_(None))
        connection.execute(update(wild).where(accepted).values(round=round))
        rows = connection.execute(
            select(wild).where(wild.c.round == round).order_by(wild.c.created_ms, wild.c.id)
        )
        taken = [_judgement(row._mapping) for row in rows]
    if not taken:
        return []
    store.add_prompts((_prompt(j) for j in taken), round=round)
    for judgement in taken:
        for said in judgement.answers:
            store.add_answers([_answer(judgement, said)], round=round, sampling=said.sampling)
    ids = [event_id("wild", str(j.id)) for j in taken]
    return store.submit_many([_event(j) for j in taken], uuids=ids)


def forget(store: Store, person: str) -> int:
    """Remove a person's conversations, from the journal's prompts and answers too; return how many judgements."""
    with store.writing() as connection:
        rows = connection.execute(select(wild).where(wild.c.person == person)).all()
        connection.execute(delete(wild).where(wild.c.person == person))
        for row in rows:
            if row.round is not None:
                _blank(connection, _judgement(row._mapping))
    return len(rows)


def _blank(connection: Connection, judgement: WildJudgement) -> None:
    prompt = prompt_id(judgement.messages)
    blank = [{"role": m.role, "content": FORGOTTEN} for m in judgement.messages]
    prompts, answers = schema.prompts, schema.answers
    connection.execute(update(prompts).where(prompts.c.id == prompt).values(messages=blank))
    connection.execute(update(answers).where(answers.c.prompt_id == prompt).values(text=FORGOTTEN))


def _without_personal_data(judgement: WildJudgement, patterns: Mapping[str, str]) -> WildJudgement:
    return replace(
        judgement,
        messages=tuple(Message(m.role, masked(m.content, patterns)) for m in judgement.messages),
        answers=tuple(replace(a, text=masked(a.text, patterns)) for a in judgement.answers),
        created_ms=judgement.created_ms or time.time_ns() // 1_000_000,
    )


def _prompt(judgement: WildJudgement) -> Prompt:
    return Prompt(prompt_id(judgement.messages), judgement.messages, TASK, {"in_the_wild": True})


def _answer(judgement: WildJudgement, said: Said) -> Answer:
    prompt = prompt_id(judgement.messages)
    name = content_id("wild", judgement.round, prompt, said.model, said.text)
    return Answer(name, prompt, said.text, said.model)


def _event(judgement: WildJudgement) -> Judgement:
    prompt = prompt_id(judgement.messages)
    ids = [_answer(judgement, said).id for said in judgement.answers]
    if judgement.kind == "rating":
        return Rating(prompt, ids[0], judgement.person, judgement.value)
    return Comparison(prompt, ids[0], ids[1], judgement.person, judgement.value)


def _row(judgement: WildJudgement) -> dict[str, Any]:
    return {
        **{name: getattr(judgement, name) for name in ("id", "person", "kind", "value", "state", "reviewer")},
        "round": judgement.round,
        "created_ms": judgement.created_ms,
        "messages": [{"role": m.role, "content": m.content} for m in judgement.messages],
        "answers": [
            {"text": a.text, "model": a.model, "sampling": dict(a.sampling)} for a in judgement.answers
        ],
    }


def _judgement(row: Mapping[Any, Any]) -> WildJudgement:
    messages: Sequence[Mapping[str, Any]] = row["messages"]
    return WildJudgement(
        row["id"],
        row["person"],
        row["kind"],
        tuple(Message(m["role"], m["content"]) for m in messages),
        tuple(Said(**a) for a in row["answers"]),
        row["value"],
        row["state"],
        row["reviewer"],
        row["round"],
        row["created_ms"],
    )
