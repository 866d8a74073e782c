"""Which of several candidate plans is taken: the first, one that agrees with the panel, or a judge's favourite."""

from collections.abc import Callable, Sequence

import numpy as np

from heedful.engine import judges
from heedful.engine.stage import Inputs
from heedful.panels import consistency, requests
from heedful.panels.desk import Desk
from heedful.tasks.judge import Judge
from heedful.types import Prompt

Plan = tuple[str, ...]
Choose = Callable[[Sequence[Desk], Sequence[Sequence[Plan]]], list[Plan]]
"""Stories, and for each the candidate plans (one or more) -> the plan that each takes."""

PERSON, FIRST, RULE = "person", "first", "rule"


def first(stories: Sequence[Desk], candidates: Sequence[Sequence[Plan]]) -> list[Plan]:
    """Each story takes its first candidate."""
    return [plans[0] for plans in candidates]


def agreeing(stories: Sequence[Desk], candidates: Sequence[Sequence[Plan]]) -> list[Plan]:
    """Each story takes the plan that speaks least against its panel and itself, by the rules of `consistency`."""
    return [
        plans[consistency.agreeing(story.panel, plans)]
        for story, plans in zip(stories, candidates, strict=True)
    ]


def by(judge: Judge) -> Choose:
    """Each story takes the plan that `judge` gives the highest total; of equal ones the earlier."""

    def choose(stories: Sequence[Desk], candidates: Sequence[Sequence[Plan]]) -> list[Plan]:
        asked = [
            (Prompt(str(n), requests.plan(story.panel, story.condition), "panel"), story, plan)
            for n, (story, plans) in enumerate(zip(stories, candidates, strict=True))
            for plan in plans
        ]
        spelled = [requests.plan_of(story.panel.with_field("plan", plan)) for _, story, plan in asked]
        totals = iter([grade["total"] for grade in judge([prompt for prompt, *_ in asked], spelled)])
        return [plans[int(np.argmax([next(totals) for _ in plans]))] for plans in candidates]

    return choose


def find(name: str, *, model: str) -> Choose:
    """`first`, `rule`, or a judge of feedback: `reward:MODEL`, `ai:MODEL`, a function, `self` (the `model`)."""
    known = {FIRST: first, RULE: agreeing}
    return known.get(name) or by(judges.find(name, policy=model))


def inputs(name: str) -> Inputs:
    """What a stage's result depends on when this has chosen."""
    return {} if name in (PERSON, FIRST, RULE) else judges.inputs(name)
