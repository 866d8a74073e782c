"""Talking to a model: streamed answers, one or two side by side, and what people say of them.

What is said is a judgement in the wild: it waits for a researcher, on the page of talks, before anything learns
from it. Which model wrote an answer is sealed until it has been judged.
"""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import Field

from heedful.data.store import wild
from heedful.types import Message
from heedful.web import talking
from heedful.web.arena import standings
from heedful.web.entry import Body
from heedful.web.pages import page
from heedful.web.session import Annotator, Problem, Researcher, Visitor
from heedful.web.studio import Link

router = APIRouter()
LINKS = (Link("/chat", "chat_title"), Link("/talks", "talks_title", "researcher"))

Text = Annotated[str, Field(max_length=100_000)]
Name = Annotated[str, Field(min_length=1, max_length=256)]
Key = Annotated[
    str, Field(min_length=36, max_length=36, pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
]


class Turn(Body):
    role: Literal["system", "user", "assistant"]
    content: Text


class Drawing(Body):
    temperature: Annotated[float, Field(ge=0, le=2, strict=False)] = 1.0
    top_p: Annotated[float, Field(gt=0, le=1, strict=False)] = 1.0
    max_tokens: Annotated[int, Field(ge=1, le=8192)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**53)] | None = None

    def plain(self) -> dict[str, Any]:
        """The settings in the model server's words."""
        return self.model_dump(exclude_none=True)


Turns = Annotated[list[Turn], Field(min_length=1, max_length=400)]


class Asking(Body):
    """`models` are named ones; `blind` asks two that are drawn by chance and not told."""

    messages: Turns
    models: Annotated[tuple[Name, ...], Field(max_length=2, strict=False)] = ()
    blind: bool = False
    sampling: Drawing = Drawing()


class Judged(Body):
    text: Text
    seal: Annotated[str, Field(min_length=64, max_length=64)]
    sampling: Drawing


class Judging(Body):
    """A rating of one answer, 1 to 7, or a comparison of two, -3 to 3; `uuid` names the judgement."""

    uuid: Key
    kind: Literal["rating", "comparison"]
    messages: Turns
    answers: Annotated[list[Judged], Field(min_length=1, max_length=2)]
    value: Annotated[int, Field(ge=-3, le=7)]


class Reviewing(Body):
    id: Key
    state: Literal["accepted", "refused", "new"]


@router.get("/chat", include_in_schema=False)
def chat(visitor: Annotator) -> Response:
    """The page to talk at."""
    data = {"name": visitor.name, "model": bool(visitor.studio.settings.model)}
    return page(visitor, "chat.jinja", title="chat_title", script="chat.js", data=data)


@router.get("/talks", include_in_schema=False)
def talks(visitor: Researcher) -> Response:
    """What was said in conversations, to be accepted or refused."""
    found = wild.listed(visitor.studio.store)
    waiting = [j for j in found if j.state == "new"]
    data = {"waiting": [shown(j) for j in waiting[:200]]}
    counts = {state: sum(j.state == state for j in found) for state in ("new", "accepted", "refused")}
    return page(
        visitor,
        "talks.jinja",
        title="talks_title",
        script="talks.js",
        data=data,
        counts=counts,
        arena=standings(found),
    )


@router.get("/api/chat/models")
async def models(visitor: Annotator) -> Response:
    """The models that may be asked."""
    return JSONResponse({"models": await talking.models(visitor.studio)})


@router.post("/api/chat")
async def ask(visitor: Annotator, body: Asking) -> Response:
    """Stream the answers; each event names its side, the last of a side carries its seal."""
    known = await talking.models(visitor.studio)
    if body.blind:
        if len(known) < 2:
            raise Problem(409, "one_model")
        chosen = secrets.SystemRandom().sample(known, 2)
    else:
        chosen = list(body.models) or known[:1]
    if not chosen or any(name not in known for name in chosen):
        raise Problem(422, "no_such_model")
    events = _events(visitor, chosen, body)
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(events, media_type="text/event-stream", headers=headers)


async def _events(visitor: Visitor, chosen: Sequence[str], body: Asking) -> AsyncIterator[bytes]:
    queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    messages, sampling = [t.model_dump() for t in body.messages], body.sampling.plain()

    async def side(number: int, model: str) -> None:
        text = ""
        async for event in talking.answer(visitor.studio, model, messages, sampling):
            text += event.get("text", "")
            said: dict[str, Any] = {"side": number, **event}
            if "end" in event:
                said["seal"] = talking.seal(visitor.studio, model, messages, sampling, text)
                said |= {} if body.blind else {"model": model}
            queue.put_nowait(said)

    tasks = [asyncio.ensure_future(side(n, model)) for n, model in enumerate(chosen)]
    try:
        left = len(tasks)
        while left:
            event = await queue.get()
            left -= "end" in event or "error" in event
            yield b"data: " + json.dumps(event).encode() + b"\n\n"
    finally:
        for task in tasks:
            task.cancel()


@router.post("/api/chat/judge")
async def judge(visitor: Annotator, body: Judging) -> Response:
    """Store what was said of answers, and tell which models wrote them."""
    known = await talking.models(visitor.studio)
    messages = [t.model_dump() for t in body.messages]
    said = []
    for answer in body.answers:
        sampling = answer.sampling.plain()
        model = _writer(visitor, known, messages, sampling, answer)
        said.append(wild.Said(answer.text, model, sampling))
    judgement = wild.WildJudgement(
        UUID(body.uuid),
        visitor.name,
        body.kind,
        tuple(Message(t.role, t.content) for t in body.messages),
        tuple(said),
        body.value,
    )
    await asyncio.to_thread(wild.put, visitor.studio.store, judgement, visitor.studio.settings.patterns)
    return JSONResponse({"models": [s.model for s in said]})


def _writer(
    visitor: Visitor,
    known: Sequence[str],
    messages: Sequence[Mapping[str, str]],
    sampling: Mapping[str, Any],
    answer: Judged,
) -> str:
    for model in known:
        if secrets.compare_digest(
            talking.seal(visitor.studio, model, messages, sampling, answer.text), answer.seal
        ):
            return model
    raise Problem(422, "not_an_answer")


@router.get("/api/arena")
def arena(visitor: Annotator) -> Response:
    """The models by strength, from comparisons of different ones."""
    rows = standings(wild.listed(visitor.studio.store))
    return JSONResponse({"rows": [r.json() for r in rows]})


@router.post("/api/talks")
def review(visitor: Researcher, body: Reviewing) -> Response:
    """Accept or refuse a judgement, or put it back."""
    wild.review(visitor.studio.store, UUID(body.id), body.state, visitor.name)
    return JSONResponse({"saved": True})


def shown(judgement: wild.WildJudgement) -> dict[str, Any]:
    """A judgement as the page of talks shows it."""
    return {
        "id": str(judgement.id),
        "person": judgement.person,
        "kind": judgement.kind,
        "value": judgement.value,
        "messages": [{"role": m.role, "content": m.content} for m in judgement.messages],
        "answers": [
            {"text": a.text, "model": a.model, "sampling": dict(a.sampling)} for a in judgement.answers
        ],
    }
