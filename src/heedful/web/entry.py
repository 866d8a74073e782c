"""The door: signing in, accepting an invitation, signing out, and one's own settings."""

import math
from typing import Annotated, Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from heedful.data.store.accounts import Account, Refused, hashed
from heedful.web import passwords
from heedful.web.pages import page
from heedful.web.session import Annotator, Anybody, Problem, Visitor, set_cookie
from heedful.web.studio import Link

router = APIRouter()
LINKS: tuple[Link, ...] = ()

PER_NAME, PER_ADDRESS = 5, 30
"""Failed attempts before waiting begins: for a name from one address, and for all names from one."""

Name = Annotated[str, Field(min_length=1, max_length=200)]
Secret = Annotated[str, Field(max_length=1000)]


class Body(BaseModel):
    """The JSON of a request: nothing besides the named fields, and no values of other kinds."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Entering(Body):
    name: Name
    password: Secret


class Accepting(Body):
    token: Secret
    name: Name
    password: Secret


class Settling(Body):
    language: Literal["en", "zh", ""] | None = None
    theme: Literal["light", "dark", ""] | None = None


class NewPassword(Body):
    current: Secret
    password: Secret


@router.get("/", include_in_schema=False)
def root(visitor: Anybody) -> Response:
    """To work, or to the door."""
    return RedirectResponse("/work" if visitor.account else "/enter", 303)


@router.get("/enter", include_in_schema=False)
def door(visitor: Anybody) -> Response:
    """The page to sign in at."""
    if visitor.account:
        return RedirectResponse("/work", 303)
    return page(visitor, "enter.jinja", title="entry_title", script="entry.js")


@router.get("/invitation/{token}", include_in_schema=False)
def invited(visitor: Anybody, token: str) -> Response:
    """The page that an invitation's link opens."""
    invitation = visitor.studio.accounts.invitation(token)
    return page(
        visitor,
        "invitation.jinja",
        title="invitation_title",
        script="entry.js",
        data={"token": token if invitation else ""},
        status=200 if invitation else 404,
        invitation=invitation,
    )


@router.post("/api/enter")
def enter(request: Request, visitor: Anybody, body: Entering) -> Response:
    """Begin a session; a token that the browser brought along is never taken over."""
    accounts = visitor.studio.accounts
    address = request.client.host if request.client else "?"
    of_name, of_address = f"name:{hashed(body.name)}:{address}", f"address:{address}"
    wait = accounts.wait_ms(of_name, of_address)
    if wait:
        raise Problem(429, "wait", seconds=math.ceil(wait / 1000))
    account = accounts.find(body.name)
    right = passwords.right(account.password if account else None, body.password)
    if not right or account is None or not account.active:
        accounts.failed({of_name: PER_NAME, of_address: PER_ADDRESS})
        raise Problem(403, "wrong_password")
    accounts.succeeded(of_name)
    return _begin(visitor, account)


@router.post("/api/accept")
def accept(visitor: Anybody, body: Accepting) -> Response:
    """Turn an invitation into an account, and begin its first session."""
    name = body.name.strip()
    if not name or not name.isprintable():
        raise Refused("name_unfit", "A name is made of printable characters.")
    accounts = visitor.studio.accounts
    if accounts.invitation(body.token) is None:
        raise Refused("invitation_gone", "This invitation was used or is too old: ask for a new one.")
    passwords.check(body.password, name)
    account = accounts.accept(body.token, name, passwords.hashed(body.password), visitor.words.lang)
    return _begin(visitor, account)


@router.post("/api/leave")
def leave(visitor: Annotator) -> Response:
    """End this session."""
    visitor.studio.accounts.leave(visitor.token)
    response = JSONResponse({"to": "/enter"})
    set_cookie(visitor.studio, response, "session", "", 0)
    return response


@router.post("/api/leave-everywhere")
def leave_everywhere(visitor: Annotator) -> Response:
    """End all sessions of this account."""
    visitor.studio.accounts.leave_all(visitor.name)
    response = JSONResponse({"to": "/enter"})
    set_cookie(visitor.studio, response, "session", "", 0)
    return response


@router.get("/me", include_in_schema=False)
def me(visitor: Annotator) -> Response:
    """One's own settings."""
    return page(visitor, "me.jinja", title="me_title", script="entry.js")


@router.post("/api/settings")
def settle(visitor: Anybody, body: Settling) -> Response:
    """Choose the language or the theme, with or without an account."""
    response = JSONResponse({"saved": True})
    values = body.model_dump(exclude_none=True)
    if visitor.account and values:
        visitor.studio.accounts.change(visitor.name, **values)
    if body.language:
        set_cookie(visitor.studio, response, "language", body.language)
    return response


@router.post("/api/password")
def change_password(request: Request, visitor: Annotator, body: NewPassword) -> Response:
    """Change the password; every other session ends, and this one gets a new token."""
    assert visitor.account is not None
    address = request.client.host if request.client else "?"
    key = f"name:{hashed(visitor.name)}:{address}"
    wait = visitor.studio.accounts.wait_ms(key)
    if wait:
        raise Problem(429, "wait", seconds=math.ceil(wait / 1000))
    if not passwords.right(visitor.account.password, body.current):
        visitor.studio.accounts.failed({key: PER_NAME})
        raise Problem(403, "wrong_password")
    passwords.check(body.password, visitor.name)
    visitor.studio.accounts.change(visitor.name, password=passwords.hashed(body.password))
    return _begin(visitor, visitor.account)


def _begin(visitor: Visitor, account: Account) -> Response:
    if visitor.token:
        visitor.studio.accounts.leave(visitor.token)
    response = JSONResponse({"to": "/work"})
    set_cookie(visitor.studio, response, "session", visitor.studio.accounts.enter(account.name))
    return response
