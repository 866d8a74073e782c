"""Who may judge, how well they do against the researchers' own answers, and why."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import func, select, update

from heedful.data.store import events as events_
from heedful.data.store import items
from heedful.data.store.judgements import draft
from heedful.data.store.records import Annotator, AnnotatorKind
from heedful.data.store.schema import annotators, answers, submissions
from heedful.data.store.store import Store
from heedful.errors import UserError
from heedful.people import batches, gold, leases
from heedful.people.answers import GOLD
from heedful.stats.estimate import Estimate, undefined
from heedful.stats.intervals import wilson
from heedful.types import Rating


@dataclass(frozen=True, slots=True)
class Standing:
    """An annotator as the researchers see them.

    `comparisons` is the agreement with the qualifying sets, `flags` that of their flags, `hidden` the one with
    hidden gold since they were last let in, `demonstrations` the mean grade of what they wrote.
    """

    annotator: str
    kind: AnnotatorKind
    qualified: bool | None
    paused: str
    reason: str
    comparisons: Estimate
    flags: Estimate
    hidden: Estimate
    demonstrations: Estimate
    answered: int
    seconds: float


def standings(store: Store) -> list[Standing]:
    """Every annotator, by name; gold is none."""
    with store.reading() as connection:
        met = gold.met(connection)
        qualifying = {b.id for b in batches.all_of(connection) if b.settings.purpose == "qualification"}
        query = select(submissions.c.annotator, func.count(), func.sum(submissions.c.seconds)).where(
            submissions.c.kind == "reply"
        )
        times = {
            name: (n, seconds)
            for name, n, seconds in connection.execute(query.group_by(submissions.c.annotator))
        }
        found = []
        for one in items.get_annotators(connection):
            if one.kind == "gold":
                continue
            answered = met.get(one.name, [])
            qualified = [each for each in answered if each.batch in qualifying]
            same = sum(each.flags for each in qualified)
            n, seconds = times.get(one.name, (0, 0.0))
            found.append(
                Standing(
                    one.name,
                    one.kind,
                    one.qualified,
                    one.paused,
                    one.reason,
                    gold.shares(qualified),
                    wilson(same, len(qualified)) if qualified else undefined("no gold item was judged"),
                    gold.shares(gold.hidden_since(connection, one.name, answered)),
                    gold.grades(connection, one.name),
                    n,
                    seconds,
                )
            )
        return found


def pause(store: Store, annotator: str, reason: str) -> None:
    """Give an annotator nothing to judge from now on; what they hold they may finish."""
    if not reason.strip():
        raise UserError("Say why the annotator is paused: they are told so.")
    with store.writing() as connection:
        leases.known_annotator(connection, annotator)
        change = update(annotators).where(annotators.c.name == annotator)
        connection.execute(change.values(paused=reason))


def resume(store: Store, annotator: str) -> None:
    """Let a paused annotator work again; hidden gold counts anew."""
    with store.writing() as connection:
        leases.known_annotator(connection, annotator)
        change = update(annotators).where(annotators.c.name == annotator)
        connection.execute(change.values(paused="", gold_after=events_.last_seq(connection)))


def grade_demonstration(store: Store, answer_id: str, researcher: str, score: int, *, uuid: UUID) -> None:
    """Grade what an annotator wrote, 1 to 7, and decide anew whether they are qualified."""
    with store.writing() as connection:
        query = select(answers.c.prompt_id, answers.c.policy, answers.c.sampling)
        row = connection.execute(query.where(answers.c.id == answer_id)).first()
        if row is None or row.policy not in events_.WRITTEN:
            raise UserError(f"There is no demonstration {answer_id!r:.80} to grade.")
        name = f"{GOLD} {researcher}"
        items.put_annotators(connection, [Annotator(name, "gold")])
        graded = Rating(row.prompt_id, answer_id, name, score, gold.GRADED)
        events_.append(connection, [(uuid, draft(graded), None)])
        author = row.sampling["written_by"]
        gold.qualify(connection, author, gold.met(connection, [author]).get(author, []))
