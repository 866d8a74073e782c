"""`/v1/score`, `/v1/rank` and `/v1/steps`: reward models as a service. The boundary is text."""

from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from heedful.engine.process_reward import ProcessRewardModel, whole
from heedful.serve import answers, asking
from heedful.serve.backend import Backend
from heedful.serve.common import ERRORS, serve_of
from heedful.serve.errors import ApiError
from heedful.serve.leaving import unless_gone
from heedful.serve.replies import ScoreReply, StepScores, StepScoresReply
from heedful.serve.requests import RankRequest, ScoreRequest, StepsBody
from heedful.types import Message, Prompt

router = APIRouter()

AT_ONCE = 16
"""Answers that are scored between two steps of those that are being written."""

Said = dict[str, Any]
Work = Callable[[Any, Sequence[Prompt], Sequence[Sequence[str]]], list[list[Said]]]
"""What a reward model is asked to do with answers, [prompt][answer]."""


@router.post("/v1/score", response_model=ScoreReply, responses=ERRORS)
async def score(body: ScoreRequest, request: Request) -> Response:
    """The scores of the last messages of dialogues, in order; equal prompts in a row are computed once."""
    backend = serve_of(request)
    name = answers.reward_name(backend, body.model)
    asked = [split(asking.dialogue(item.messages)) for item in body.items]
    found = await unless_gone(request, in_parts(backend, name, asked, scored), lambda: None)
    return JSONResponse(listed(backend, name, enumerate(found)))


@router.post("/v1/rank", response_model=ScoreReply, responses=ERRORS)
async def rank(body: RankRequest, request: Request) -> Response:
    """The answers to a dialogue with their scores, best first; `index` is an answer's place in the request."""
    backend = serve_of(request)
    name = answers.reward_name(backend, body.model)
    prompt = prompt_of(asking.dialogue(body.messages))
    asked = [(prompt, text) for text in body.answers]
    found = await unless_gone(request, in_parts(backend, name, asked, scored), lambda: None)
    order = sorted(enumerate(found), key=lambda item: item[1]["score"], reverse=True)
    return JSONResponse(listed(backend, name, order))


@router.post("/v1/steps", response_model=StepScores | StepScoresReply, responses=ERRORS)
async def steps(body: StepsBody, request: Request) -> Response:
    """A score for each step of an answer.

    Whole answers (`items`, as `/v1/score` takes them) are cut into steps by a process reward model, which knows how.
    Of the `steps` of one answer it gives each step's own score (`kind` process), with what it knows as the separator
    between them. Any other model scores the answer up to and including each step (`kind` prefix): differences of
    neighbours say what a step added.
    """
    backend = serve_of(request)
    name = answers.reward_name(backend, body.model)
    if isinstance(body, ScoreRequest):
        asked = [split(asking.dialogue(item.messages)) for item in body.items]
        rows = await unless_gone(request, in_parts(backend, name, asked, cut), lambda: None)
        return JSONResponse(listed(backend, name, enumerate(rows)))
    prompt = prompt_of(asking.dialogue(body.messages))
    given, separator = body.steps, body.separator

    def work(model: Any) -> tuple[str, list[float], float]:
        if isinstance(model, ProcessRewardModel):
            return "process", *of_steps(model, prompt, given)
        of_prefixes = model.scores([prompt], [list(accumulate(given, lambda a, b: a + separator + b))])[0]
        return "prefix", of_prefixes, of_prefixes[-1]

    kind, found, total = await unless_gone(request, backend.reward(name, work), lambda: None)
    head = {"object": "steps", "model": name, "fingerprint": backend.rewards[name]}
    return JSONResponse({**head, "kind": kind, "scores": found, "score": total})


def of_steps(model: ProcessRewardModel, prompt: Prompt, given: Sequence[str]) -> tuple[list[float], float]:
    """The scores of steps that were given apart, and of the answer that they make."""
    ((found,),) = model.steps([prompt], [[model.separator.join(given)]])
    if len(found) != len(given):
        raise ApiError(
            f"this model separates steps by {model.separator!r}: give steps without it, and no empty ones",
            param="steps",
        )
    scores = [step.probability for step in found]
    return scores, whole(scores, model.how)


def cut(model: Any, prompts: Sequence[Prompt], texts: Sequence[Sequence[str]]) -> list[list[Said]]:
    """Where the steps of whole answers end, their scores, and the answers'."""
    if not isinstance(model, ProcessRewardModel):
        raise ApiError("this reward model judges whole answers and cuts none into steps", param="model")
    return [
        [
            {
                "ends": [step.end for step in steps],
                "scores": (scores := [step.probability for step in steps]),
                "score": whole(scores, model.how),
            }
            for steps in row
        ]
        for row in model.steps(prompts, texts)
    ]


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


def scored(model: Any, prompts: Sequence[Prompt], texts: Sequence[Sequence[str]]) -> list[list[Said]]:
    """The scores of answers, a row a prompt."""
    return [[{"score": value} for value in row] for row in model.scores(prompts, texts)]


async def in_parts(
    backend: Backend, name: str, asked: Sequence[tuple[Prompt, str]], work: Work
) -> list[Said]:
    """What a reward model says of answers, in order, a few at a time."""
    found: list[Said] = []
    for start in range(0, len(asked), AT_ONCE):
        groups: list[tuple[Prompt, list[str]]] = []
        for prompt, text in asked[start : start + AT_ONCE]:
            if not groups or groups[-1][0].messages != prompt.messages:
                groups.append((prompt, []))
            groups[-1][1].append(text)
        prompts, texts = [p for p, _ in groups], [t for _, t in groups]

        def call(model: Any, p: Any = prompts, t: Any = texts) -> list[list[Said]]:
            return work(model, p, t)

        found += [one for row in await backend.reward(name, call) for one in row]
    return found


def listed(backend: Backend, name: str, said: Iterable[tuple[int, Said]]) -> dict[str, Any]:
    """What was said of answers, with the fingerprint of the model that said it."""
    data = [{"index": index, **one} for index, one in said]
    return {"object": "list", "model": name, "fingerprint": backend.rewards[name], "data": data}
