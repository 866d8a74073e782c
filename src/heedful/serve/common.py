"""What all routes share."""

import secrets
from typing import Any

from fastapi import Request

from heedful.serve.backend import Backend, Served
from heedful.serve.errors import ApiError, ErrorReply

ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorReply, "description": what}
    for status, what in {
        400: "The request cannot be answered as it is.",
        401: "There is no valid key.",
        404: "There is no such model.",
        413: "The body is too large.",
        429: "Too many requests; Retry-After says when to come again.",
        500: "The server failed.",
        503: "The engine failed or the server is shutting down.",
    }.items()
}
STREAMED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The answers; with `stream` as server-sent events.",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}


def serve_of(request: Request) -> Backend:
    """The engine of the server that got this request."""
    backend: Backend = request.app.state.backend
    return backend


def served_model(backend: Backend, name: str) -> Served:
    """The model of this name."""
    if name not in backend.models:
        known = ", ".join(backend.models) or "none"
        raise ApiError(
            f"there is no model '{name}' here; there is: {known}", 404, param="model", code="model_not_found"
        )
    return backend.models[name]


def identify(kind: str) -> str:
    """A new id of a response."""
    return f"{kind}-{secrets.token_hex(12)}"
