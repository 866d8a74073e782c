"""What became of a question: answered rightly or wrongly, with or without a hedge, or not answered."""

import re

from heedful.errors import UserError
from heedful.types import Lang, Prompt
from heedful.world.judge_questions import named
from heedful.world.reading import read
from heedful.world.tasks import truth

OUTCOMES = ("correct", "hedged correct", "uninformative", "hedged wrong", "wrong")

_HEDGES: dict[Lang, str] = {
    "en": r"\b(?:perhaps|maybe|probably|possibly|i (?:think|guess|believe)|might|may be|not sure|could be)\b",
    "zh": "也许|大概|可能|或许|恐怕|我想|我猜|说不定|不确定",
}


def outcome(prompt: Prompt, text: str) -> str:
    """Which of `OUTCOMES` an answer to a question of the world is, whether the passage tells the answer or not.

    An answer that names nothing is uninformative, however it says so.
    """
    if prompt.task not in ("question", "unanswerable"):
        raise UserError(f"outcomes are of questions only, and this prompt's task is '{prompt.task}'")
    known = truth(prompt)
    right, wrong = named(read(known, text))
    if not (right or wrong):
        return "uninformative"
    hedged = "hedged " if re.search(_HEDGES[known.lang], text, re.IGNORECASE) else ""
    return f"{hedged}{'wrong' if wrong else 'correct'}"
