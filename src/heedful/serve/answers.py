"""From what the engine writes to answers: collected, chosen by their rewards, and counted."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from heedful.engine.sampler import shown
from heedful.engine.sampling import Sampling
from heedful.serve.asking import Plan
from heedful.serve.backend import Answering, Backend
from heedful.serve.errors import ApiError
from heedful.serve.worker import Piece
from heedful.types import Message, Prompt


@dataclass
class Answer:
    """One answer: its text up to a stop string, all its tokens, and the log-probs that were asked for."""

    text: str = ""
    tokens: list[int] = field(default_factory=list)
    logps: list[float] = field(default_factory=list)
    tops: list[tuple[tuple[int, float], ...]] = field(default_factory=list)
    end: str = ""
    reward: float | None = None

    def take(self, piece: Piece) -> None:
        """Add what a token brought."""
        self.text += piece.text
        self.tokens.append(piece.token)
        self.end = piece.end
        if piece.logp is not None:
            self.logps.append(piece.logp)
            self.tops.append(piece.top)


async def collect(answering: Answering, plan: Plan) -> list[Answer]:
    """All answers, when the last has ended."""
    answers = [Answer() for _ in plan.asks]
    async for pieces in answering:
        for piece in pieces:
            answers[piece.answer].take(piece)
    check_grammars(plan)
    return answers


def check_grammars(plan: Plan) -> None:
    """Raise where an answer could not follow its schema to the end."""
    for ask in plan.asks:
        if why := getattr(ask.grammar, "failed", ""):
            raise ApiError(f"the JSON schema could not be followed: {why}", param="response_format")


async def rewarded(
    backend: Backend, name: str, messages: Sequence[Message], answers: Sequence[Answer]
) -> None:
    """Score answers by a reward model, as it would score them in training."""
    prompt = Prompt("", tuple(messages))
    texts = [shown(a.text, Sampling()) for a in answers]
    scores: list[float] = await backend.reward(name, lambda model: model.scores([prompt], [texts])[0])
    for answer, score in zip(answers, scores, strict=True):
        answer.reward = score


def best(answers: Sequence[Answer], n: int) -> list[Answer]:
    """The `n` answers of the highest reward, or else of the highest mean log-prob per token, best first."""

    def worth(answer: Answer) -> float:
        return sum(answer.logps) / len(answer.logps) if answer.reward is None else answer.reward

    return list(answers) if n == len(answers) else sorted(answers, key=worth, reverse=True)[:n]


def chosen(plan: Plan, answers: Sequence[Answer]) -> list[Answer]:
    """Of each prompt's answers those to return."""
    rows = [answers[i : i + plan.drawn] for i in range(0, len(answers), plan.drawn)]
    return [answer for row in rows for answer in best(row, plan.n)]


def usage(plan: Plan, written: int) -> dict[str, int]:
    """The tokens of prompts and answers, those that were not returned too."""
    asked = sum(map(len, plan.prompts))
    return {"prompt_tokens": asked, "completion_tokens": written, "total_tokens": asked + written}


def reward_name(backend: Backend, name: str | None) -> str:
    """Which reward model is meant; without a name, the only one."""
    if name is None and len(backend.rewards) == 1:
        return next(iter(backend.rewards))
    if name is None or name not in backend.rewards:
        known = ", ".join(backend.rewards) or "none"
        raise ApiError(
            f"there is no reward model '{name}' here; there is: {known}",
            404,
            param="reward",
            code="model_not_found",
        )
    return name


def describe(name: str, spelling: Any, token: int, logp: float) -> dict[str, Any]:
    """A token with its log-prob as chat responses show it."""
    return {name: spelling.text(token), "logprob": logp, "bytes": list(spelling.bytes(token))}
