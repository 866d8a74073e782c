"""What every request passes before it is read: who it is from, how large it is, and how often they come."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.exceptions import HTTPException

from heedful.serve.errors import ApiError
from heedful.serve.keys import Buckets, Keyring
from heedful.serve.metrics import Metrics

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN = frozenset({"/health"})
"""The routes that need no key."""

_HEADERS = [(b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store")]


class Guard:
    """ASGI middleware. Plain, since Starlette's own base class hides when a client leaves."""

    def __init__(self, app: App, *, keys: Keyring, buckets: Buckets, metrics: Metrics, max_body: int) -> None:
        self.app, self.keys, self.buckets, self.metrics, self.max_body = app, keys, buckets, metrics, max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        send = self._counted(send)
        try:
            self._admit(scope)
        except ApiError as error:
            await error.response()(scope, receive, send)
            return
        await self.app(scope, self._limited(receive), send)

    def _admit(self, scope: Scope) -> None:
        if scope["path"] in OPEN:
            return
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        scheme, _, key = headers.get(b"authorization", "").partition(" ")
        owner = self.keys.owner(key.strip()) if scheme.lower() == "bearer" else None
        if owner is None:
            raise ApiError("a valid key is needed: Authorization: Bearer KEY", 401, code="invalid_api_key")
        if wait := self.buckets.take(owner):
            raise ApiError(
                "too many requests with this key", 429, code="rate_limit_exceeded", retry_after=wait
            )
        length = headers.get(b"content-length", "0")
        if not length.isdigit() or int(length[:20]) > self.max_body:
            raise ApiError(self._too_large(), 413, code="body_too_large")

    def _too_large(self) -> str:
        return f"the body is larger than {self.max_body} bytes"

    def _limited(self, receive: Receive) -> Receive:
        seen = 0

        async def limited() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self.max_body:
                raise HTTPException(413, self._too_large())  # the one kind that FastAPI hands on from here
            return message

        return limited

    def _counted(self, send: Send) -> Send:
        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.metrics.responded(message["status"])
                message["headers"] = [*message.get("headers", []), *_HEADERS]
            await send(message)

        return counted
