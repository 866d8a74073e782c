"""From prompts and answers in the store to the tasks of a batch."""

import hashlib
from collections.abc import Iterable, Sequence

from heedful.errors import UserError
from heedful.people import NewTask
from heedful.types import Answer, Prompt

SIZES = {"rank": (2, 9), "compare": (2, 2), "plan": (2, 9), "panel_pair": (2, 2), "demonstrate": (0, 0)}
"""How many answers a task of each question shows, at least and at most; of all others, one."""


def tasks_for(
    question: str,
    prompts: Iterable[Prompt],
    answers: Iterable[Answer],
    *,
    per_task: int,
    most: int,
    seed: int,
) -> list[NewTask]:
    """Return at most `most` tasks: a prompt each, or one for each answer where a question is about one.

    Which prompts, and which `per_task` of a prompt's distinct answers, follows from the seed and their ids.
    """
    low, high = SIZES.get(question, (1, 1))
    size = min(max(per_task, low), high)
    by_prompt: dict[str, list[Answer]] = {}
    for answer in answers:
        by_prompt.setdefault(answer.prompt_id, []).append(answer)
    made: list[NewTask] = []
    for prompt in sorted(prompts, key=lambda one: _drawn(seed, one.id)):
        found = _distinct(sorted(by_prompt.get(prompt.id, ()), key=lambda one: _drawn(seed, one.id)))
        if len(found) < low:
            continue
        groups = [found[:size]] if size != 1 else [[answer] for answer in found]
        made += [NewTask(prompt.id, tuple(answer.id for answer in group)) for group in groups]
        if len(made) >= most:
            break
    if not made:
        raise UserError(
            f"No prompt has the {low} different answers that this question needs: import or sample some first."
            if low
            else "There is no prompt to ask about: import some first."
        )
    return made[:most]


def _distinct(answers: Sequence[Answer]) -> list[Answer]:
    return list({answer.text: answer for answer in reversed(answers)}.values())[::-1]


def _drawn(seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed}\n{name}".encode("utf-8", "surrogatepass")).digest()
