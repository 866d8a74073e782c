"""A reply by positions -> judgements of answers by id."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from heedful.data.steps import split_steps
from heedful.data.store.records import Flag, Judgement
from heedful.errors import UserError
from heedful.people.records import BatchSettings
from heedful.people.replies import Reply
from heedful.types import (
    Comment,
    Comparison,
    Demonstration,
    Edit,
    FinishReason,
    PanelComparison,
    PanelRating,
    PlanChoice,
    Ranking,
    Rating,
    StepAlternative,
    StepLabels,
)

FIELDS = {
    "rank": ("ratings", "order"),
    "compare": ("choices",),
    "steps": ("steps", "finish_reason", "alternatives"),
    "demonstrate": ("text",),
    "edit": ("text",),
    "panel": ("ratings",),
    "panel_pair": ("choices",),
    "plan": ("plan",),
}
"""What a reply to each question may say, beside flags and a comment."""

SIZES = {
    "rank": (2, 9),
    "compare": (2, 2),
    "steps": (1, 1),
    "demonstrate": (0, 0),
    "edit": (1, 1),
    "panel": (1, 1),
    "panel_pair": (2, 2),
    "plan": (1, 9),
}
"""How many answers each question is about, at least and at most."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """What one annotator has before them: the answers' ids in the order shown, and their texts by id."""

    settings: BatchSettings
    prompt_id: str
    shown: tuple[str, ...]
    texts: Mapping[str, str]


def translate(sheet: Sheet, reply: Reply, annotator: str, seconds: float) -> list[Judgement]:
    """Check the reply against the question, and return what it says; the time stands with the first."""
    question = sheet.settings.question
    allowed = (*FIELDS[question], "flags", "comment")
    for name in reply.json():
        if name not in allowed:
            raise UserError(f"A reply to '{question}' has no '{name}'; it has {', '.join(allowed)}.")
    prompt, shown = sheet.prompt_id, sheet.shown
    found: list[Judgement]
    match question:
        case "rank":
            found = [_ranking(sheet, reply, annotator, seconds), *_ratings(sheet, reply, annotator)]
        case "compare" | "panel_pair":
            found = _choices(sheet, reply, annotator, seconds)
        case "steps":
            found = [_steps(sheet, reply, annotator, seconds)]
        case "demonstrate":
            found = [Demonstration(prompt, annotator, reply.text, seconds=seconds)]
        case "edit":
            if reply.text.strip() == sheet.texts[shown[0]].strip():
                raise UserError("The edited answer is the original: change it, or skip it.")
            found = [Edit(prompt, annotator, shown[0], reply.text, seconds=seconds)]
        case "panel":
            found = _panel_ratings(sheet, reply, annotator, seconds)
        case "plan":
            chosen = None if reply.plan is None else shown[_position(reply.plan, shown, "'plan'")]
            found = [PlanChoice(prompt, annotator, shown, chosen, seconds)]
    return found + _remarks(sheet, reply, annotator)


def _position(number: int, shown: Sequence[str], where: str) -> int:
    if not 0 <= number < len(shown):
        raise UserError(f"{where} names answer {number}, but the answers are 0 to {len(shown) - 1}.")
    return number


def _ranking(sheet: Sheet, reply: Reply, annotator: str, seconds: float) -> Ranking:
    shown = sheet.shown
    placed = [_position(number, shown, "'order'") for tier in reply.order for number in tier]
    if sorted(placed) != list(range(len(shown))):
        raise UserError(f"'order' must place each of the {len(shown)} answers once.")
    order = tuple(tuple(shown[number] for number in tier) for tier in reply.order)
    return Ranking(sheet.prompt_id, annotator, order, sheet.settings.criteria[0], seconds, shown)


def _ratings(sheet: Sheet, reply: Reply, annotator: str) -> list[Judgement]:
    return [Rating(sheet.prompt_id, *mark) for mark in _marks(sheet, reply, annotator)]


def _panel_ratings(sheet: Sheet, reply: Reply, annotator: str, seconds: float) -> list[Judgement]:
    _needs(sheet, reply.ratings, "ratings")
    marks = _marks(sheet, reply, annotator)
    if not marks:
        raise UserError("'ratings' must hold a mark from 1 to 7.")
    return [
        PanelRating(sheet.prompt_id, *mark, 0.0 if number else seconds) for number, mark in enumerate(marks)
    ]


def _marks(sheet: Sheet, reply: Reply, annotator: str) -> list[tuple[str, str, int, str]]:
    """Answer, annotator, score, criterion."""
    _only(sheet, reply.ratings, "ratings")
    found = []
    for criterion, row in reply.ratings.items():
        if len(row) != len(sheet.shown):
            raise UserError(f"'ratings' ({criterion}) must hold {len(sheet.shown)} marks, or null for one.")
        for answer, score in zip(sheet.shown, row, strict=True):
            if score is not None:
                found.append((answer, annotator, score, criterion))
    return found


def _choices(sheet: Sheet, reply: Reply, annotator: str, seconds: float) -> list[Judgement]:
    _only(sheet, reply.choices, "choices")
    _needs(sheet, reply.choices, "choices")
    first, second = sheet.shown
    kind = Comparison if sheet.settings.question == "compare" else PanelComparison
    ordered = [name for name in sheet.settings.criteria if name in reply.choices]
    return [
        kind(sheet.prompt_id, first, second, annotator, reply.choices[name], name, 0.0 if number else seconds)
        for number, name in enumerate(ordered)
    ]


def _only(sheet: Sheet, given: Mapping[str, object], field: str) -> None:
    for name in given:
        if name not in sheet.settings.criteria:
            criteria = ", ".join(sheet.settings.criteria)
            raise UserError(f"'{field}' has a criterion {name!r:.60}; this batch asks for {criteria}.")


def _needs(sheet: Sheet, given: Mapping[str, object], field: str) -> None:
    if sheet.settings.criteria[0] not in given:
        raise UserError(f"'{field}' must hold the criterion {sheet.settings.criteria[0]}.")


def _steps(sheet: Sheet, reply: Reply, annotator: str, seconds: float) -> StepLabels:
    answer = sheet.shown[0]
    texts = split_steps(sheet.texts[answer], sheet.settings.step_separator)
    if not 0 < len(reply.steps) <= len(texts):
        raise UserError(f"'steps' must hold 1 to {len(texts)} labels, in the order of the steps.")
    if len(reply.steps) < len(texts) and reply.finish_reason == "solution":
        raise UserError(f"'steps' holds {len(reply.steps)} labels, but the solution has {len(texts)} steps.")
    others = tuple(
        StepAlternative(other.step, other.text, other.rating, other.written, other.chosen)
        for other in reply.alternatives
    )
    reason = cast(FinishReason, reply.finish_reason)
    labelled = texts[: len(reply.steps)]
    return StepLabels(sheet.prompt_id, answer, annotator, labelled, reply.steps, reason, others, seconds)


def _remarks(sheet: Sheet, reply: Reply, annotator: str) -> list[Judgement]:
    found: list[Judgement] = []
    for mark in reply.flags:
        if mark.label not in sheet.settings.flags:
            labels = ", ".join(sheet.settings.flags)
            raise UserError(f"'flags' has a label {mark.label!r:.60}; this batch has {labels}.")
        answer = None if mark.answer is None else sheet.shown[_position(mark.answer, sheet.shown, "'flags'")]
        found.append(Flag(sheet.prompt_id, annotator, mark.label, answer, mark.comment))
    if reply.comment.strip():
        found.append(Comment(sheet.prompt_id, annotator, reply.comment))
    return found
