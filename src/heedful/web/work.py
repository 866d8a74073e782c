"""Where people judge: the page, and the queue over HTTP."""

from dataclasses import asdict
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response
from pydantic import Field

from heedful.people import Answered, Assignment, Conflict, Nothing, Reply
from heedful.web import markdown
from heedful.web.entry import Body
from heedful.web.pages import page
from heedful.web.session import Annotator, Visitor
from heedful.web.studio import Link

router = APIRouter()
LINKS = (Link("/work", "work_title"),)

Key = Annotated[str, Field(min_length=1, max_length=200)]
Version = Annotated[int, Field(ge=0, lt=2**31)]
Seconds = Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)]
Clock = Annotated[int, Field(ge=0, lt=2**53)]
Object = Annotated[dict[str, Any], Field(max_length=20)]
Uuid = Annotated[UUID, Field(strict=False)]


class Step(Body):
    """Something that happens to a task: `version` is the one that the person saw."""

    task: Key
    uuid: Uuid
    version: Version
    client_ms: Clock | None = None


class Submitting(Step):
    reply: Object
    seconds: Seconds = 0.0


class Skipping(Step):
    reason: Annotated[str, Field(min_length=1, max_length=2000)]
    seconds: Seconds = 0.0


class Drafting(Body):
    task: Key
    draft: Object


class Holding(Body):
    lease: Uuid


@router.get("/work", include_in_schema=False)
def work(visitor: Annotator) -> Response:
    """The page on which people judge."""
    return page(visitor, "work.jinja", title="work_title", script="work.js", data={"name": visitor.name})


@router.get("/api/work/next")
def next_task(visitor: Annotator, batch: Annotated[str | None, Field(max_length=200)] = None) -> Response:
    """Claim the next task, or say why there is none."""
    return _given(visitor.studio.queue.claim(visitor.name, batch or None))


@router.get("/api/work/task")
def reopen(visitor: Annotator, task: Key) -> Response:
    """An earlier task of one's own with its reply, to be looked at or revised."""
    return _given(visitor.studio.queue.reopen(visitor.name, task))


@router.get("/api/work/mine")
def mine(visitor: Annotator) -> Response:
    """One's own progress."""
    return JSONResponse(asdict(visitor.studio.queue.mine(visitor.name)))


@router.get("/api/work/history")
def history(
    visitor: Annotator,
    before_ms: Clock | None = None,
    limit: Annotated[int, Field(ge=1, le=100)] = 30,
) -> Response:
    """One's own earlier tasks, newest first."""
    found = visitor.studio.queue.history(visitor.name, limit=limit, before_ms=before_ms)
    return JSONResponse({"tasks": [answered(one) for one in found]})


@router.post("/api/work/submit")
def submit(visitor: Annotator, body: Submitting) -> Response:
    """Store a reply; the same UUID again gives the first result, a stale version 409."""
    reply = Reply.parse(body.reply)
    return _stored(visitor, "submit", body, reply, seconds=body.seconds)


@router.post("/api/work/skip")
def skip(visitor: Annotator, body: Skipping) -> Response:
    """Pass a task by, and say why."""
    return _stored(visitor, "skip", body, body.reason, seconds=body.seconds)


@router.post("/api/work/undo")
def undo(visitor: Annotator, body: Step) -> Response:
    """Take a reply back; the task returns with it as a draft."""
    try:
        again = visitor.studio.queue.undo(
            visitor.name, body.task, uuid=body.uuid, version=body.version, client_ms=body.client_ms
        )
    except Conflict as conflict:
        return _conflict(conflict)
    return _given(again)


@router.post("/api/work/draft")
def draft(visitor: Annotator, body: Drafting) -> Response:
    """Keep what is not finished."""
    visitor.studio.queue.save_draft(visitor.name, body.task, body.draft)
    return JSONResponse({"saved": True})


@router.post("/api/work/renew")
def renew(visitor: Annotator, body: Holding) -> Response:
    """Hold a task longer."""
    try:
        return JSONResponse({"expires_ms": visitor.studio.queue.renew(visitor.name, body.lease)})
    except Conflict as conflict:
        return _conflict(conflict)


@router.post("/api/work/release")
def release(visitor: Annotator, body: Holding) -> Response:
    """Give a task back unanswered."""
    visitor.studio.queue.release(visitor.name, body.lease)
    return JSONResponse({"released": True})


def _stored(visitor: Visitor, what: str, body: Step, content: Any, *, seconds: float) -> Response:
    act = getattr(visitor.studio.queue, what)
    try:
        done: Answered = act(
            visitor.name,
            body.task,
            content,
            uuid=body.uuid,
            version=body.version,
            seconds=seconds,
            client_ms=body.client_ms,
        )
    except Conflict as conflict:
        return _conflict(conflict)
    return JSONResponse(answered(done))


def _conflict(conflict: Conflict) -> Response:
    current = None if conflict.current is None else answered(conflict.current)
    error = {"code": conflict.reason, "message": str(conflict), "current": current}
    return JSONResponse({"error": error}, 409)


def _given(found: Assignment | Nothing) -> Response:
    if isinstance(found, Nothing):
        return JSONResponse({"nothing": asdict(found)})
    return JSONResponse({"assignment": assignment(found)})


def assignment(given: Assignment) -> dict[str, Any]:
    """What the page is told about a task; instructions are Markdown, rendered and cleaned here."""
    plain = asdict(given) | {"lease": str(given.lease)}
    return plain | {"instructions": markdown.blocks(given.instructions)}


def answered(done: Answered) -> dict[str, Any]:
    """What the page is told about a task that is done."""
    plain = asdict(done) | {"events": [str(event) for event in done.events]}
    return plain | {"submission": None if done.submission is None else str(done.submission)}
