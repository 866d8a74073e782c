"""Files that say how good single answers are -> rated answers: labels, marks, or comparisons won."""

import math
from collections import Counter
from pathlib import Path

from heedful.data import files, formats, shapes
from heedful.data.files import Row
from heedful.data.messages import Skip
from heedful.data.shapes import Sample, Shape
from heedful.errors import UserError
from heedful.types import Message, Rated


def read_rated(
    path: str | Path, *, column: str = "rating", skipped: Counter[str] | None = None
) -> list[Rated]:
    """Answers with their rating, in any format of dialogues or preferences.

    An answer is rated by the number in `column`; without one, by KTO's `label` (1 or 0); in preferences, by the
    share of its comparisons that it won. Raises UserError for a file that says none of this.
    """
    won: dict[tuple[tuple[Message, ...], str], list[float]] = {}

    def build(row: Row, shape: Shape) -> list[Rated]:
        sample = shape.parse(row)
        source = row.data.get("source")
        if len(sample.answers) < 2:
            return [_one(row, sample, column, source if isinstance(source, str) else "")]
        for place, answer in enumerate(sample.answers):
            below = len(sample.answers) - 1 - place
            results = won.setdefault((sample.prompt, answer), [])
            results += [1.0] * below + [0.0] * place
        return [Rated(sample.prompt, answer, math.nan) for answer in sample.answers]

    found = formats.gather(files.read_rows(path), shapes.CONVERSATIONS, "rated answers", build, None, skipped)
    if not won:
        return found
    return [Rated(messages, text, sum(row) / len(row)) for (messages, text), row in won.items()]


def _one(row: Row, sample: Sample, column: str, source: str) -> Rated:
    if not sample.answers or not sample.answers[0].strip():
        raise Skip("no answer")
    value = row.data.get(column)
    if isinstance(value, bool) or not isinstance(value, int | float):
        value = None if sample.label is None else float(sample.label)
    if value is None:
        raise UserError(
            f"{row.where} does not say how good its answer is: give a number in '{column}', true or false in "
            "'label', or preferences"
        )
    return Rated(sample.prompt, sample.answers[0], float(value), source)
