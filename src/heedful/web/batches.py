"""Batches: what is asked, of how many, in which order, and when it is enough."""

from typing import Annotated, Literal, get_args
from uuid import uuid4

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response
from pydantic import Field

from heedful.people import BatchSettings, Reply, Stop
from heedful.people.records import Question
from heedful.web import work
from heedful.web.asking import tasks_for
from heedful.web.entry import Body
from heedful.web.pages import page
from heedful.web.session import Researcher
from heedful.web.studio import Link

router = APIRouter()
LINKS = (Link("/batches", "batches_title", "researcher"),)

LISTED = 200
"""Tasks on a batch's page."""

Word = Annotated[str, Field(min_length=1, max_length=100)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Whole = Annotated[int, Field(ge=0, le=1_000_000)]
Priority = Annotated[int, Field(ge=-1000, le=1000)]
Places = Annotated[list[Word], Field(min_length=1, max_length=20)]


class Stopping(Body):
    judgements: Annotated[int, Field(ge=1, le=10**9)] | None = None
    agreement: Share | None = None
    at_least: Annotated[int, Field(ge=1, le=10**6)] = 50
    budget_seconds: Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)] | None = None


class Settings(Body):
    question: Question
    criteria: Places = Field(default=["overall"])
    instructions: Annotated[str, Field(max_length=50_000)] = ""
    overlap: Annotated[int, Field(ge=1, le=100)] = 1
    gold_rate: Share = 0.0
    lease_seconds: Annotated[float, Field(ge=30, le=86_400, allow_inf_nan=False)] = 1800.0
    priority: Priority = 0
    round: Whole = 0
    choice: Literal["random", "disagreement"] = "random"
    seed: Whole = 0
    purpose: Literal["work", "qualification"] = "work"
    qualified: bool = False
    cutoff: Share = 0.75
    demonstration_cutoff: Annotated[float, Field(ge=1, le=7, allow_inf_nan=False)] = 6.0
    gold_at_least: Annotated[int, Field(ge=1, le=1000)] = 10
    flags: Annotated[list[Word], Field(max_length=20)] = Field(
        default=["harmful", "personal data", "not understandable"]
    )
    stop: Stopping = Field(default_factory=Stopping)


class Creating(Body):
    name: Annotated[str, Field(min_length=1, max_length=200)]
    settings: Settings
    prompts_round: Whole | None = None
    per_task: Annotated[int, Field(ge=1, le=9)] = 4
    most: Annotated[int, Field(ge=1, le=100_000)] = 1000


class Turning(Body):
    state: Literal["open", "paused", "closed"]
    reason: Annotated[str, Field(max_length=500)] = ""


class Ordering(Body):
    priority: Priority


class Gold(Body):
    task: work.Key
    uuid: work.Uuid
    reply: work.Object


@router.get("/batches", include_in_schema=False)
def batches(visitor: Researcher) -> Response:
    """All batches, and a form for a new one."""
    queue = visitor.studio.queue
    return page(
        visitor,
        "batches.jinja",
        title="batches_title",
        script="batches.js",
        batches=[(batch, queue.progress(batch.id)) for batch in queue.batches()],
        counts=visitor.studio.store.counts(),
        questions=get_args(Question),
    )


@router.get("/batches/{batch}", include_in_schema=False)
def batch(visitor: Researcher, batch: work.Key) -> Response:
    """One batch: how far it is, who did what, its settings and its tasks."""
    queue = visitor.studio.queue
    found = queue.batch(batch)
    return page(
        visitor,
        "batch.jinja",
        title="batches_title",
        script="batches.js",
        batch=found,
        progress=queue.progress(batch),
        tasks=queue.tasks(batch, limit=LISTED),
    )


@router.get("/gold/{task}", include_in_schema=False)
def gold(visitor: Researcher, task: work.Key) -> Response:
    """A task for the researchers' own answer, against which annotators are measured."""
    shown = work.assignment(visitor.studio.queue.preview(task))
    data = {"name": visitor.name, "assignment": shown}
    return page(visitor, "gold.jinja", title="gold_title", script="gold.js", data=data)


@router.post("/api/batches")
def create(visitor: Researcher, body: Creating) -> Response:
    """Make a batch of what the store holds."""
    store, given = visitor.studio.store, body.settings
    tasks = tasks_for(
        given.question,
        store.prompts(round=body.prompts_round),
        store.answers(round=body.prompts_round),
        per_task=body.per_task,
        most=body.most,
        seed=given.seed,
    )
    made = visitor.studio.queue.create_batch(uuid4().hex[:12], body.name, settings_of(given), tasks)
    return JSONResponse({"batch": made.id, "tasks": len(tasks), "to": f"/batches/{made.id}"})


@router.post("/api/batches/{batch}/state")
def turn(visitor: Researcher, batch: work.Key, body: Turning) -> Response:
    """Open, pause or close a batch."""
    made = visitor.studio.queue.set_state(batch, body.state, body.reason)
    return JSONResponse({"state": made.state})


@router.post("/api/batches/{batch}/priority")
def prioritise(visitor: Researcher, batch: work.Key, body: Ordering) -> Response:
    """Let a batch come before others: a higher priority is asked first."""
    return JSONResponse(
        {"priority": visitor.studio.queue.set_priority(batch, body.priority).settings.priority}
    )


@router.post("/api/gold")
def set_gold(visitor: Researcher, body: Gold) -> Response:
    """Store the researcher's own answer; the task becomes hidden gold."""
    visitor.studio.queue.set_gold(body.task, Reply.parse(body.reply), visitor.name, uuid=body.uuid)
    return JSONResponse({"stored": True})


def settings_of(given: Settings) -> BatchSettings:
    """The queue's settings of a request's."""
    plain = given.model_dump(exclude={"stop", "criteria", "flags"})
    stop = Stop(**given.stop.model_dump())
    return BatchSettings(**plain, criteria=tuple(given.criteria), flags=tuple(given.flags), stop=stop)
