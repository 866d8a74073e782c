"""The feedback store: prompts, answers, and people's judgements of them, none of which is ever lost."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack, cast
from uuid import UUID, uuid4

from sqlalchemy import Connection, Engine

from heedful.data.store import events, items, queries
from heedful.data.store.connect import connect, transaction
from heedful.data.store.judgements import decode, draft
from heedful.data.store.records import Annotator, Event, Flag, Judgement, Kind, Skip, Where
from heedful.data.store.turns import Turns
from heedful.errors import UserError
from heedful.types import (
    Answer,
    Comment,
    Comparison,
    Demonstration,
    Edit,
    Prompt,
    Ranking,
    Rating,
    StepLabels,
)

Form = TypeVar("Form", Rating, Ranking, Comparison, Skip, Flag, StepLabels, Demonstration, Edit, Comment)


class Store:
    """One feedback store, safe to use from many threads and many processes (open it anew after a fork).

    What a method returns is on the disk: a returned event survives the process, the kill and the power cut.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        # SQLite's waiting writers poll; within a process they queue, fairly and without delay.
        self._turns = Turns()

    @classmethod
    def open(cls, where: str | Path, *, create: bool = True, busy_seconds: float = 30.0) -> Self:
        """Open the SQLite file or the postgresql:// URL, and make an empty one a store if `create`.

        `busy_seconds` is how long to wait for another process that writes. Raises UserError for what is not a
        store, or one that a newer heedful wrote.
        """
        return cls(connect(where, create=create, busy_seconds=busy_seconds))

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """One transaction that is the only writer; it is committed as a whole, or not at all."""
        with self._turns.turn(), transaction(self._engine, write=True) as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One transaction that sees the store as it is now, whatever is written meanwhile."""
        with transaction(self._engine, write=False) as connection:
            yield connection

    def add_prompts(self, prompts: Iterable[Prompt], *, round: int = 0) -> int:
        """Add the prompts that are new, and return how many; one that is known keeps its first round."""
        with self.writing() as connection:
            return items.put_prompts(connection, prompts, round)

    def add_answers(
        self, answers: Iterable[Answer], *, round: int = 0, sampling: Mapping[str, Any] | None = None
    ) -> int:
        """Add the answers that are new, and return how many; `sampling` says how they were drawn."""
        with self.writing() as connection:
            return items.put_answers(connection, answers, round, sampling or {})

    def add_annotators(self, annotators: Iterable[Annotator]) -> int:
        """Add the annotators that are new, and return how many; a known one's qualification stays."""
        with self.writing() as connection:
            return items.put_annotators(connection, annotators)

    def set_qualified(
        self, name: str, qualified: bool | None, *, reason: str, agreement: Mapping[str, Any] | None = None
    ) -> None:
        """Write down whether an annotator qualified, why, and with which figures."""
        with self.writing() as connection:
            items.set_qualified(connection, name, qualified, reason, agreement or {})

    def submit(
        self, judgement: Judgement, *, uuid: UUID | None = None, client_ms: int | None = None
    ) -> Event:
        """Store one judgement and return its event; a UUID that was seen before returns its first event.

        A judgement of the same annotator on the same question supersedes the earlier one.
        """
        return self._append([(uuid or uuid4(), judgement, client_ms)])[0]

    def submit_many(
        self, judgements: Iterable[Judgement], *, uuids: Iterable[UUID] | None = None, complete: bool = True
    ) -> list[Event]:
        """Store the judgements in one transaction, all or none, and return their events in order.

        Unless `complete`, a ranking may leave out answers that another run added in the same round.
        """
        given = list(judgements)
        ids = [uuid4() for _ in given] if uuids is None else list(uuids)
        if len(ids) != len(given):
            raise UserError(f"There are {len(given)} judgements but {len(ids)} UUIDs: give one for each.")
        submissions = [(uuid, judgement, None) for uuid, judgement in zip(ids, given, strict=True)]
        return self._append(submissions, complete=complete)

    def undo(
        self, target: UUID, annotator: str, *, uuid: UUID | None = None, client_ms: int | None = None
    ) -> Event:
        """Take back one's own judgement by a further event; the one that it superseded counts again."""
        with self.writing() as connection:
            return events.undo(connection, target, annotator, uuid or uuid4(), client_ms)

    def _append(
        self, given: Iterable[tuple[UUID, Judgement, int | None]], *, complete: bool = True
    ) -> list[Event]:
        drafts = [(uuid, draft(judgement), client_ms) for uuid, judgement, client_ms in given]
        with self.writing() as connection:
            return events.append(connection, drafts, complete=complete)

    def prompts(self, *, ids: Iterable[str] | None = None, round: int | None = None) -> Iterator[Prompt]:
        """Yield prompts in the order of adding; `round` is the one in which they came first."""
        with self.reading() as connection:
            yield from items.get_prompts(connection, ids, round)

    def answers(
        self, *, prompt_ids: Iterable[str] | None = None, round: int | None = None
    ) -> Iterator[Answer]:
        """Yield answers in the order of adding."""
        with self.reading() as connection:
            yield from items.get_answers(connection, prompt_ids, round)

    def annotators(self) -> list[Annotator]:
        """Return the annotators, by name."""
        with self.reading() as connection:
            return list(items.get_annotators(connection))

    def judgements(
        self, kind: Kind | None = None, **where: Unpack[Where]
    ) -> Iterator[tuple[Event, Judgement]]:
        """Yield the current judgements with their events, oldest first."""
        with self.reading() as connection:
            for event in queries.current(connection, kind, **where):
                yield event, decode(event)

    def ratings(self, **where: Unpack[Where]) -> Iterator[Rating]:
        """Yield the current ratings, oldest first."""
        return self._of(Rating, "rating", where)

    def rankings(self, **where: Unpack[Where]) -> Iterator[Ranking]:
        """Yield the current rankings, oldest first."""
        return self._of(Ranking, "ranking", where)

    def comparisons(self, **where: Unpack[Where]) -> Iterator[Comparison]:
        """Yield the current comparisons, oldest first; those within rankings are `convert.pairs`'s."""
        return self._of(Comparison, "comparison", where)

    def skips(self, **where: Unpack[Where]) -> Iterator[Skip]:
        """Yield the current skips, oldest first."""
        return self._of(Skip, "skip", where)

    def flags(self, **where: Unpack[Where]) -> Iterator[Flag]:
        """Yield the current flags, oldest first."""
        return self._of(Flag, "flag", where)

    def steps(self, **where: Unpack[Where]) -> Iterator[StepLabels]:
        """Yield the current step labels, oldest first."""
        return self._of(StepLabels, "steps", where)

    def demonstrations(self, **where: Unpack[Where]) -> Iterator[Demonstration]:
        """Yield the current demonstrations, oldest first."""
        return self._of(Demonstration, "demonstration", where)

    def edits(self, **where: Unpack[Where]) -> Iterator[Edit]:
        """Yield the current edits, oldest first."""
        return self._of(Edit, "edit", where)

    def comments(self, **where: Unpack[Where]) -> Iterator[Comment]:
        """Yield the current comments, oldest first."""
        return self._of(Comment, "comment", where)

    def _of(self, _: type[Form], kind: Kind, where: Where) -> Iterator[Form]:
        return (cast(Form, judgement) for _, judgement in self.judgements(kind, **where))

    def events(self, *, after: int = 0) -> Iterator[Event]:
        """Yield the whole journal from number `after` + 1 on, undone and superseded events too."""
        with self.reading() as connection:
            yield from queries.journal(connection, after)

    def counts(self, **where: Unpack[Where]) -> dict[str, int]:
        """Return the numbers of prompts, answers, annotators, events, and of current judgements by kind."""
        with self.reading() as connection:
            return queries.count(connection, **where)
