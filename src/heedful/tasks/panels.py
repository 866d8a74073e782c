"""Answers to panel requests, graded against the true one: the judge `panel` of every stage that takes one."""

from collections.abc import Iterable, Sequence
from typing import Any

from heedful.errors import UserError
from heedful.panels import requests
from heedful.panels.exchange import Step
from heedful.types import Prompt

COLUMN = "true_lines"


def prompts(steps: Iterable[Step]) -> list[Prompt]:
    """What each step's passage changed, as prompts that carry the true answer; without the plan, as a book is read."""
    found = []
    for step in steps:
        shown = step.before.without("plan")
        name = f"{step.story}-{step.index}"
        truth = {COLUMN: requests.patch_of(shown, step.after)}
        found.append(Prompt(name, requests.update(shown, step.passage, step.condition), "panel", truth))
    return found


def judge(asked: Sequence[Prompt], answers: Sequence[str]) -> list[dict[str, float]]:
    """F1 of the answer's lines against the true ones, with precision as honesty and recall as help."""
    return [graded(p.columns.get(COLUMN), a) for p, a in zip(asked, answers, strict=True)]


def graded(true: Any, answer: str) -> dict[str, float]:
    """One answer's grade; a line that is said twice is wrong the second time."""
    if not isinstance(true, str):
        raise UserError(
            f"judge 'panel' needs prompts with the column '{COLUMN}': `heedful panel world` writes such"
        )
    right, said = set(filter(None, true.split("\n"))), [line for line in answer.split("\n") if line.strip()]
    hits = len(right & set(said))
    precision = hits / len(said) if said else float(not right)
    recall = hits / len(right) if right else float(not said)
    total = 2 * hits / (len(right) + len(said)) if right or said else 1.0
    return {"total": total, "honest": precision, "helpful": recall}
