"""What can go wrong in a request, and how it is said: one JSON shape, never a traceback."""

from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse, Response
from starlette.exceptions import HTTPException

from heedful.data.store.accounts import Refused
from heedful.errors import UserError
from heedful.web import session
from heedful.web.session import Problem


def body(code: str, message: str, **extra: Any) -> dict[str, Any]:
    """The JSON of a refusal."""
    return {"error": {"code": code, "message": message.encode("utf-8", "replace").decode(), **extra}}


def on_problem(request: Request, problem: Exception) -> Response:
    """A refusal of ours; who opened a page without a session is sent to the door."""
    assert isinstance(problem, Problem)
    if problem.status == 401 and request.method == "GET" and not request.url.path.startswith("/api/"):
        return RedirectResponse(f"/enter?then={request.url.path}", 303)
    message = session.words_of(request)(f"problem_{problem.code}")
    headers = {"retry-after": str(problem.extra["seconds"])} if "seconds" in problem.extra else None
    return JSONResponse(body(problem.code, message, **problem.extra), problem.status, headers)


def on_user_error(request: Request, error: Exception) -> Response:
    """Something that the person can mend; accounts know it in the reader's language."""
    if isinstance(error, Refused):
        return JSONResponse(body(error.key, session.words_of(request)(f"problem_{error.key}")), 422)
    assert isinstance(error, UserError)
    return JSONResponse(body("refused", str(error)), 422)


def on_invalid(request: Request, error: Exception) -> Response:
    """A body that is not what the route takes: which fields, not what was sent."""
    assert isinstance(error, RequestValidationError)
    fields = [
        {"field": ".".join(map(_printable, fault["loc"])), "message": str(fault["msg"])[:200]}
        for fault in error.errors()[:20]
    ]
    return JSONResponse(body("invalid", session.words_of(request)("problem_invalid"), fields=fields), 422)


def on_http(request: Request, error: Exception) -> Response:
    """No such page, no such method."""
    assert isinstance(error, HTTPException)
    code = {404: "missing", 405: "method"}.get(error.status_code, "invalid")
    message = session.words_of(request)(f"problem_{code}")
    return JSONResponse(body(code, message), error.status_code, error.headers)


def _printable(part: object) -> str:
    return str(part)[:60].encode("ascii", "replace").decode()
