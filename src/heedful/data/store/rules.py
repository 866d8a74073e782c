"""What each kind of judgement says: its checks, and the payload that the journal keeps of it."""

import re
from typing import Any

from heedful.data.store.records import Flag, Kind
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
    StepLabels,
)

Parts = tuple[Kind, str, tuple[str, ...], dict[str, Any]]
"""Kind, criterion, the answers that must be there, payload."""

LONGEST = 1_000_000
"""Characters in a text that an annotator writes."""

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


def check_name(value: str, what: str, *, empty: bool = False) -> None:
    """Raise a UserError unless `value` can be a key on every database: 1 to 200 printable characters."""
    if not isinstance(value, str) or len(value) > 200 or not (value or empty) or _UNPRINTABLE.search(value):
        raise UserError(f"{what} must be 1 to 200 printable characters, not {value!r:.80}.")


def rating(one: Rating | PanelRating) -> Parts:
    """A mark from 1 to 7."""
    if type(one.score) is not int or not 1 <= one.score <= 7:
        raise UserError(f"A rating must be a whole number from 1 (worst) to 7 (best), not {one.score!r}.")
    rated = one.answer_id if isinstance(one, Rating) else one.panel_id
    kind: Kind = "rating" if isinstance(one, Rating) else "panel_rating"
    return kind, one.criterion, (rated,), {"answer": rated, "score": one.score}


def ranking(one: Ranking) -> Parts:
    """Tiers of answers, each answer once."""
    answers = tuple(answer for tier in one.order for answer in tier)
    if not answers or not all(one.order):
        raise UserError(f"The ranking of prompt {one.prompt_id} has an empty place: leave it out.")
    twice = sorted({answer for answer in answers if answers.count(answer) > 1})
    if twice:
        raise UserError(
            f"The ranking of prompt {one.prompt_id} lists answer {twice[0]} twice: list each once."
        )
    payload: dict[str, Any] = {"order": [list(tier) for tier in one.order]}
    if one.shown:
        if sorted(one.shown) != sorted(answers):
            raise UserError(f"The ranking of prompt {one.prompt_id} ranks other answers than were shown.")
        payload["shown"] = list(one.shown)
    return "ranking", one.criterion, answers, payload


def comparison(one: Comparison | PanelComparison) -> Parts:
    """Two different answers, a preference from -3 to 3."""
    preference = one.preference
    if type(preference) is not int or not -3 <= preference <= 3:
        raise UserError(f"A preference must be a whole number from -3 to 3, not {preference!r}.")
    if one.first == one.second:
        raise UserError(f"A comparison needs two different answers, not {one.first} twice.")
    kind: Kind = "comparison" if isinstance(one, Comparison) else "panel_comparison"
    payload = {"first": one.first, "second": one.second, "preference": preference}
    return kind, one.criterion, (one.first, one.second), payload


def steps(one: StepLabels) -> Parts:
    """Labels up to the first bad step, and other texts for steps that were labelled."""
    if not one.labels or len(one.labels) != len(one.steps):
        raise UserError(f"Answer {one.answer_id} has {len(one.steps)} steps but {len(one.labels)} labels.")
    if any(label not in (-1, 0, 1) or isinstance(label, bool) for label in one.labels):
        raise UserError("The label of a step must be 1 (good), 0 (neutral) or -1 (bad).")
    if -1 in one.labels[:-1]:
        raise UserError("Labelling stops at the first bad step: leave the later steps out.")
    if one.finish_reason not in ("solution", "found_error", "give_up", "bad_problem"):
        raise UserError(
            f"A finish reason is solution, found_error, give_up or bad_problem, not {one.finish_reason!r:.40}."
        )
    if (one.finish_reason == "found_error") != (one.labels[-1] == -1):
        raise UserError("The finish reason is found_error exactly if the last label is bad.")
    for other in one.alternatives:
        if not 0 <= other.step < len(one.labels):
            raise UserError(f"An alternative belongs to step {other.step}, which has no label.")
        if other.rating not in (-1, 0, 1, None):
            raise UserError("The rating of an alternative must be 1, 0 or -1, or missing.")
        check_text(other.text, "An alternative step")
    payload = {
        "answer": one.answer_id,
        "steps": list(one.steps),
        "labels": list(one.labels),
        "finish_reason": one.finish_reason,
        "alternatives": [
            {"step": a.step, "text": a.text, "rating": a.rating, "written": a.written, "chosen": a.chosen}
            for a in one.alternatives
        ],
    }
    return "steps", "steps", (one.answer_id,), payload


def demonstration(one: Demonstration) -> Parts:
    """A text that answers the prompt."""
    check_text(one.text, "A demonstration")
    return "demonstration", "", (), {"text": one.text}


def edit(one: Edit) -> Parts:
    """A text that is better than the original."""
    check_text(one.text, "An edited answer")
    return "edit", "overall", (one.original,), {"original": one.original, "text": one.text}


def comment(one: Comment) -> Parts:
    """A text about the prompt or an answer."""
    check_text(one.text, "A comment")
    answers = () if one.answer_id is None else (one.answer_id,)
    return "comment", "", answers, {"text": one.text, "answer": one.answer_id}


def plan_choice(one: PlanChoice) -> Parts:
    """One of the options, or none."""
    if len(set(one.options)) != len(one.options) or not one.options:
        raise UserError("A choice of plans needs different plans to choose from.")
    if one.chosen is not None and one.chosen not in one.options:
        raise UserError(f"Plan {one.chosen} is not among those that were shown.")
    return "plan_choice", "", one.options, {"options": list(one.options), "chosen": one.chosen}


def flag(one: Flag) -> Parts:
    """A label for the prompt or an answer."""
    check_name(one.label, "A flag's label")
    answers = () if one.answer_id is None else (one.answer_id,)
    payload = {"label": one.label, "answer": one.answer_id, "comment": one.comment}
    return "flag", "", answers, payload


def check_text(text: str, what: str) -> None:
    """Raise a UserError unless `text` says something, at bearable length."""
    if not isinstance(text, str) or not text.strip():
        raise UserError(f"{what} must not be empty.")
    if len(text) > LONGEST:
        raise UserError(f"{what} may have at most {LONGEST:,} characters.")
