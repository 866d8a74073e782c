"""Who sends a request: cookies, sessions, the token against forged requests, and what routes ask for.

A route takes `visitor: Annotator`, `Researcher` or `Administrator`; requests of anybody else never reach it.
"""

import hashlib
import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any, get_args

from fastapi import Depends, Request
from fastapi.responses import Response

from heedful.data.store.accounts import LIFE_MS, Account, Role
from heedful.types import Lang
from heedful.web import words
from heedful.web.guard import SAFE
from heedful.web.studio import Studio
from heedful.web.words import Words


class Problem(Exception):
    """A request that is refused: `code` names the sentence `problem_CODE` in the studio's wording."""

    def __init__(self, status: int, code: str, **extra: Any) -> None:
        super().__init__(code)
        self.status, self.code, self.extra = status, code, extra


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who sends this request, in which language, and on which studio; `token` is "" without a session."""

    studio: Studio
    words: Words
    account: Account | None
    token: str

    @property
    def name(self) -> str:
        """The account's name, which is the annotator's in the store."""
        return self.account.name if self.account else ""

    @property
    def csrf(self) -> str:
        """What pages send along with every change: nobody who cannot read the page knows it."""
        return csrf_of(self.studio, self.token)


def csrf_of(studio: Studio, token: str) -> str:
    """Return the session's token against forged requests."""
    return hmac.new(studio.secret, b"csrf:" + token.encode(), hashlib.sha256).hexdigest()


def cookie_name(studio: Studio, what: str) -> str:
    """Over https the prefix makes the browser refuse cookies that another host or path set."""
    return f"__Host-heedful-{what}" if studio.settings.secure else f"heedful-{what}"


def set_cookie(
    studio: Studio, response: Response, what: str, value: str, seconds: int = LIFE_MS // 1000
) -> None:
    """Set one of our cookies, out of reach of scripts and of other sites."""
    response.set_cookie(
        cookie_name(studio, what),
        value,
        max_age=seconds,
        path="/",
        secure=studio.settings.secure,
        httponly=True,
        samesite="lax",
    )


def words_of(request: Request) -> Words:
    """Return the wording for a request before its visitor is known: by cookie, then by what the browser asks."""
    studio: Studio = request.app.state.studio
    kept = request.cookies.get(cookie_name(studio, "language"), "")
    if kept in get_args(Lang):
        return Words("zh" if kept == "zh" else "en")
    return Words(words.chosen(request.headers.get("accept-language", ""), studio.settings.language))


def visitor(request: Request) -> Visitor:
    """Anybody; a change in the name of a session needs that session's token."""
    studio: Studio = request.app.state.studio
    wording = words_of(request)
    token = request.cookies.get(cookie_name(studio, "session"), "")
    account = studio.accounts.session(token) if token else None
    if account is None:
        return Visitor(studio, wording, None, "")
    if request.method not in SAFE:
        sent = request.headers.get("x-csrf-token", "")
        if not hmac.compare_digest(sent.encode(), csrf_of(studio, token).encode()):
            raise Problem(403, "forged")
    if account.language:
        wording = Words("zh" if account.language == "zh" else "en")
    return Visitor(studio, wording, account, token)


def _at_least(role: Role) -> Callable[[Visitor], Awaitable[Visitor]]:
    # Asynchronous, as it waits for nothing: a plain function would take a thread.
    async def allowed(visitor: Anybody) -> Visitor:
        if visitor.account is None:
            raise Problem(401, "enter")
        if not visitor.account.may(role):
            raise Problem(403, "role")
        return visitor

    return allowed


Anybody = Annotated[Visitor, Depends(visitor)]
Annotator = Annotated[Visitor, Depends(_at_least("annotator"))]
Researcher = Annotated[Visitor, Depends(_at_least("researcher"))]
Administrator = Annotated[Visitor, Depends(_at_least("administrator"))]
