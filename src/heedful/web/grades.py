"""Demonstrations that annotators wrote, for a researcher to grade from 1 to 7 without seeing whose they are."""

from typing import Annotated
from uuid import uuid4

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response
from pydantic import Field

from heedful.people.gold import GRADED
from heedful.people.standing import grade_demonstration
from heedful.web.entry import Body
from heedful.web.pages import page
from heedful.web.session import Researcher
from heedful.web.studio import Link
from heedful.web.work import Key

router = APIRouter()
LINKS = (Link("/demonstrations", "demonstrations_title", "researcher"),)

LISTED = 50
"""Demonstrations on the page; those without a grade come first."""


class Grading(Body):
    answer: Key
    score: Annotated[int, Field(ge=1, le=7)]


@router.get("/demonstrations", include_in_schema=False)
def demonstrations(visitor: Researcher) -> Response:
    """The page: prompt, demonstration, and a scale."""
    store = visitor.studio.store
    grades = {one.answer_id: one.score for one in store.ratings(criterion=GRADED)}
    found = list(store.demonstrations())
    found.sort(key=lambda one: one.answer_id in grades)
    shown = found[:LISTED]
    prompts = {one.id: one for one in store.prompts(ids={each.prompt_id for each in shown})}
    rows = [(each, prompts[each.prompt_id].messages, grades.get(each.answer_id)) for each in shown]
    open_ = sum(each.answer_id not in grades for each in found)
    return page(
        visitor, "grades.jinja", title="demonstrations_title", script="batches.js", rows=rows, open=open_
    )


@router.post("/api/demonstrations/grade")
def grade(visitor: Researcher, body: Grading) -> Response:
    """Grade one; whether its author is qualified is decided anew."""
    grade_demonstration(visitor.studio.store, body.answer, visitor.name, body.score, uuid=uuid4())
    return JSONResponse({"graded": True})
