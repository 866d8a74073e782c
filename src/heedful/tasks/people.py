"""Who judges answers when no people are at hand: the world's simulated annotators, or one judge function."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby, permutations
from typing import Protocol

from heedful import world
from heedful.tasks.judge import Judge, find_judge
from heedful.types import Answer, Comparison, Prompt, Ranking, Rating


class Annotator(Protocol):
    """Somebody who rates, ranks and compares; the same question always gets the same answer."""

    @property
    def name(self) -> str: ...

    def rate(self, prompt: Prompt, answer: Answer) -> Rating: ...

    def rank(self, prompt: Prompt, answers: Sequence[Answer]) -> Ranking: ...

    def compare(self, prompt: Prompt, first: Answer, second: Answer) -> Comparison: ...


@dataclass(frozen=True)
class FunctionAnnotator:
    """A judge function as the only annotator. Its numbers order answers; they are no marks from 1 to 7."""

    name: str
    judge: Judge

    def _worth(self, prompt: Prompt, answers: Sequence[Answer]) -> list[float]:
        return [g["total"] for g in self.judge([prompt] * len(answers), [a.text for a in answers])]

    def rank(self, prompt: Prompt, answers: Sequence[Answer]) -> Ranking:
        worth = dict(zip((a.id for a in answers), self._worth(prompt, answers), strict=True))
        ordered = sorted(worth, key=lambda i: (-worth[i], i))
        order = tuple(tuple(tied) for _, tied in groupby(ordered, key=lambda i: worth[i]))
        return Ranking(prompt.id, self.name, order)

    def compare(self, prompt: Prompt, first: Answer, second: Answer) -> Comparison:
        one, other = self._worth(prompt, (first, second))
        return Comparison(prompt.id, first.id, second.id, self.name, (one > other) - (one < other))


@dataclass(frozen=True)
class GoldItem:
    """Two demonstrated answers that the gold judge tells apart clearly, and its choice."""

    prompt: Prompt
    first: Answer
    second: Answer
    gold: Comparison


def gold_items(prompts: Sequence[Prompt], n: int, *, gap: float, seed: int) -> list[GoldItem]:
    """At most `n` items to qualify annotators on, one a prompt, whose gold grades differ by `gap` or more."""
    found: list[GoldItem] = []
    for prompt in prompts:
        answers = [world.demonstrate(prompt, seed + i) for i in range(6)]
        totals = [world.grade(prompt, a.text).total for a in answers]
        pairs = [(i, j) for i, j in permutations(range(len(answers)), 2) if totals[i] - totals[j] >= gap]
        if pairs:
            i, j = pairs[0]
            # The better answer stands first and second in turn, so that always taking one side does not help.
            first, second, choice = (i, j, 3) if len(found) % 2 else (j, i, -3)
            one, two = (
                replace(answers[k], id=f"gold-{prompt.id}-{k}", prompt_id=prompt.id) for k in (first, second)
            )
            compared = Comparison(prompt.id, one.id, two.id, "gold", choice, "qualification")
            found.append(GoldItem(prompt, one, two, compared))
        if len(found) == n:
            break
    return found


def people(judge: str, n: int, *, seed: int) -> list[world.Annotator] | list[FunctionAnnotator]:
    """`n` simulated annotators of the built-in world, or the one judge function that `judge` names."""
    if judge == "world":
        return world.annotators(n, seed)
    return [FunctionAnnotator(f"judge {judge}", find_judge(judge))]
