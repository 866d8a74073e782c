"""Clients that leave: whoever they were answered for is told at once, streaming or not."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

from fastapi import Request
from fastapi.responses import Response

from heedful.serve.errors import as_api_error
from heedful.serve.guard import Receive, Scope, Send

Result = TypeVar("Result")


class Gone(Exception):
    """The client left before there was an answer."""


async def until_gone(receive: Receive) -> None:
    """Wait until the client has left; its request has been read."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def unless_gone(request: Request, work: Awaitable[Result], close: Callable[[], None]) -> Result:
    """The result of `work`, or `Gone`; `close` is called in any case. No framework cancels a handler that waits."""
    working = asyncio.ensure_future(work)
    watching = asyncio.ensure_future(until_gone(request.receive))
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise Gone
    finally:
        close()
        working.cancel()
        watching.cancel()
        await asyncio.gather(working, watching, return_exceptions=True)


class EventStream(Response):
    """Server-sent events; the source is closed when it ends, fails, or the client leaves."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncIterator[dict[str, Any]], close: Callable[[], None]) -> None:
        super().__init__(headers={"X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._events, self._close = events, close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        pumping = asyncio.ensure_future(self._pump(send))
        watching = asyncio.ensure_future(until_gone(receive))
        try:
            await asyncio.wait({pumping, watching}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._close()
            pumping.cancel()
            watching.cancel()
            await asyncio.gather(pumping, watching, return_exceptions=True)

    async def _pump(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        last: bytes = b"data: [DONE]\n\n"
        try:
            async for event in self._events:
                await send({"type": "http.response.body", "body": as_event(event), "more_body": True})
        except Exception as error:  # the status is sent already: the error is an event, which clients raise
            last = as_event(as_api_error(error).body())
        await send({"type": "http.response.body", "body": last, "more_body": False})


def as_event(value: dict[str, Any]) -> bytes:
    """One event; a text's half surrogates could not be sent as UTF-8, so JSON is ASCII."""
    return b"data: " + json.dumps(value, separators=(",", ":")).encode() + b"\n\n"
