"""The queue: what is asked of whom, and what they answer."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from heedful.data.store.store import Store
from heedful.errors import UserError
from heedful.people import answers, batches, leases
from heedful.people.records import (
    Answered,
    Assignment,
    Batch,
    BatchSettings,
    BatchState,
    Mine,
    NewTask,
    Nothing,
    Progress,
    Said,
    TaskLine,
)
from heedful.people.replies import Reply


class Queue:
    """The tasks of a store, safe to use from many threads and processes.

    Each method is one transaction. Whoever names a task or a lease that is not theirs gets a UserError, as if it
    did not exist; `Conflict` says that what was sent does not fit the present state, and carries it.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def create_batch(self, id: str, name: str, settings: BatchSettings, tasks: Iterable[NewTask]) -> Batch:
        """Make a batch; the same id with the same settings adds the tasks that are new."""
        with self._store.writing() as connection:
            return batches.create(connection, id, name, settings, tasks)

    def add_tasks(self, batch: str, tasks: Iterable[NewTask]) -> int:
        """Add the tasks that are new, after those that are there, and return how many."""
        with self._store.writing() as connection:
            return batches.add_tasks(connection, batch, tasks)

    def set_state(self, batch: str, state: BatchState, reason: str = "") -> Batch:
        """Open, pause or close a batch; what is in people's hands may still be sent."""
        with self._store.writing() as connection:
            return batches.set_state(connection, batch, state, reason)

    def set_priority(self, batch: str, priority: int) -> Batch:
        """Batches of high priority are worked on first."""
        with self._store.writing() as connection:
            return batches.set_priority(connection, batch, priority)

    def batches(self) -> list[Batch]:
        """Every batch: those of high priority first, then the older."""
        with self._store.reading() as connection:
            return batches.all_of(connection)

    def batch(self, id: str) -> Batch:
        """One batch."""
        with self._store.reading() as connection:
            return batches.get(connection, id)

    def tasks(
        self, batch: str, *, limit: int | None = None, offset: int = 0, gold: bool | None = None
    ) -> list[TaskLine]:
        """A batch's tasks in the order in which they are given out, all of them or only those that are (no) gold."""
        with self._store.reading() as connection:
            return batches.task_lines(connection, batch, limit, offset, gold)

    def replies(self, task: str) -> list[Said]:
        """What everybody replied to a task, the oldest first, for researchers."""
        with self._store.reading() as connection:
            return answers.replies(connection, task)

    def progress(self, batch: str) -> Progress:
        """How far a batch is; it is finished when its stop rule has closed it."""
        with self._store.reading() as connection:
            return batches.progress(connection, batch)

    def mine(self, annotator: str) -> Mine:
        """An annotator's own progress; `today` begins at the server's midnight."""
        midnight = datetime.now().replace(hour=0, minute=0, second=0, microsecond=0)
        with self._store.reading() as connection:
            return answers.mine(connection, annotator, int(midnight.timestamp() * 1000))

    def claim(self, annotator: str, batch: str | None = None) -> Assignment | Nothing:
        """Give the annotator the next task: of this batch, or of any open one by priority.

        Whoever holds a task gets that one again, so two tabs share it. A lease whose time has ended is free again.
        """
        with self._store.writing() as connection:
            return leases.claim(connection, annotator, batch)

    def renew(self, annotator: str, lease: UUID) -> int:
        """Start a lease's time again; return its new end in milliseconds. Conflict if it has ended."""
        with self._store.writing() as connection:
            row = leases.by_lease(connection, annotator, lease)
            return leases.renew(connection, annotator, row.task)

    def release(self, annotator: str, lease: UUID) -> None:
        """Give a task back; its draft stays."""
        with self._store.writing() as connection:
            leases.let_go(connection, annotator, leases.by_lease(connection, annotator, lease).task)

    def save_draft(self, annotator: str, task: str, draft: Mapping[str, Any] | None) -> None:
        """Keep any JSON of at most 1 MB for the annotator until the task is submitted; None forgets it."""
        with self._store.writing() as connection:
            leases.save_draft(connection, annotator, task, draft)

    def submit(
        self,
        annotator: str,
        task: str,
        reply: Reply,
        *,
        uuid: UUID,
        version: int,
        seconds: float = 0.0,
        client_ms: int | None = None,
    ) -> Answered:
        """Store an answer, or a revision of it, written for `version` of the task.

        A UUID that was stored before gives its first result. What a revision leaves out is taken back. After a
        lease has ended, an answer is still taken while the task's overlap has room.
        """
        _check_seconds(seconds)
        with self._store.writing() as connection:
            return answers.submit(
                connection,
                annotator,
                task,
                reply,
                uuid=uuid,
                version=version,
                seconds=seconds,
                client_ms=client_ms,
            )

    def skip(
        self,
        annotator: str,
        task: str,
        reason: str,
        *,
        uuid: UUID,
        version: int,
        seconds: float = 0.0,
        client_ms: int | None = None,
    ) -> Answered:
        """Pass a task by: its place is free for somebody else, and the annotator does not get it again."""
        _check_seconds(seconds)
        with self._store.writing() as connection:
            return answers.skip(
                connection,
                annotator,
                task,
                reason,
                uuid=uuid,
                version=version,
                seconds=seconds,
                client_ms=client_ms,
            )

    def undo(
        self, annotator: str, task: str, *, uuid: UUID, version: int, client_ms: int | None = None
    ) -> Assignment:
        """Take an answer or a skip back, and give its task to the annotator again, the old reply as draft."""
        with self._store.writing() as connection:
            return answers.undo(connection, annotator, task, uuid=uuid, version=version, client_ms=client_ms)

    def reopen(self, annotator: str, task: str) -> Assignment:
        """An earlier answer with its task, to look at or to revise; no lease is taken."""
        with self._store.reading() as connection:
            return leases.assignment(connection, annotator, task)

    def state(self, annotator: str, task: str) -> Answered:
        """Where the annotator stands with a task."""
        with self._store.reading() as connection:
            return answers.state(connection, annotator, task)

    def history(self, annotator: str, *, limit: int = 50, before_ms: int | None = None) -> list[Answered]:
        """The annotator's answered and skipped tasks, the newest first."""
        with self._store.reading() as connection:
            return answers.history(connection, annotator, limit, before_ms)

    def preview(self, task: str) -> Assignment:
        """A task in its stored order, for researchers; `reply` is the gold answer, if there is one."""
        with self._store.reading() as connection:
            return leases.preview(connection, task)

    def set_gold(self, task: str, reply: Reply, researcher: str, *, uuid: UUID) -> None:
        """Make a task hidden gold by the researchers' own reply, its positions those of `preview`."""
        with self._store.writing() as connection:
            answers.set_gold(connection, task, reply, researcher, uuid)


def _check_seconds(seconds: float) -> None:
    if not (isinstance(seconds, int | float) and 0 <= seconds < 86400):
        raise UserError(f"The active time must lie between 0 and 86400 seconds, not {seconds!r:.40}.")
