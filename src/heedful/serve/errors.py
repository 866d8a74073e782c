"""Errors in the shape that OpenAI's clients read."""

import logging
import math
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from heedful.errors import UserError
from heedful.serve.worker import Busy, Failed

KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    404: "not_found_error",
    405: "invalid_request_error",
    413: "invalid_request_error",
    429: "rate_limit_error",
    500: "server_error",
    503: "server_error",
}
_log = logging.getLogger(__name__)


class ErrorDetail(BaseModel):
    """What went wrong; `param` is the field that it is about."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorReply(BaseModel):
    """OpenAI's error object."""

    error: ErrorDetail


class ApiError(Exception):
    """An error that the client is told."""

    def __init__(
        self,
        message: str,
        status: int = 400,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message, self.status, self.param, self.code = message, status, param, code
        self.retry_after = retry_after

    def body(self) -> dict[str, Any]:
        """The error as JSON."""
        kind = KINDS.get(self.status, "invalid_request_error")
        said = self.message.encode(errors="replace").decode()
        param = None if self.param is None else self.param.encode(errors="replace").decode()
        return {"error": {"message": said, "type": kind, "param": param, "code": self.code}}

    def headers(self) -> dict[str, str]:
        """The headers that go with it."""
        if self.retry_after is None:
            return {}
        return {"Retry-After": str(max(1, math.ceil(self.retry_after)))}

    def response(self) -> JSONResponse:
        """The error as a response."""
        return JSONResponse(self.body(), self.status, self.headers())


def as_api_error(error: Exception) -> ApiError:
    """What a client is told about an exception; of faults of ours, only that there was one."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, UserError):
        return ApiError(str(error))
    if isinstance(error, Busy):
        return ApiError("the queue is full: try again soon", 429, code="queue_full", retry_after=1)
    if isinstance(error, Failed):
        return ApiError(str(error), 503)
    _log.error("a request failed", exc_info=error)
    return ApiError("the server failed on this request", 500)


def install(app: FastAPI) -> None:
    """Answer every kind of error in this shape."""

    async def told(_: Request, error: Exception) -> JSONResponse:
        return as_api_error(error).response()

    async def invalid(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        return as_api_error(first_fault(error)).response()

    async def http(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        response = ApiError(str(error.detail), error.status_code).response()
        response.headers.update(error.headers or {})
        return response

    for kind in (ApiError, UserError, Busy, Failed, Exception):
        app.add_exception_handler(kind, told)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)


def first_fault(error: RequestValidationError) -> ApiError:
    """The first thing that is wrong with a request, as one sentence about its field."""
    fault = error.errors()[0]
    place = [str(p) for p in fault["loc"] if p != "body" and not str(p).startswith(("function-", "tagged-"))]
    name = ".".join(place)[:100]
    if fault["type"] == "extra_forbidden":
        return ApiError(f"there is no field '{name}' here", param=name, code="unknown_field")
    if fault["type"] == "json_invalid":
        return ApiError("the body is not valid JSON")
    message = fault["msg"].removeprefix("Value error, ")[:300]
    return ApiError(f"{name}: {message}" if name else message, param=name or None)
