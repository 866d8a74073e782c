"""Who works here: standing and why, invitations, roles."""

from typing import Annotated

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response
from pydantic import Field

from heedful.data.store.accounts import RANKS, Account, Role
from heedful.people.standing import pause, resume, standings
from heedful.web.entry import Body
from heedful.web.pages import page
from heedful.web.session import Problem, Researcher, Visitor
from heedful.web.studio import Link

router = APIRouter()
LINKS = (Link("/people", "people_title", "researcher"),)

Name = Annotated[str, Field(min_length=1, max_length=200)]


class Inviting(Body):
    role: Role = "annotator"
    note: Annotated[str, Field(max_length=200)] = ""


class Withdrawing(Body):
    invitation: Annotated[str, Field(max_length=200)]


class Pausing(Body):
    annotator: Name
    reason: Annotated[str, Field(min_length=1, max_length=500)]


class Resuming(Body):
    annotator: Name


class Changing(Body):
    name: Name
    role: Role | None = None
    active: bool | None = None


@router.get("/people", include_in_schema=False)
def people(visitor: Researcher) -> Response:
    """Everybody, how well they do, and whether they may work."""
    accounts = visitor.studio.accounts
    return page(
        visitor,
        "people.jinja",
        title="people_title",
        script="people.js",
        standings=standings(visitor.studio.store),
        accounts={account.name: account for account in accounts.everyone()},
        invitations=accounts.open_invitations(),
        roles=[role for role in RANKS if _may_give(visitor, role)],
    )


@router.post("/api/people/invite")
def invite(visitor: Researcher, body: Inviting) -> Response:
    """Make a link that lets one person in."""
    if not _may_give(visitor, body.role):
        raise Problem(403, "role")
    token = visitor.studio.accounts.invite(body.role, made_by=visitor.name, note=body.note)
    return JSONResponse({"link": f"{visitor.studio.settings.origin}/invitation/{token}"})


@router.post("/api/people/withdraw")
def withdraw(visitor: Researcher, body: Withdrawing) -> Response:
    """Make an unused link worthless."""
    visitor.studio.accounts.withdraw(body.invitation)
    return JSONResponse({"withdrawn": True})


@router.post("/api/people/pause")
def pause_annotator(visitor: Researcher, body: Pausing) -> Response:
    """Let somebody work no further, and say why."""
    pause(visitor.studio.store, body.annotator, body.reason)
    return JSONResponse({"paused": True})


@router.post("/api/people/resume")
def resume_annotator(visitor: Researcher, body: Resuming) -> Response:
    """Let somebody work again; hidden gold counts from now on."""
    resume(visitor.studio.store, body.annotator)
    return JSONResponse({"paused": False})


@router.post("/api/people/account")
def change_account(visitor: Researcher, body: Changing) -> Response:
    """Give an account another role, or close or open it; only someone above it may."""
    account = visitor.studio.accounts.find(body.name)
    if account is None:
        raise Problem(404, "missing")
    if account.name == visitor.name:
        raise Problem(403, "yourself")
    if not _above(visitor, account) or (body.role and not _may_give(visitor, body.role)):
        raise Problem(403, "role")
    visitor.studio.accounts.change(body.name, **body.model_dump(exclude_none=True, exclude={"name"}))
    return JSONResponse({"changed": True})


def _may_give(visitor: Visitor, role: str) -> bool:
    """Researchers invite annotators; the administrator anybody."""
    assert visitor.account is not None
    return visitor.account.role == "administrator" or role == "annotator"


def _above(visitor: Visitor, other: Account) -> bool:
    assert visitor.account is not None
    return visitor.account.role == "administrator" or RANKS[other.role] < RANKS[visitor.account.role]
