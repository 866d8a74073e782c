"""Labels of steps without people: a step is as good as the share of rollouts from it that come out right."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from heedful.data import chat
from heedful.data.messages import content_id, prompt_id
from heedful.engine.policy import Policy
from heedful.engine.sampler import TokenPrompt
from heedful.engine.sampling import Sampling
from heedful.tasks.judge import Judge
from heedful.types import Message, Prompt, Solution

Labels = Literal["hard", "soft"]


def labelled(
    policy: Policy,
    solutions: Sequence[Solution],
    judge: Judge,
    how: Sampling,
    *,
    seed: int,
    rollouts: int = 8,
    labels: Labels = "soft",
    separator: str = "\n",
    prompts: Mapping[tuple[Message, ...], Prompt] | None = None,
) -> list[Solution]:
    """Give every step its chance: of `rollouts` continuations from it, the share that `judge` finds right.

    `hard` labels say 1 where any of them is right, else 0. The last step's chance is whether the solution itself is
    right. A beginning that leaves no room for a continuation is left unlabelled. `prompts` bring the columns that the
    judge needs. Wang et al. 2024, section 3.3, eq. 3 and 4 (arXiv:2312.08935).
    """
    asked = [(prompts or {}).get(s.messages, Prompt("", s.messages)) for s in solutions]
    context = getattr(policy.model.config, "max_position_embeddings", None)
    room = None if context is None else context - how.max_completion_length
    begun = [b for i, s in enumerate(solutions) for b in beginnings(policy, s, separator, i) if b.fits(room)]
    answered = (
        policy.answer([b.prompt for b in begun], how, seed=(seed, "step labels"), n=rollouts) if begun else []
    )
    texts = [b.text + text for b, a in zip(begun, answered, strict=True) for text in a.texts]
    found = right(judge, [asked[b.solution] for b in begun for _ in range(rollouts)], texts)
    ended = right(judge, asked, [separator.join(s.steps) for s in solutions])
    chances: list[list[float | None]] = [
        [*[None] * (len(s.steps) - 1), end] for s, end in zip(solutions, ended, strict=True)
    ]
    for number, b in enumerate(begun):
        some = found[number * rollouts : (number + 1) * rollouts]
        chances[b.solution][b.step] = max(some) if labels == "hard" else sum(some) / rollouts
    return [replace(s, labels=(), chances=tuple(c)) for s, c in zip(solutions, chances, strict=True)]


@dataclass(frozen=True)
class Beginning:
    """A solution up to and with one of its steps, as tokens to go on from and as text."""

    solution: int
    step: int
    prompt: TokenPrompt
    text: str

    def fits(self, room: int | None) -> bool:
        """Whether `room` tokens are enough for it."""
        return room is None or len(self.prompt.ids) <= room


def beginnings(policy: Policy, solution: Solution, separator: str, number: int) -> list[Beginning]:
    """All true beginnings of solution `number`; the steps are tokenized one by one."""
    name = content_id(prompt_id(solution.messages), *solution.steps)
    ids, text = list(chat.render_prompt(policy.tokenizer, solution.messages)), ""
    found = []
    for place, step in enumerate(solution.steps[:-1]):
        ids += chat.answer_ids(policy.tokenizer, step + separator)[:-1]
        text += step + separator
        found.append(Beginning(number, place, TokenPrompt(f"{name}/{place}", tuple(ids)), text))
    return found


def right(judge: Judge, prompts: Sequence[Prompt], answers: Sequence[str]) -> list[float]:
    """1 where the judge finds an answer "correct" (a total above one half where it knows no such thing), else 0."""
    if not prompts:
        return []
    return [float(grade.get("correct", grade["total"]) > 0.5) for grade in judge(prompts, answers)]
