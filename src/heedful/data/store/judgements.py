"""Judgements to events and back, and the rules that a judgement must keep."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid5

from heedful.data.store.records import Event, Flag, Judgement, Kind, Skip
from heedful.errors import UserError
from heedful.types import Comparison, Ranking, Rating

Rounds = dict[str, int]
"""The answers to one prompt, each with its round."""

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Draft:
    """An event before it has a number: what a judgement says, without what only the store knows."""

    kind: Kind
    annotator: str
    prompt_id: str
    answers: tuple[str, ...]
    question: tuple[str, ...]
    criterion: str
    payload: Mapping[str, Any]
    seconds: float


def check_name(value: str, what: str, *, empty: bool = False) -> None:
    """Raise a UserError unless `value` can be a key on every database: 1 to 200 printable characters."""
    if not isinstance(value, str) or len(value) > 200 or not (value or empty) or _UNPRINTABLE.search(value):
        raise UserError(f"{what} must be 1 to 200 printable characters, not {value!r:.80}.")


def draft(judgement: Judgement) -> Draft:
    """Check what can be checked without the store, and return the event's content."""
    question: tuple[str, ...]
    match judgement:
        case Rating():
            kind, criterion, answers, payload = _rating(judgement)
            question = (judgement.answer_id, criterion)
        case Ranking():
            kind, criterion, answers, payload = _ranking(judgement)
            question = (judgement.prompt_id, criterion)
        case Comparison():
            kind, criterion, answers, payload = _comparison(judgement)
            # The sides do not matter: the same pair, shown the other way round, is the same question.
            question = (*sorted(answers), criterion)
        case Skip():
            kind, criterion, answers, payload = "skip", "", (), {"reason": judgement.reason}
            question = (judgement.prompt_id,)
        case Flag():
            kind, criterion, answers, payload = _flag(judgement)
            question = (judgement.prompt_id, judgement.answer_id or "", judgement.label)
    if not (isinstance(judgement.seconds, int | float) and 0 <= judgement.seconds < math.inf):
        raise UserError(f"The seconds of a judgement must be 0 or more, not {judgement.seconds!r}.")
    check_name(criterion, "A criterion", empty=kind in ("skip", "flag"))
    return Draft(
        kind=kind,
        annotator=judgement.annotator,
        prompt_id=judgement.prompt_id,
        answers=answers,
        question=question,
        criterion=criterion,
        payload=payload,
        seconds=float(judgement.seconds),
    )


_Parts = tuple[Kind, str, tuple[str, ...], dict[str, Any]]


def _rating(rating: Rating) -> _Parts:
    if type(rating.score) is not int or not 1 <= rating.score <= 7:
        raise UserError(f"A rating must be a whole number from 1 (worst) to 7 (best), not {rating.score!r}.")
    payload = {"answer": rating.answer_id, "score": rating.score}
    return "rating", rating.criterion, (rating.answer_id,), payload


def _ranking(ranking: Ranking) -> _Parts:
    answers = tuple(answer for tier in ranking.order for answer in tier)
    if not answers or not all(ranking.order):
        raise UserError(f"The ranking of prompt {ranking.prompt_id} has an empty place: leave it out.")
    twice = sorted({answer for answer in answers if answers.count(answer) > 1})
    if twice:
        raise UserError(
            f"The ranking of prompt {ranking.prompt_id} lists answer {twice[0]} twice: list each once."
        )
    return "ranking", ranking.criterion, answers, {"order": [list(tier) for tier in ranking.order]}


def _comparison(comparison: Comparison) -> _Parts:
    preference = comparison.preference
    if type(preference) is not int or not -3 <= preference <= 3:
        raise UserError(f"A preference must be a whole number from -3 to 3, not {preference!r}.")
    if comparison.first == comparison.second:
        raise UserError(f"A comparison needs two different answers, not {comparison.first} twice.")
    answers = (comparison.first, comparison.second)
    payload = {"first": comparison.first, "second": comparison.second, "preference": preference}
    return "comparison", comparison.criterion, answers, payload


def _flag(flag: Flag) -> _Parts:
    check_name(flag.label, "A flag's label")
    answers = () if flag.answer_id is None else (flag.answer_id,)
    payload = {"label": flag.label, "answer": flag.answer_id, "comment": flag.comment}
    return "flag", "", answers, payload


def settle(content: Draft, prompt_round: int, answers: Rounds, *, complete: bool) -> int:
    """Check a draft against the store's answers to its prompt, and return the round that it belongs to.

    `complete` asks that a ranking lists every answer of its round.
    """
    for answer in content.answers:
        if answer not in answers:
            raise UserError(
                f"Answer {answer} is not an answer to prompt {content.prompt_id}: add it before judging it."
            )
    rounds = [answers[answer] for answer in content.answers]
    if content.kind == "ranking":
        if len(set(rounds)) > 1:
            raise UserError(
                f"The ranking of prompt {content.prompt_id} mixes rounds: rank each round's answers."
            )
        missing = [name for name, of in answers.items() if of == rounds[0] and name not in content.answers]
        if complete and missing:
            raise UserError(
                f"The ranking of prompt {content.prompt_id} lacks answer {missing[0]}: "
                f"list all {len(content.answers) + len(missing)} answers."
            )
    return max(rounds or answers.values(), default=prompt_round)


def decode(event: Event) -> Judgement:
    """Return the judgement that an event of any kind but "undo" holds."""
    payload, common = event.payload, (event.criterion, event.seconds)
    match event.kind:
        case "rating":
            return Rating(event.prompt_id, payload["answer"], event.annotator, payload["score"], *common)
        case "ranking":
            order = tuple(tuple(tier) for tier in payload["order"])
            return Ranking(event.prompt_id, event.annotator, order, *common)
        case "comparison":
            first, second = payload["first"], payload["second"]
            return Comparison(event.prompt_id, first, second, event.annotator, payload["preference"], *common)
        case "skip":
            return Skip(event.prompt_id, event.annotator, payload["reason"], event.seconds)
        case "flag":
            answer, comment = payload["answer"], payload["comment"]
            return Flag(event.prompt_id, event.annotator, payload["label"], answer, comment, event.seconds)
    raise UserError(
        f"Event {event.id} is of kind '{event.kind}', which this heedful does not know: upgrade it."
    )


def event_id(*parts: str | int) -> UUID:
    """Return the UUID that always belongs to these parts, so that a replayed submission finds its first self.

    Name what makes the judgement one of its kind: run, round, annotator, kind, prompt, answer, criterion.
    """
    return uuid5(UUID("6f0e4f5c-3d53-5c0e-9d0e-6b4a1c8f2a77"), json.dumps(parts, ensure_ascii=False))


def as_event(row: Sequence[Any]) -> Event:
    """Return a row of the table `events`, or of the view `judgements`, as a record of the same columns."""
    return Event(*row)
