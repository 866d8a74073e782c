"""Who judges, by name: what `tasks.judge` knows, a reward model, or a model that is asked which answer is better."""

from collections.abc import Sequence
from typing import Any

from heedful import world
from heedful.engine import judging
from heedful.engine.ai_judge import AiJudge
from heedful.engine.judging import Judging
from heedful.engine.rewards import load_reward, reward_inputs
from heedful.engine.stage import Inputs
from heedful.tasks import judge as tasks
from heedful.tasks import people as crowd
from heedful.tasks.judge import Judge
from heedful.tasks.people import FunctionAnnotator
from heedful.types import Prompt

MODEL, AI, SELF = "reward:", "ai:", "self"


def find(name: str, *, policy: str | None = None, how: Judging | None = None) -> Judge:
    """`world`, `file.py:function`, `reward:MODEL`, `ai:MODEL`, or `self`: the `policy` judges its own answers.

    `how` a model is asked: without it, by our principles in English.
    """
    how = how or Judging.model_validate({})
    if name == SELF and policy is not None:
        return judging.load(policy, how)
    if name.startswith(AI):
        return judging.load(name.removeprefix(AI), how)
    if name.startswith(MODEL):
        return scored(name.removeprefix(MODEL))
    return tasks.find_judge(name)


def check(name: str, *, policy: str, how: Judging) -> None:
    """Raise UserError if there is no such judge, or it is a model that nobody has compared with people."""
    judge = find(name, policy=policy, how=how)
    if isinstance(judge, AiJudge) and not judging.choices(how):
        judging.refuse(how, {})


def scored(source: str) -> Judge:
    """A reward as a judge: its score is the total."""
    reward = load_reward(source)

    def judge(prompts: Sequence[Prompt], answers: Sequence[str]) -> list[dict[str, float]]:
        return [{"total": row[0]} for row in reward.scores(prompts, [[a] for a in answers])]

    return judge


def inputs(name: str | None) -> Inputs:
    """What a stage's result depends on when this judge has spoken."""
    if name and name.startswith(AI):
        return {"judge.model": name.removeprefix(AI)}
    if name and name.startswith(MODEL):
        return {f"judge.{key}": place for key, place in reward_inputs(name.removeprefix(MODEL)).items()}
    return {"judge_code": tasks.judge_code(name)}


def outside(name: str | None) -> str | None:
    """The judge if it stands outside the loop, and so may measure what the loop has made: no model does."""
    return None if name is None or name == SELF or name.startswith((AI, MODEL)) else name


def people(
    name: str, n: int, *, seed: int, policy: str, how: Judging
) -> tuple[Sequence[world.Annotator] | Sequence[FunctionAnnotator], dict[str, Any]]:
    """`n` simulated annotators of the built-in world, or the one judge that `name` says.

    With how far a model that is asked agrees with people; UserError where that is too little, or not known.
    """
    if name == "world":
        return crowd.people(name, n, seed=seed), {}
    judge = find(name, policy=policy, how=how)
    measured = judging.trusted(how, judge, seed=seed) if isinstance(judge, AiJudge) else {}
    return [FunctionAnnotator(f"judge {name}", judge)], measured
