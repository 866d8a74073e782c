"""Annotators against the researchers' own answers: who may work, and who is paused.

InstructGPT's rule (arXiv 2203.02155, appendix B.1: "soft cutoffs at 75% agreement ... and a 6/7 demonstration
score"). The share decides, not its interval, which is reported beside it.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from sqlalchemy import Connection, select, update

from heedful.data.store.events import chunks
from heedful.data.store.schema import annotators, judgements, submissions, tasks, work
from heedful.people import batches as batches_
from heedful.people.records import Batch, BatchSettings
from heedful.people.replies import Reply
from heedful.stats.estimate import Estimate, undefined
from heedful.stats.intervals import mean_interval, wilson
from heedful.stats.qualify import verdict

GRADED = "demonstration quality"
"""The criterion by which researchers grade demonstrations."""


@dataclass(frozen=True, slots=True)
class Met:
    """A gold task that an annotator answered: how far they agreed (0 to 1, None if only people can say)."""

    batch: str
    event: int
    agreed: float | None
    flags: bool


def agreement(settings: BatchSettings, gold: Reply, reply: Reply) -> float | None:
    """How far a reply agrees with gold, from 0 to 1, both in the stored order; None if only people can say.

    A choice agrees by its side, a ranking by the share of pairs that gold tells apart, marks by the share
    within one point, steps by the share of equal labels.
    """
    match settings.question:
        case "compare" | "panel_pair":
            criterion = settings.criteria[0]
            return float(_sign(gold.choices[criterion]) == _sign(reply.choices[criterion]))
        case "rank":
            return _same_order(_places(gold), _places(reply))
        case "panel":
            pairs = [
                (score, reply.ratings[name][0])
                for name, (score, *_) in gold.ratings.items()
                if score is not None and name in reply.ratings
            ]
            near = [other is not None and abs(score - other) <= 1 for score, other in pairs]
            return sum(near) / len(near) if near else 0.0
        case "steps":
            longest = max(len(gold.steps), len(reply.steps))
            return sum(a == b for a, b in zip(gold.steps, reply.steps)) / longest
        case "plan":
            return float(gold.plan == reply.plan)
    return None


def same_flags(gold: Reply, reply: Reply) -> bool:
    """Whether the same labels were given to the prompt and to the same answers."""
    return {(f.label, f.answer) for f in reply.flags} == {(f.label, f.answer) for f in gold.flags}


def _sign(preference: int) -> int:
    return (preference > 0) - (preference < 0)


def _places(reply: Reply) -> dict[int, int]:
    return {answer: place for place, tier in enumerate(reply.order) for answer in tier}


def _same_order(gold: Mapping[int, int], said: Mapping[int, int]) -> float | None:
    told = [(a, b) for a, b in combinations(gold, 2) if gold[a] != gold[b]]
    if not told:
        return None
    return sum(_sign(gold[a] - gold[b]) == _sign(said[a] - said[b]) for a, b in told) / len(told)


def met(connection: Connection, names: Iterable[str] | None = None) -> dict[str, list[Met]]:
    """The gold tasks that each annotator answered, as they stand now."""
    query = (
        select(
            work.c.annotator,
            work.c.batch,
            work.c.shown,
            tasks.c.gold,
            submissions.c.reply,
            submissions.c.last_event,
        )
        .join(tasks, tasks.c.id == work.c.task)
        .join(submissions, submissions.c.id == work.c.submission)
        .where(work.c.is_gold.is_(True), work.c.state == "answered")
        .order_by(submissions.c.last_event)
    )
    if names is not None:
        query = query.where(work.c.annotator.in_(list(names)))
    settings = {batch.id: batch.settings for batch in batches_.all_of(connection)}
    found: dict[str, list[Met]] = defaultdict(list)
    for row in connection.execute(query):
        gold = Reply.parse({name: value for name, value in row.gold.items() if name != "by"})
        reply = Reply.parse(row.reply).moved(row.shown)
        agreed = agreement(settings[row.batch], gold, reply)
        found[row.annotator].append(Met(row.batch, row.last_event, agreed, same_flags(gold, reply)))
    return found


def shares(answered: Sequence[Met]) -> Estimate:
    """The share agreed with, in units of tasks, with Wilson's interval."""
    judged = [one.agreed for one in answered if one.agreed is not None]
    if not judged:
        return undefined("no gold item was judged")
    return wilson(sum(judged), len(judged))


def grades(connection: Connection, annotator: str) -> Estimate:
    """The mean of the researchers' grades, 1 to 7, of what an annotator wrote, with Student's interval."""
    mine = select(judgements.c.prompt_id, judgements.c.payload).where(
        judgements.c.annotator == annotator, judgements.c.kind == "demonstration"
    )
    written = {payload["answer"]: prompt for prompt, payload in connection.execute(mine)}
    found: list[int] = []
    for chunk in chunks(written.values()):
        query = select(judgements.c.payload).where(
            judgements.c.prompt_id.in_(chunk), judgements.c.kind == "rating", judgements.c.criterion == GRADED
        )
        for payload in connection.execute(query).scalars():
            if payload["answer"] in written:
                found.append(payload["score"])
    return mean_interval(found) if found else undefined("no demonstration was graded")


def judge(connection: Connection, annotator: str, task: str) -> None:
    """After an answer to gold: decide anew whether the annotator is qualified, or is to be paused."""
    query = select(work.c.batch, work.c.is_gold).where(work.c.task == task, work.c.annotator == annotator)
    row = connection.execute(query).one()
    if not row.is_gold:
        return
    batch = batches_.get(connection, row.batch)
    answered = met(connection, [annotator])[annotator]
    if batch.settings.purpose == "qualification":
        qualify(connection, annotator, answered)
    else:
        _pause_below(connection, annotator, batch, answered)


def qualify(connection: Connection, annotator: str, answered: Sequence[Met]) -> None:
    """Qualified are those who reach every qualifying batch's cut-off; nothing is said before all are done."""
    told: list[str] = []
    figures: dict[str, Any] = {}
    passed: bool | None = True
    for batch in batches_.all_of(connection):
        if batch.settings.purpose != "qualification" or batch.state == "paused":
            continue
        verdict_, reason, estimate = _on(connection, annotator, batch, answered)
        told.append(f"{batch.name}: {reason}")
        figures[batch.id] = {"value": estimate.value, "low": estimate.low, "high": estimate.high}
        figures[batch.id]["n"] = estimate.n
        if verdict_ is None:
            passed = None if passed is not False else False
        elif not verdict_:
            passed = False
    values = {"qualified": passed, "reason": "; ".join(told), "agreement": figures}
    connection.execute(update(annotators).where(annotators.c.name == annotator).values(values))


def _on(
    connection: Connection, annotator: str, batch: Batch, answered: Sequence[Met]
) -> tuple[bool | None, str, Estimate]:
    """Whether an annotator passed a qualifying batch, the reason, and the figure; None while it is not done."""
    settings = batch.settings
    if settings.question in ("demonstrate", "edit"):
        found = grades(connection, annotator)
        if found.value is None:
            return None, found.reason, found
        reason = f"grade {found.value:.1f} of 7 over {found.n}, {settings.demonstration_cutoff:g} is needed"
        return found.value >= settings.demonstration_cutoff, reason, found
    gold = select(tasks.c.id).where(tasks.c.batch == batch.id, tasks.c.is_gold.is_(True))
    wanted = min(settings.gold_at_least, len(connection.execute(gold).all()))
    here = [one.agreed for one in answered if one.batch == batch.id and one.agreed is not None]
    told = verdict(annotator, sum(here), len(here), cutoff=settings.cutoff, at_least=max(wanted, 1))
    return (told.qualified if len(here) >= max(wanted, 1) else None), told.reason, told.agreement


def _pause_below(connection: Connection, annotator: str, batch: Batch, answered: Sequence[Met]) -> None:
    hidden = hidden_since(connection, annotator, answered)
    told = verdict(
        annotator,
        sum(one.agreed or 0.0 for one in hidden),
        len(hidden),
        cutoff=batch.settings.cutoff,
        at_least=batch.settings.gold_at_least,
    )
    if len(hidden) >= batch.settings.gold_at_least and not told.qualified:
        values = {"paused": f"hidden gold: {told.reason}"}
        connection.execute(update(annotators).where(annotators.c.name == annotator).values(values))


def hidden_since(connection: Connection, annotator: str, answered: Sequence[Met]) -> list[Met]:
    """The hidden gold that counts: of working batches, since the annotator was let in again."""
    after = connection.execute(
        select(annotators.c.gold_after).where(annotators.c.name == annotator)
    ).scalar_one()
    working = {b.id for b in batches_.all_of(connection) if b.settings.purpose == "work"}
    return [one for one in answered if one.batch in working and one.event > after and one.agreed is not None]
