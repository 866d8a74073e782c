"""Files in the formats people have -> texts, conversations, prompts, preferences.

Readers take any file that `files.read_rows` takes; its first row decides the shape of all (see `shapes`).
A malformed row raises a UserError. A well-formed row that is of no use (an empty answer, twice the same
answer) is left out and counted in `skipped` under its reason, where the caller hands one in.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, TypeVar

from heedful.data import files, shapes
from heedful.data.files import Row
from heedful.data.messages import Skip, content_id, prompt_id
from heedful.data.rows import messages_row
from heedful.data.shapes import Shape
from heedful.data.wording import kind
from heedful.errors import UserError
from heedful.types import Conversation, Message, Preference, Prompt

# What a prompt is made of, and whole dialogues; all other columns go to the reward functions.
_NOT_COLUMNS = {"text", "messages", "conversations", "prompt", "chosen", "rejected"} | {
    *("instruction", "input", "history", "system", "question", "task")
}
_DOCUMENT_END = "<|endoftext|>"
_T = TypeVar("_T")


def read_texts(
    path: str | Path, *, limit: int | None = None, skipped: Counter[str] | None = None
) -> list[str]:
    """The column `text`; a .txt file is one text, or several with lines "<|endoftext|>" between them."""
    rows = files.read_rows(path)
    if files.is_text(path):
        rows = _documents(rows)
    return gather(rows, shapes.TEXT, "texts", _text, limit, skipped)


def read_conversations(
    path: str | Path, *, limit: int | None = None, skipped: Counter[str] | None = None
) -> list[Conversation]:
    """Dialogues to learn from; of preferences, the chosen answers; of labelled answers, the good ones.

    The columns `id`, `weight` and `source` are taken over; without an id it is made from the content.
    """
    return gather(files.read_rows(path), shapes.CONVERSATIONS, "conversations", _conversation, limit, skipped)


def read_prompts(
    path: str | Path, *, limit: int | None = None, skipped: Counter[str] | None = None
) -> list[Prompt]:
    """The prompts of any format that has some, each once; in a .txt file every line is one.

    `columns` holds what the row has besides the prompt and whole dialogues (an `answer`, a `source`).
    """
    rows, seen = files.read_rows(path), set[str]()
    forms: Sequence[Shape] = shapes.PROMPTS
    if files.is_text(path):
        rows, forms = (row for row in rows if row.data["text"].strip()), shapes.TEXT

    def build(row: Row, shape: Shape) -> list[Prompt]:
        messages = shape.parse(row).prompt
        name = prompt_id(messages)
        if name in seen:
            raise Skip("repeated prompt")
        seen.add(name)
        columns = {key: value for key, value in row.data.items() if key not in _NOT_COLUMNS}
        return [Prompt(name, messages, short(row, "task"), columns)]

    return gather(rows, forms, "prompts", build, limit, skipped)


def read_preferences(
    path: str | Path, *, limit: int | None = None, skipped: Counter[str] | None = None
) -> list[Preference]:
    """Chosen and rejected answers; a ranked list of K answers gives its K-choose-2 pairs.

    The columns `id`, `strength` and `source` are taken over; without an id it is made from the content.
    """
    return gather(files.read_rows(path), shapes.PREFERENCES, "preferences", preferences_of, limit, skipped)


def write_preferences(path: str | Path, preferences: Iterable[Preference]) -> int:
    """Write TRL's prompt/chosen/rejected JSONL, which `read_preferences` gives back unchanged."""
    return files.write_jsonl(path, map(_preference_row, preferences))


def gather(
    rows: Iterable[Row],
    forms: Sequence[Shape],
    purpose: str,
    build: Callable[[Row, Shape], list[_T]],
    limit: int | None,
    skipped: Counter[str] | None,
) -> list[_T]:
    """Build records from rows of one of the `forms`; what a row is no use for is counted and left out."""
    found: list[_T] = []
    reasons: Counter[str] = Counter()
    lines: dict[str, int] = {}  # where each reason was first met
    shape, first = None, None
    for row in rows:
        if shape is None:
            shape, first = shapes.choose(row, forms, purpose), row
        shape.check(row)
        try:
            found += build(row, shape)
        except Skip as reason:
            reasons[str(reason)] += 1
            lines.setdefault(str(reason), row.line)
        if limit is not None and len(found) >= limit:
            break
    if not found and first is not None:
        counts = "; ".join(f"{reason} ({n}, first at line {lines[reason]})" for reason, n in reasons.items())
        raise UserError(f"{first.path} has no row that can be used for {purpose}: {counts}.")
    if skipped is not None:
        skipped.update(reasons)
    return found[:limit]


def _documents(rows: Iterable[Row]) -> Iterator[Row]:
    lines: list[str] = []
    start: Row | None = None
    for row in rows:
        start = start or row
        if row.data["text"].strip() == _DOCUMENT_END:
            yield Row({"text": "\n".join(lines)}, start.path, start.line)
            lines, start = [], None
        else:
            lines.append(row.data["text"])
    if start is not None:
        yield Row({"text": "\n".join(lines)}, start.path, start.line)


def _text(row: Row, _: Shape) -> list[str]:
    text = shapes.text_of(row, "text")
    if not text.strip():
        raise Skip("empty text")
    return [text]


def _conversation(row: Row, shape: Shape) -> list[Conversation]:
    sample = shape.parse(row)
    if sample.label is False:
        raise Skip("labelled as a bad answer")
    answer = [Message("assistant", text) for text in sample.answers[:1]]
    # A last question without an answer teaches nothing.
    messages = (*sample.prompt, *answer) if answer else sample.prompt[:-1]
    if not messages or messages[-1].role != "assistant":
        raise Skip("no answer")
    if not messages[-1].content.strip():
        raise Skip("empty answer")
    name = short(row, "id") or prompt_id(messages)
    return [Conversation(messages, name, number(row, "weight"), short(row, "source"))]


def preferences_of(row: Row, shape: Shape) -> list[Preference]:
    """The pairs of one row."""
    sample = shape.parse(row)
    strength, source = strength_of(row), short(row, "source")
    pairs = [(a, b) for a, b in combinations(sample.answers, 2) if a != b and a.strip()]
    if len(sample.answers) < 2:
        raise Skip("a single answer")
    if not pairs:
        raise Skip("equal or empty answers")
    if strength is None:
        raise Skip("a tie")
    given = short(row, "id") if len(pairs) == 1 else ""
    return [
        Preference(
            sample.prompt,
            chosen,
            rejected,
            strength,
            given or content_id(prompt_id(sample.prompt), chosen, rejected),
            source,
            short(row, "criterion") or "overall",
            chance(row, "probability"),
        )
        for chosen, rejected in pairs
    ]


def _preference_row(preference: Preference) -> dict[str, Any]:
    row = {
        "prompt": messages_row(preference.messages),
        "chosen": [{"role": "assistant", "content": preference.chosen}],
        "rejected": [{"role": "assistant", "content": preference.rejected}],
        # A choice without any margin is no tie; a strength of 0 would say so.
        "strength" if preference.strength > 0 else "margin": preference.strength,
        "id": preference.id,
        "source": preference.source,
    }
    further = {"criterion": preference.criterion, "probability": preference.probability}
    return row | {key: value for key, value in further.items() if value not in ("overall", 1.0)}


def strength_of(row: Row) -> float | None:
    """How much better the chosen answer is: `strength`, or TRL's `margin`; None for a tie, strength 0."""
    if row.data.get("margin") is not None and row.data.get("strength") is None:
        return number(row, "margin", least=-math.inf)
    return number(row, "strength") or None


def chance(row: Row, column: str) -> float:
    """An optional probability; 1 if the row has none."""
    value = number(row, column)
    if value > 1:
        raise UserError(f"{row.where}: '{column}' is {value:g}, but it must lie between 0 and 1.")
    return value


def short(row: Row, column: str) -> str:
    """An optional name; one of another kind than text belongs to another task and is passed over."""
    value = row.data.get(column)
    return value if isinstance(value, str) else ""


def number(row: Row, column: str, *, least: float = 0.0) -> float:
    """An optional number, `least` or more; 1 if the row has none."""
    value = row.data.get(column)
    if value is None or value == "":
        return 1.0
    found = finite(value, f"{row.where}: '{column}'")
    if found < least:
        raise UserError(f"{row.where}: '{column}' is {found:g}, but it must be 0 or a positive number.")
    return found


def finite(value: Any, what: str) -> float:
    """A value that must be a finite number; `what` opens the error message."""
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError
        found = float(value)
    except (ValueError, OverflowError):
        raise UserError(f"{what} is {kind(value)}, but it must be a number.") from None
    if not math.isfinite(found):
        raise UserError(f"{what} is {found:g}, but it must be 0 or a positive number.")
    return found
