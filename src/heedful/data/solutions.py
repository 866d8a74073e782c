"""Answers in steps with a label a step: files of our own and TRL's, PRM800K, the store, and steps out of a text."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Unpack

from heedful.data import files, formats, shapes
from heedful.data.files import Row
from heedful.data.messages import Skip, content_id, prompt_id
from heedful.data.rows import messages_row
from heedful.data.shapes import Sample, Shape
from heedful.data.store import items
from heedful.data.store.records import Where
from heedful.data.store.store import Store
from heedful.data.wording import kind
from heedful.errors import UserError
from heedful.types import Message, Solution, StepLabels


def read_solutions(
    path: str | Path, *, limit: int | None = None, skipped: Counter[str] | None = None
) -> list[Solution]:
    """Rows with `prompt` and `steps` (TRL: `completions`), with `labels` or `chances`; and PRM800K as it is published.

    `labels` hold 1, 0, -1, true (1), false (-1) or null a step, `chances` a probability or null; both may be
    shorter than `steps`, and both may be missing where the labels are still to be made.
    """
    return formats.gather(
        files.read_rows(path), (_PRM800K, *shapes.STEPS), "solutions", _solutions, limit, skipped
    )


def holds_solutions(path: str | Path) -> bool:
    """Whether the first row of a file has the columns of labelled steps."""
    first = next(iter(files.read_rows(path)), None)
    forms = (_PRM800K, *shapes.STEPS)
    return first is not None and any(all(c in first.data for c in form.columns) for form in forms)


def write_solutions(path: str | Path, solutions: Iterable[Solution]) -> int:
    """Write the JSONL that `read_solutions` gives back unchanged."""
    return files.write_jsonl(path, map(_row, solutions))


def labelled_steps(store: Store, **where: Unpack[Where]) -> Iterator[Solution]:
    """Yield the store's current labels of steps; a rated step beside them ends a solution of its own.

    Bad problems are left out.
    """
    with store.reading() as connection:
        messages = {prompt.id: prompt.messages for prompt in items.get_prompts(connection, None, None)}
    for event, one in store.judgements("steps", **where):
        if not isinstance(one, StepLabels) or one.finish_reason == "bad_problem":
            continue
        prompt = messages[one.prompt_id]
        yield Solution(prompt, one.steps, one.labels, (), str(event.id), one.annotator)
        for other in one.alternatives:
            if other.rating is not None and not other.chosen:
                steps = (*one.steps[: other.step], other.text)
                yield _told(prompt, steps, [*[None] * other.step, other.rating], one.annotator)


def step_ends(text: str, separator: str) -> tuple[int, ...]:
    """Where the steps of a text end (the offset after their last character); blank lines are no steps."""
    ends, start = [], 0
    for piece in text.split(separator):
        if piece.strip():
            ends.append(start + len(piece))
        start += len(piece) + len(separator)
    return tuple(ends)


def step_texts(text: str, separator: str) -> tuple[str, ...]:
    """The steps of a text, without their separators."""
    return tuple(piece for piece in text.split(separator) if piece.strip())


def up_to_the_first_error(solution: Solution, *, neutral: float = 1.0) -> tuple[float | None, ...]:
    """What each step is supervised with: 1 right, 0 wrong, None where nobody said or after the first wrong step.

    A neutral step counts as `neutral`. Lightman et al. 2023 (arXiv:2305.20050), section 2.6. Chances are
    not cut: a step of rollouts that all fail has been told to be wrong, as the steps that follow it are.
    """
    if solution.chances:
        return solution.chances
    found: list[float | None] = []
    for label in solution.labels:
        found.append(None if label is None else {1: 1.0, 0: neutral, -1: 0.0}[label])
        if label == -1:
            break
    return tuple(found)


def _solutions(row: Row, shape: Shape) -> list[Solution]:
    sample = shape.parse(row)
    if shape is _PRM800K:
        return _from_prm800k(row, sample.prompt)
    n = len(sample.answers)
    labels = tuple(_label(row, value) for value in _values(row, "labels", n))
    chances = tuple(_chance(row, value) for value in _values(row, "chances", n))
    name = formats.short(row, "id") or content_id(prompt_id(sample.prompt), *sample.answers)
    return [Solution(sample.prompt, sample.answers, labels, chances, name, formats.short(row, "source"))]


def _values(row: Row, column: str, n: int) -> list[Any]:
    values = row.data.get(column)
    if values is None:
        return []
    if not isinstance(values, list) or len(values) > n:
        raise UserError(
            f"{row.where}: '{column}' is {kind(values)}, but it must be a list with at most one value a step ({n})."
        )
    return values


def _label(row: Row, value: Any) -> int | None:
    if isinstance(value, bool):
        return 1 if value else -1
    if value is None or (type(value) is int and value in (-1, 0, 1)):
        return value
    raise UserError(
        f"{row.where}: 'labels' holds {kind(value)}, but a label is 1, 0, -1, true, false or null."
    )


def _chance(row: Row, value: Any) -> float | None:
    if value is None:
        return None
    found = formats.finite(value, f"{row.where}: 'chances'")
    if not 0 <= found <= 1:
        raise UserError(f"{row.where}: 'chances' holds {found:g}, but a chance lies between 0 and 1.")
    return found


def _row(solution: Solution) -> dict[str, Any]:
    given = {"labels": solution.labels, "chances": solution.chances}
    return {
        "prompt": messages_row(solution.messages),
        "steps": list(solution.steps),
        **{name: list(values) for name, values in given.items() if values},
        "id": solution.id,
        "source": solution.source,
    }


def _prm800k(row: Row) -> Sample:
    question = row.data["question"]
    if not isinstance(question, dict) or not isinstance(question.get("problem"), str):
        raise UserError(
            f"{row.where}: 'question' is {kind(question)}, but PRM800K has an object with a 'problem'."
        )
    return Sample((Message("user", question["problem"]),))


_PRM800K = Shape(("question", "label"), _prm800k)


def _from_prm800k(row: Row, prompt: tuple[Message, ...]) -> list[Solution]:
    """The labelled path, and each further completion of a step as a solution that ends there, with that label alone.

    Screening and quality-control questions are left out, as are flagged completions and bad problems.
    """
    label, source = row.data["label"], formats.short(row, "labeler")
    if row.data.get("is_initial_screening_question") or row.data.get("is_quality_control_question"):
        raise Skip("a question that tests the annotators")
    try:
        if label["finish_reason"] == "bad_problem":
            raise Skip("a bad problem")
        taken: list[tuple[str, int | None]] = []
        others: list[tuple[tuple[str, ...], int]] = []
        for step in label["steps"]:
            before = tuple(text for text, _ in taken)
            place = _path(step)
            for number, completion in enumerate(step["completions"] or []):
                rating = completion["rating"]
                if rating in (-1, 0, 1) and not completion["flagged"] and number != place:
                    others.append(((*before, completion["text"]), rating))
            if place is None and step.get("human_completion"):
                taken.append((step["human_completion"]["text"], 1))
            elif place is not None:
                chosen = step["completions"][place]
                taken.append((chosen["text"], chosen["rating"]))
    except (KeyError, TypeError, IndexError, AttributeError):
        raise UserError(
            f"{row.where}: 'label' is not as in PRM800K: it needs finish_reason and steps."
        ) from None
    found = [_told(prompt, [text for text, _ in taken], [r for _, r in taken], source)] if taken else []
    found += [_told(prompt, steps, [*[None] * (len(steps) - 1), rating], source) for steps, rating in others]
    if not found:
        raise Skip("no labelled step")
    return found


def _path(step: Any) -> int | None:
    """Which completion the annotator went on from; where the work ended with it, the only one that there was."""
    chosen = step["chosen_completion"]
    if chosen is None and not step.get("human_completion") and len(step["completions"] or []) == 1:
        return 0
    return None if chosen is None else int(chosen)


def _told(
    prompt: tuple[Message, ...], steps: Sequence[str], labels: Sequence[int | None], source: str
) -> Solution:
    return Solution(
        prompt, tuple(steps), tuple(labels), (), content_id(prompt_id(prompt), *steps, *labels), source
    )
