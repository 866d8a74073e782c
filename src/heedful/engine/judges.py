"""Who judges, by name: what `tasks.judge` knows, a reward model, or a model that is asked which answer is better."""

from collections.abc import Sequence
from pathlib import Path

from heedful import world
from heedful.engine import ai_judge
from heedful.engine.rewards import load_reward, reward_inputs
from heedful.engine.stage import Inputs
from heedful.tasks import judge as tasks
from heedful.tasks import people as crowd
from heedful.tasks.judge import Judge
from heedful.tasks.people import FunctionAnnotator
from heedful.types import Prompt

MODEL, AI, SELF = "reward:", "ai:", "self"


def find(name: str, *, policy: str | None = None, words: Path | None = None) -> Judge:
    """`world`, `file.py:function`, `reward:MODEL`, `ai:MODEL`, or `self`: the `policy` judges its own answers.

    `words` are the principles that an AI judge is asked by.
    """
    if name == SELF and policy is not None:
        return ai_judge.load(policy, words=words)
    if name.startswith(AI):
        return ai_judge.load(name.removeprefix(AI), words=words)
    if name.startswith(MODEL):
        return scored(name.removeprefix(MODEL))
    return tasks.find_judge(name)


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
    name: str, n: int, *, seed: int, policy: str, words: Path | None = None
) -> list[world.Annotator] | list[FunctionAnnotator]:
    """`n` simulated annotators of the built-in world, or the one judge that `name` says."""
    if name == "world":
        return crowd.people(name, n, seed=seed)
    return [FunctionAnnotator(f"judge {name}", find(name, policy=policy, words=words))]
