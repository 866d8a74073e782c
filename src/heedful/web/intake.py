"""Files of prompts, with or without answers, into the store."""

from pathlib import Path
from typing import Any

from heedful.data import files, shapes
from heedful.data.messages import content_id, prompt_id
from heedful.data.store import Store
from heedful.errors import UserError
from heedful.types import Answer, Prompt

FORMS = (*shapes.PREFERENCES, shapes.CONVERSATIONS[1], *shapes.PROMPTS)
"""Pairs and completions before plain prompts: a row is taken for the most that it holds."""


def take_in(store: Store, path: Path, *, round_: int, policy: str) -> dict[str, int]:
    """Add what a file's rows ask and, where they hold answers, what was answered.

    A row is in any format that preferences or prompts are read in, or has a prompt and `answers`: a list of
    texts, or of objects with `text` and perhaps `policy`. Returns how many were new.
    """
    prompts: list[Prompt] = []
    answers: list[Answer] = []
    for row in files.read_rows(path):
        sample = shapes.choose(row, FORMS, "prompts").parse(row)
        name = prompt_id(sample.prompt)
        task = row.data.get("task")
        prompts.append(Prompt(name, sample.prompt, task if isinstance(task, str) else ""))
        found = [(text, policy) for text in sample.answers] + _listed(row, policy)
        answers += [
            Answer(content_id(name, text, who, round_), name, text, who) for text, who in dict.fromkeys(found)
        ]
    distinct = {prompt.id: prompt for prompt in reversed(prompts)}
    return {
        "prompts": store.add_prompts(reversed(distinct.values()), round=round_),
        "answers": store.add_answers({one.id: one for one in answers}.values(), round=round_),
    }


def _listed(row: files.Row, policy: str) -> list[tuple[str, str]]:
    given: Any = row.data.get("answers", [])
    if not isinstance(given, list):
        raise UserError(f"{row.where}: 'answers' must be a list of texts.")
    found = []
    for one in given:
        text, who = (one.get("text"), one.get("policy", policy)) if isinstance(one, dict) else (one, policy)
        if not isinstance(text, str) or not isinstance(who, str):
            raise UserError(f"{row.where}: each of 'answers' must be a text, or have a 'text'.")
        found.append((text, who))
    return found
