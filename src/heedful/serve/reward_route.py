"""`/v1/score`, `/v1/rank` and `/v1/steps`: reward models as a service. The boundary is text."""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from heedful.serve import answers, asking
from heedful.serve.backend import Backend
from heedful.serve.common import ERRORS, serve_of
from heedful.serve.errors import ApiError
from heedful.serve.leaving import unless_gone
from heedful.serve.replies import ScoreReply, StepScores
from heedful.serve.requests import RankRequest, ScoreRequest, StepsRequest
from heedful.types import Message, Prompt

router = APIRouter()

AT_ONCE = 16
"""Answers that are scored between two steps of those that are being written."""


@router.post("/v1/score", response_model=ScoreReply, responses=ERRORS)
async def score(body: ScoreRequest, request: Request) -> Response:
    """The scores of the last messages of dialogues, in order; equal prompts in a row are computed once."""
    backend = serve_of(request)
    name = answers.reward_name(backend, body.model)
    asked = [split(asking.dialogue(item.messages)) for item in body.items]
    found = await unless_gone(request, scores(backend, name, asked), lambda: None)
    return JSONResponse(listed(backend, name, enumerate(found)))


@router.post("/v1/rank", response_model=ScoreReply, responses=ERRORS)
async def rank(body: RankRequest, request: Request) -> Response:
    """The answers to a dialogue with their scores, best first; `index` is an answer's place in the request."""
    backend = serve_of(request)
    name = answers.reward_name(backend, body.model)
    prompt = prompt_of(asking.dialogue(body.messages))
    asked = [(prompt, text) for text in body.answers]
    found = await unless_gone(request, scores(backend, name, asked), lambda: None)
    order = sorted(enumerate(found), key=lambda item: item[1], reverse=True)
    return JSONResponse(listed(backend, name, order))


@router.post("/v1/steps", response_model=StepScores, responses=ERRORS)
async def steps(body: StepsRequest, request: Request) -> Response:
    """A score for each step of an answer.

    A process reward model gives each step's own (`kind` process), with what it knows as the separator between them. Any
    other scores the answer up to and including each step (`kind` prefix): differences of neighbours say what a step
    added.
    """
    backend = serve_of(request)
    name = answers.reward_name(backend, body.model)
    prompt = prompt_of(asking.dialogue(body.messages))
    prefixes = list(accumulate(body.steps, lambda a, b: a + body.separator + b))

    def work(model: Any) -> tuple[str, list[float], float]:
        if hasattr(model, "steps"):
            whole = model.separator.join(body.steps)
            found = [s.probability for s in model.steps([prompt], [[whole]])[0][0]]
            if len(found) != len(body.steps):
                raise ApiError(
                    f"this model separates steps by {model.separator!r}: give steps without it, and no empty ones",
                    param="steps",
                )
            return "process", found, model.scores([prompt], [[whole]])[0][0]
        of_prefixes = model.scores([prompt], [prefixes])[0]
        return "prefix", of_prefixes, of_prefixes[-1]

    kind, found, whole = await unless_gone(request, backend.reward(name, work), lambda: None)
    head = {"object": "steps", "model": name, "fingerprint": backend.rewards[name]}
    return JSONResponse({**head, "kind": kind, "scores": found, "score": whole})


def split(messages: Sequence[Message]) -> tuple[Prompt, str]:
    """The prompt and the answer of a dialogue that ends with the answer."""
    if messages[-1].role != "assistant":
        raise ApiError("what is scored is an answer: the last message must be the assistant's", param="items")
    return prompt_of(messages[:-1]), messages[-1].content


def prompt_of(messages: Sequence[Message]) -> Prompt:
    """The dialogue that was answered."""
    if not messages or messages[-1].role != "user":
        raise ApiError("the dialogue before an answer must end with the user's message", param="messages")
    return Prompt("", tuple(messages))


async def scores(backend: Backend, name: str, asked: Sequence[tuple[Prompt, str]]) -> list[float]:
    """The scores of answers in order, a few at a time."""
    found: list[float] = []
    for start in range(0, len(asked), AT_ONCE):
        groups: list[tuple[Prompt, list[str]]] = []
        for prompt, text in asked[start : start + AT_ONCE]:
            if not groups or groups[-1][0].messages != prompt.messages:
                groups.append((prompt, []))
            groups[-1][1].append(text)
        prompts, texts = [p for p, _ in groups], [t for _, t in groups]

        def work(model: Any, p: Any = prompts, t: Any = texts) -> list[list[float]]:
            rows: list[list[float]] = model.scores(p, t)
            return rows

        found += [value for row in await backend.reward(name, work) for value in row]
    return found


def listed(backend: Backend, name: str, scored: Any) -> dict[str, Any]:
    """Scores with the fingerprint of the model that gave them."""
    data = [{"index": index, "score": value} for index, value in scored]
    return {"object": "list", "model": name, "fingerprint": backend.rewards[name], "data": data}
