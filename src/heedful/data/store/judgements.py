"""Judgements to events and back, and the rules that a judgement must keep."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast
from uuid import UUID, uuid5

from heedful.data.store import rules
from heedful.data.store.records import Event, Flag, Judgement, Kind, Skip
from heedful.data.store.rules import check_name
from heedful.errors import UserError
from heedful.types import (
    Comment,
    Comparison,
    Demonstration,
    Edit,
    PanelComparison,
    PanelRating,
    PlanChoice,
    Ranking,
    Rating,
    StepAlternative,
    StepLabels,
)

__all__ = ["Draft", "Known", "as_event", "check_name", "decode", "draft", "event_id", "settle"]

UNSCALED = ("skip", "flag", "comment", "demonstration", "plan_choice")
"""Kinds that judge by no criterion."""


@dataclass(frozen=True, slots=True)
class Known:
    """What the store knows of an answer: its round, its number, its length, and whether a person wrote it."""

    round: int
    seq: int
    length: int
    written: bool


@dataclass(frozen=True, slots=True)
class Draft:
    """An event before it has a number: what a judgement says, without what only the store knows.

    `text` is an answer that comes into being with the judgement.
    """

    kind: Kind
    annotator: str
    prompt_id: str
    answers: tuple[str, ...]
    question: tuple[str, ...]
    criterion: str
    payload: Mapping[str, Any]
    seconds: float
    text: str | None = None

    def named(self, uuid: UUID) -> "Draft":
        """The draft with the id of the answer that it writes, which follows from the event's."""
        if self.text is None:
            return self
        return replace(self, payload={**self.payload, "answer": f"{self.kind}-{uuid}"})


def draft(judgement: Judgement) -> Draft:
    """Check what can be checked without the store, and return the event's content."""
    (kind, criterion, answers, payload), question = _parts(judgement)
    if not (isinstance(judgement.seconds, int | float) and 0 <= judgement.seconds < math.inf):
        raise UserError(f"The seconds of a judgement must be 0 or more, not {judgement.seconds!r}.")
    check_name(criterion, "A criterion", empty=kind in UNSCALED)
    return Draft(
        kind=kind,
        annotator=judgement.annotator,
        prompt_id=judgement.prompt_id,
        answers=answers,
        question=question,
        criterion=criterion,
        payload=payload,
        seconds=float(judgement.seconds),
        text=judgement.text if isinstance(judgement, Demonstration | Edit) else None,
    )


def _parts(judgement: Judgement) -> tuple[rules.Parts, tuple[str, ...]]:
    """The content of a judgement, and the question that it answers."""
    match judgement:
        case Rating():
            return rules.rating(judgement), (judgement.answer_id, judgement.criterion)
        case PanelRating():
            return rules.rating(judgement), (judgement.panel_id, judgement.criterion)
        case Ranking():
            return rules.ranking(judgement), (judgement.prompt_id, judgement.criterion)
        case Comparison() | PanelComparison():
            # The sides do not matter: the same pair, shown the other way round, is the same question.
            pair = sorted((judgement.first, judgement.second))
            return rules.comparison(judgement), (*pair, judgement.criterion)
        case StepLabels():
            return rules.steps(judgement), (judgement.answer_id,)
        case Demonstration():
            return rules.demonstration(judgement), (judgement.prompt_id,)
        case Edit():
            return rules.edit(judgement), (judgement.original,)
        case Comment():
            return rules.comment(judgement), (judgement.prompt_id, judgement.answer_id or "")
        case PlanChoice():
            return rules.plan_choice(judgement), tuple(sorted(judgement.options))
        case Skip():
            return ("skip", "", (), {"reason": judgement.reason}), (judgement.prompt_id,)
        case Flag():
            question = (judgement.prompt_id, judgement.answer_id or "", judgement.label)
            return rules.flag(judgement), question


def settle(content: Draft, prompt_round: int, answers: Mapping[str, Known], *, complete: bool) -> int:
    """Check a draft against the store's answers to its prompt, and return the round that it belongs to.

    `complete` asks that a ranking lists every sampled answer of its round.
    """
    for answer in content.answers:
        if answer not in answers:
            raise UserError(
                f"Answer {answer} is not an answer to prompt {content.prompt_id}: add it before judging it."
            )
    rounds = [answers[answer].round for answer in content.answers]
    if content.kind == "ranking":
        if len(set(rounds)) > 1:
            raise UserError(
                f"The ranking of prompt {content.prompt_id} mixes rounds: rank each round's answers."
            )
        missing = [
            name
            for name, of in answers.items()
            if of.round == rounds[0] and not of.written and name not in content.answers
        ]
        if complete and missing:
            raise UserError(
                f"The ranking of prompt {content.prompt_id} lacks answer {missing[0]}: "
                f"list all {len(content.answers) + len(missing)} answers."
            )
    return max(rounds or (known.round for known in answers.values()), default=prompt_round)


def decode(event: Event) -> Judgement:
    """Return the judgement that an event of any kind but "undo" holds."""
    prompt, who, said = event.prompt_id, event.annotator, event.payload
    common = (event.criterion, event.seconds)
    match event.kind:
        case "rating":
            return Rating(prompt, said["answer"], who, said["score"], *common)
        case "panel_rating":
            return PanelRating(prompt, said["answer"], who, said["score"], *common)
        case "ranking":
            order = tuple(tuple(tier) for tier in said["order"])
            return Ranking(prompt, who, order, *common, tuple(said.get("shown", ())))
        case "comparison":
            return Comparison(prompt, said["first"], said["second"], who, said["preference"], *common)
        case "panel_comparison":
            return PanelComparison(prompt, said["first"], said["second"], who, said["preference"], *common)
        case "steps":
            return _steps(event)
        case "demonstration":
            return Demonstration(prompt, who, said["text"], said.get("answer", ""), event.seconds)
        case "edit":
            return Edit(prompt, who, said["original"], said["text"], said.get("answer", ""), event.seconds)
        case "comment":
            return Comment(prompt, who, said["text"], said["answer"], event.seconds)
        case "plan_choice":
            return PlanChoice(prompt, who, tuple(said["options"]), said["chosen"], event.seconds)
        case "skip":
            return Skip(prompt, who, said["reason"], event.seconds)
        case "flag":
            return Flag(prompt, who, said["label"], said["answer"], said["comment"], event.seconds)
    raise UserError(
        f"Event {event.id} is of kind '{event.kind}', which this heedful does not know: upgrade it."
    )


def _steps(event: Event) -> StepLabels:
    said = event.payload
    return StepLabels(
        event.prompt_id,
        said["answer"],
        event.annotator,
        tuple(said["steps"]),
        tuple(said["labels"]),
        cast(Any, said["finish_reason"]),
        tuple(StepAlternative(**other) for other in said["alternatives"]),
        event.seconds,
    )


def event_id(*parts: str | int) -> UUID:
    """Return the UUID that always belongs to these parts, so that a replayed submission finds its first self.

    Name what makes the judgement one of its kind: run, round, annotator, kind, prompt, answer, criterion.
    """
    return uuid5(UUID("6f0e4f5c-3d53-5c0e-9d0e-6b4a1c8f2a77"), json.dumps(parts, ensure_ascii=False))


def as_event(row: Sequence[Any]) -> Event:
    """Return a row of the table `events`, or of the view `judgements`, as a record of the same columns."""
    return Event(*row)
