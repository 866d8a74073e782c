"""Rewards from another machine: a server of `heedful serve --reward` as a scorer. The boundary is text."""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from heedful.engine.endpoint import Endpoint
from heedful.engine.scorer import StepScore
from heedful.errors import UserError
from heedful.types import Prompt

T = TypeVar("T")

PATIENCE = 10
"""Tries after the first, with pauses of 0.5, 1, 2 ... 60 seconds between them: four minutes in all."""


class ServerReward:
    """A reward model behind `/v1/score` and, where it is a process reward model, `/v1/steps`.

    A request holds the answers to a few prompts; at most `connections` requests are under way, and a server that is
    busy or away is asked again. `model` names one of several reward models that the server has.
    """

    metrics: Mapping[str, float] = {}

    def __init__(
        self, endpoint: Endpoint, model: str | None = None, *, items: int = 64, connections: int = 4
    ) -> None:
        self.endpoint, self.model, self.items, self.connections = endpoint, model, items, connections

    @classmethod
    def at(cls, url: str) -> "ServerReward":
        """The reward model at an address such as http://host:8000/v1 or, of several, http://host:8000/v1#NAME.

        The key is HEEDFUL_API_KEY's.
        """
        address, _, model = url.partition("#")
        key = os.environ.get("HEEDFUL_API_KEY")
        return cls(Endpoint(address, key, retries=PATIENCE), model or None)

    def scores(self, prompts: Sequence[Prompt], answers: Sequence[Sequence[str]]) -> list[list[float]]:
        """As `RewardModel.scores`. Raises UserError that names the server if it does not answer in time."""
        return self._all("score", prompts, answers, _score)

    def steps(
        self, prompts: Sequence[Prompt], answers: Sequence[Sequence[str]]
    ) -> list[list[tuple[StepScore, ...]]]:
        """As `ProcessRewardModel.steps`, of a server that has such a model."""
        return self._all("steps", prompts, answers, _steps)

    def _all(
        self,
        path: str,
        prompts: Sequence[Prompt],
        answers: Sequence[Sequence[str]],
        read: Callable[[Mapping[str, Any]], T | None],
    ) -> list[list[T]]:
        """What the server's route says of each answer, [prompt][answer], read out of its rows."""
        asked = [
            {"messages": [*_messages(prompt), {"role": "assistant", "content": text}]}
            for prompt, texts in zip(prompts, answers, strict=True)
            for text in texts
        ]
        parts = [asked[i : i + self.items] for i in range(0, len(asked), self.items)]
        pool = ThreadPoolExecutor(max(1, min(self.connections, len(parts))))
        try:
            rows = [row for part in pool.map(partial(self._ask, path), parts) for row in part]
        finally:
            pool.shutdown(cancel_futures=True)
        values = [value for row in rows if (value := read(row)) is not None]
        if len(values) < len(rows):
            raise self._wrong("scores that are numbers")
        found = iter(values)
        return [[next(found) for _ in texts] for texts in answers]

    def _ask(self, path: str, items: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        body: dict[str, Any] = {"items": list(items)}
        if self.model is not None:
            body["model"] = self.model
        rows = self.endpoint.post(path, body).get("data")
        if not isinstance(rows, list) or len(rows) != len(items):
            raise self._wrong("a score for every answer")
        if any(not isinstance(row, dict) or row.get("index") != i for i, row in enumerate(rows)):
            raise self._wrong("the scores in order")
        return rows

    def _wrong(self, wanted: str) -> UserError:
        return UserError(
            f"the reward server {self.endpoint.url} did not send {wanted}: is it heedful serve --reward?"
        )


def _messages(prompt: Prompt) -> list[dict[str, str]]:
    return [{"role": m.role, "content": m.content} for m in prompt.messages]


def _score(row: Mapping[str, Any]) -> float | None:
    return float(row["score"]) if _finite(row.get("score")) else None


def _steps(row: Mapping[str, Any]) -> tuple[StepScore, ...] | None:
    ends, scores = row.get("ends"), row.get("scores")
    if not (isinstance(ends, list) and isinstance(scores, list) and len(ends) == len(scores)):
        return None
    if not all(type(end) is int for end in ends) or not all(map(_finite, scores)):
        return None
    return tuple(StepScore(end, float(score)) for end, score in zip(ends, scores, strict=True))


def _finite(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)
