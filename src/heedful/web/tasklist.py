"""The tasks of batches as a researcher sees them: listed, and found by what they are about."""

from dataclasses import dataclass

from sqlalchemy import select

from heedful.data.store.schema import prompts, tasks
from heedful.data.store.store import Store

LONGEST = 90


@dataclass(frozen=True, slots=True)
class TaskLine:
    """A task in a list: the beginning of its prompt's last message, and how often it was answered."""

    task: str
    title: str
    answered: int
    gold: bool


def lines(store: Store, batch: str, *, limit: int) -> list[TaskLine]:
    """Return a batch's tasks, gold first, then in the order in which they are given out."""
    query = (
        select(tasks.c.id, prompts.c.messages, tasks.c.done, tasks.c.is_gold)
        .join(prompts, prompts.c.id == tasks.c.prompt_id)
        .where(tasks.c.batch == batch)
        .order_by(tasks.c.is_gold.desc(), tasks.c.position)
        .limit(limit)
    )
    with store.reading() as connection:
        return [
            TaskLine(
                row.id, row.messages[-1]["content"][:LONGEST] if row.messages else "", row.done, row.is_gold
            )
            for row in connection.execute(query)
        ]


def about(store: Store, prompt_ids: set[str]) -> dict[str, list[tuple[str, frozenset[str]]]]:
    """Return for each prompt its tasks, each with the answers that it shows."""
    query = select(tasks.c.id, tasks.c.prompt_id, tasks.c.answers).where(tasks.c.prompt_id.in_(prompt_ids))
    found: dict[str, list[tuple[str, frozenset[str]]]] = {}
    with store.reading() as connection:
        for row in connection.execute(query):
            found.setdefault(row.prompt_id, []).append((row.id, frozenset(row.answers)))
    return found
