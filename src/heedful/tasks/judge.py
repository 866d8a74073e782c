"""Who says how good an answer is: the world's gold judge, a reward model, or a function of the user's.

A judge is a function of prompts and answers that returns one mapping each: "total" (higher is better) and
whatever criteria it knows.
"""

import dataclasses
import importlib.util
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from heedful import world
from heedful.errors import UserError
from heedful.tasks import honesty, panels
from heedful.types import Prompt

HONESTY = "honesty:"

Judge = Callable[[Sequence[Prompt], Sequence[str]], list[dict[str, float]]]


def gold(prompts: Sequence[Prompt], answers: Sequence[str]) -> list[dict[str, float]]:
    """The built-in world's judge, which knows the truth behind each prompt.

    A question's answer is "correct" too (1 or 0): it names the right fact and no other in its place.
    """
    return [gold_one(p, a) for p, a in zip(prompts, answers, strict=True)]


def gold_one(prompt: Prompt, answer: str) -> dict[str, float]:
    """The gold judge's view of one answer."""
    grades = dataclasses.asdict(world.grade(prompt, answer))
    if prompt.task == "question":
        grades["correct"] = float(world.core_correct(prompt, answer))
    return grades


def find_judge(name: str) -> Judge:
    """`world`, `panel`, `honesty:TABLE` (rewards for the world's questions, see `tasks.honesty`), or one's own.

    One's own is `file.py:function` with the signature f(prompts, completions, **columns) -> list[float].
    """
    if name == "world":
        return gold
    if name == "panel":
        return panels.judge
    if name.startswith(HONESTY):
        return partial(honesty.grades, honesty.table(name.removeprefix(HONESTY)))
    path, _, function = name.rpartition(":")
    if not path.endswith(".py"):
        raise UserError(f"judge '{name}' is none of 'world', 'panel', 'honesty:TABLE' and 'file.py:function'")
    if not Path(path).is_file():
        raise UserError(f"judge file '{path}' does not exist")
    spec = importlib.util.spec_from_file_location("heedful_user_judge", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = getattr(module, function, None)
    if not callable(found):
        raise UserError(f"'{path}' has no function '{function}'")
    return as_judge(found, name)


def judge_code(name: str | None) -> Path | None:
    """The file that holds a judge function, whose content decides what it says."""
    path = Path((name or "").rpartition(":")[0])
    return path if path.suffix == ".py" else None


def as_judge(function: Callable[..., list[float]], name: str) -> Judge:
    """Wrap a reward function with TRL's signature; columns are those that all prompts carry."""

    def judge(prompts: Sequence[Prompt], answers: Sequence[str]) -> list[dict[str, float]]:
        shared = set.intersection(*(set(p.columns) for p in prompts)) if prompts else set()
        columns = {c: [p.columns[c] for p in prompts] for c in sorted(shared)}
        texts = [p.messages[-1].content for p in prompts]
        scores = function(prompts=texts, completions=list(answers), **columns)
        if len(scores) != len(answers):
            raise UserError(f"judge '{name}' returned {len(scores)} numbers for {len(answers)} answers")
        return [{"total": float(s)} for s in scores]

    return judge
