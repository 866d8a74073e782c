"""A round of a loop, put to people and waited for."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import islice

from heedful.data.store import queries
from heedful.data.store.records import Event
from heedful.data.store.store import Store
from heedful.errors import UserError
from heedful.people.queue import Queue
from heedful.people.records import Batch, BatchSettings, NewTask, Progress
from heedful.types import Answer, Prompt

Scores = Sequence[Sequence[Sequence[float]]]
"""Scores [reward model][prompt][answer]."""


def known(queue: Queue, id: str) -> bool:
    """Whether the round was put to people before."""
    return any(batch.id == id for batch in queue.batches())


def put(
    queue: Queue,
    id: str,
    name: str,
    settings: BatchSettings,
    candidates: Sequence[tuple[Prompt, Sequence[Answer]]],
    scores: Scores = (),
) -> Batch:
    """Make the round's batch, a task a prompt: all its answers to rank, or its first two to compare."""
    most = 2 if settings.question == "compare" else 9
    tasks = []
    for number, (prompt, answers) in enumerate(candidates):
        kept = tuple(answer.id for answer in islice(answers, most))
        tasks.append(NewTask(prompt.id, kept, tuple(tuple(model[number][: len(kept)]) for model in scores)))
    return queue.create_batch(id, name, settings, tasks)


def wait(
    queue: Queue,
    id: str,
    *,
    every: float,
    tell: Callable[[Progress], None],
    sleep: Callable[[float], None] = time.sleep,
) -> Progress:
    """Look at the batch every so many seconds until it is closed; being killed meanwhile loses nothing."""
    while not (progress := queue.progress(id)).finished:
        tell(progress)
        sleep(every)
    return progress


def judged(store: Store, id: str) -> tuple[list[Event], Counter[str]]:
    """The batch's current judgements, oldest first, and how many each annotator gave; rejected people's are left out.

    Rejected are those who failed the qualifying set and those who are paused.
    """
    rejected = {
        one.name for one in store.annotators() if one.qualified is False or one.paused or one.kind == "gold"
    }
    with store.reading() as connection:
        current = queries.current(connection, None, batch=id)
        found = [event for event in current if event.annotator not in rejected]
    if not found:
        raise UserError(
            f"Batch {id} is closed, but holds no judgement that counts: open it again in the studio."
        )
    return found, Counter(event.annotator for event in found)
